"""Gets of one turn share a round trip per server; whatever goes wrong with it, each caller has its own answer."""

import asyncio
import random
from collections.abc import Awaitable

import pytest

from tests.adapters.cache.opening import redis_cache
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_access import pack
from thermocline.adapters.cache.redis_wire import LARGE
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.server


async def fill(cache: RedisCache, count: int) -> list[str]:
    keys = [f"k{number}" for number in range(count)]
    assert all(await asyncio.gather(*(stored(cache, key, entry(payload=key.encode())) for key in keys)))
    return keys


def test_gets_of_one_turn_are_one_exchange_per_server(redis_server: RedisServer, redis_cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        for url, servers in ((redis_server.url, 1), (redis_cluster.url, 3)):
            async with redis_cache(url) as cache:
                keys = await fill(cache, 64)
                before = cache.exchanges
                found = await asyncio.gather(*(cache.get(key) for key in keys))
                assert [what.payload.decode() for what in found if what is not None] == keys
                assert cache.exchanges - before == servers

    scenario()


def test_what_comes_while_replies_are_due_is_sent_at_once(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            keys = await fill(cache, 1000)
            before = cache.exchanges
            readers = [asyncio.ensure_future(cache.get(key)) for key in keys[:500]]
            while cache.exchanges == before:  # noqa: ASYNC110 - written in one of the next turns
                await asyncio.sleep(0)
            found = await asyncio.gather(*readers, *(cache.get(key) for key in keys[500:]))
            assert [what.payload.decode() for what in found if what is not None] == keys
            # One more where the first replies took so long that another connection was opened beside it.
            assert 2 <= cache.exchanges - before <= 3

    scenario()


def test_who_leaves_changes_nothing_for_the_others(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            keys = await fill(cache, 40)
            for turns in range(6):
                readers = [asyncio.ensure_future(cache.get(key)) for key in keys]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for reader in readers[::2]:
                    reader.cancel()
                found = await asyncio.gather(*readers, return_exceptions=True)
                for key, what in zip(keys[1::2], found[1::2], strict=True):
                    assert not isinstance(what, BaseException)
                    assert what is not None
                    assert what.payload.decode() == key
                assert await cache.get("k0") == entry(payload=b"k0")

    scenario()


def test_one_wrong_reply_is_one_callers(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            keys = await fill(cache, 10)
            name = cache._name("k3")
            await cache._calls.command(name, "DEL", name)
            await cache._calls.command(name, "RPUSH", name, b"x")
            found = await asyncio.gather(*(cache.get(key) for key in keys))
            assert [key for key, what in zip(keys, found, strict=True) if what is None] == ["k3"]
            assert cache.unreadable == 1

    scenario()


def test_lost_connections_are_made_again(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            keys = await fill(cache, 20)
            for _ in range(3):
                redis_server.cli("CLIENT", "KILL", "TYPE", "normal")
                found = await asyncio.gather(*(cache.get(key) for key in keys))
                assert None not in found

    scenario()


def test_a_silent_server_costs_each_caller_its_timeout_once(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url, timeout=Seconds(0.4)) as cache:
            keys = await fill(cache, 300)
            redis_server.pause()
            try:
                loop = asyncio.get_running_loop()
                began = loop.time()
                calls: list[Awaitable[object]] = [cache.get(key) for key in keys]
                calls.append(cache.tombstone({"k1": 1, "k2": 1}, ttl=TTL))
                found = await asyncio.gather(*calls, return_exceptions=True)
                assert loop.time() - began < 5  # 300 times the timeout would be two minutes
                assert all(isinstance(what, UnavailableError) for what in found)
            finally:
                redis_server.resume()
            assert await cache.get("k3") is not None

    scenario()


def test_replies_of_all_sizes_follow_one_another(redis_server: RedisServer) -> None:
    """Those around the size from which a reply is awaited as a whole, and around what is read at once, among them."""
    sizes = [0, 1, 500, *range(LARGE - 300, LARGE - 80, 40), LARGE, *range(2**16 - 300, 2**16 + 2, 37), 2**17, 10**6]

    @in_event_loop
    async def scenario() -> None:
        dice = random.Random(1)
        async with redis_cache(redis_server.url, timeout=Seconds(10.0)) as cache:
            values = {f"k{number}": dice.randbytes(size) for number, size in enumerate(sizes)}
            for key, payload in values.items():
                assert await cache.put(key, entry(payload=payload), ttl=TTL)
            for _ in range(10):
                keys = dice.choices([*values, "none"], k=60)
                found = await asyncio.gather(*(cache.get(key) for key in keys))
                assert [what and what.payload for what in found] == [values.get(key) for key in keys]
            assert cache.unreadable == 0

    scenario()


@pytest.mark.parametrize("size", [LARGE, 2**16, 300_000])
def test_a_large_reply_that_breaks_off_is_an_error(size: int) -> None:
    @in_event_loop
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(2**16):
                writer.write(b"$%d\r\n" % size + b"x" * (size - 1))
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, redis_cache(f"redis://127.0.0.1:{port}", timeout=Seconds(2.0)) as cache:
            with pytest.raises(UnavailableError):
                await cache.get("k")

    scenario()


def test_commands_are_packed_as_redis_reads_them() -> None:
    assert pack("GET", b"k\xff") == b"*2\r\n$3\r\nGET\r\n$2\r\nk\xff\r\n"
    assert pack("X", 12, "é") == b"*3\r\n$1\r\nX\r\n$2\r\n12\r\n$2\r\n\xc3\xa9\r\n"
