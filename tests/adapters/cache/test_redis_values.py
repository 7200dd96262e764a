"""What others put under our keys is a miss, a count, and in nobody's way; scripts that Redis forgot are told again."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.adapters.cache.opening import redis_cache
from thermocline.adapters.cache import redis as redis_module
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_access import RedisAccess
from thermocline.adapters.cache.redis_frame import pack_value
from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.domain.errors import OutOfSpaceError
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisServer

pytestmark = pytest.mark.server


async def put_raw(cache: RedisCache, key: str, *command: bytes | str | int) -> None:
    name = cache._name(key)
    await cache._calls.command(name, command[0], name, *command[1:])


def test_what_cannot_be_read_is_a_miss_and_makes_room(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            whole = pack_value(cache._name("k"), entry())
            forged: dict[str, tuple[bytes | str | int, ...]] = {
                "noise": ("SET", b"\x00\xff" * 50),
                "empty": ("SET", b""),
                "truncated": ("SET", whole[:-1]),
                "longer": ("SET", whole + b"x"),
                "flipped": ("SET", whole[:-1] + bytes([whole[-1] ^ 1])),
                "the format before": ("SET", whole[:2] + b"\x01" + whole[3:]),
                "a format to come": ("SET", whole[:2] + b"\x03" + whole[3:]),
                "another key's": ("SET", pack_value(cache._name("other"), entry())),
                "a list": ("RPUSH", b"x"),
                "a hash": ("HSET", b"f", b"v"),
            }
            for number, (what, command) in enumerate(forged.items(), 1):
                await put_raw(cache, "k", *command)
                assert await cache.get("k") is None, what
                assert cache.unreadable == number, what
                assert await cache.lease("k", "t", ttl=TTL), f"{what}: it is gone"
                assert await cache.fill("k", "t", entry(), ttl=TTL), what
                assert await cache.get("k") == entry(), what
                await cache.clear()

    scenario()


def test_every_step_bears_what_is_not_ours(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            for command in (("SET", b"noise"), ("RPUSH", b"x")):
                await put_raw(cache, "k", *command)
                assert await cache.version_of("k") is None
                assert not await cache.renew("k", "t", ttl=TTL)
                assert not await cache.fill("k", "t", entry(), ttl=TTL)
                await cache.release("k", "t")
                await cache.tombstone({"k": 5}, ttl=TTL)
                assert not await stored(cache, "k", entry(4))
                await put_raw(cache, "k", "DEL")

    scenario()


def test_what_replaced_a_damaged_value_is_not_deleted(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            assert await stored(cache, "k", entry())
            await cache._discard(cache._name("k"), b"something else")
            assert await cache.get("k") == entry()

    scenario()


def test_versions_are_compared_exactly(redis_server: RedisServer) -> None:
    """Beyond 2^53, where numbers of Lua are not."""

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            for base in (0, 2**32 - 1, 2**32, 2**53, 2**62):
                for floor, version in ((base, base), (base, base + 1), (base + 1, base)):
                    await cache.tombstone({"k": floor}, ttl=TTL)
                    assert await cache.lease("k", "t", ttl=TTL)
                    what = entry()._replace(version=version)
                    assert await cache.fill("k", "t", what, ttl=TTL) == (version >= floor)
                    await cache.tombstone({"k": max(floor, version) - 1 if version else 0}, ttl=TTL)
                    kept = version >= floor and version > max(floor, version) - 1 and version > 0
                    assert (await cache.get("k") is not None) == kept
                    await cache.clear()

    scenario()


def test_forgotten_scripts_are_told_again(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            for _ in range(3):
                redis_server.cli("SCRIPT", "FLUSH")
                assert await stored(cache, "k", entry())
                redis_server.cli("SCRIPT", "FLUSH")
                assert await cache.get("k") == entry()
                await cache.tombstone({"k": 9}, ttl=TTL)
                redis_server.cli("SCRIPT", "FLUSH")
                await cache.release("k", "t")
                await cache.clear()

    scenario()


def test_an_entry_lives_no_longer_than_its_content_in_redis_too(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            now = cache._clock.now()
            assert await stored(cache, "k", entry(expires_at=later(now, Seconds(5.0))))
            left = int(redis_server.cli("PTTL", cache._name("k").decode()))
            assert 0 < left <= 5000
            # Another process's clock is ahead: there it is over, and in nobody's way.
            assert isinstance(cache._clock, ManualClock)
            cache._clock.advance(6)
            assert await cache.get("k") is None
            assert await cache.lease("k", "t", ttl=TTL)

    scenario()


def test_what_is_refused_leaves_nothing_of_what_it_was_to_replace(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            ended = entry(expires_at=later(cache._clock.now(), Seconds(-1.0)))
            assert await cache.put("ended", entry(), ttl=TTL)
            assert await cache.put("ended", ended, ttl=TTL) == 0
            assert await cache.put("large", entry(), ttl=TTL)
            assert await cache.lease("filled", "t", ttl=TTL)
            large = entry(payload=random.Random(1).randbytes(2000))
            monkeypatch.setattr(redis_module, "LARGEST_FRAME", 1000)
            assert await cache.put("large", large, ttl=TTL) == 0
            assert not await cache.fill("filled", "t", large, ttl=TTL)
            for key in ("ended", "large", "filled"):
                assert await cache.stale(key) is None
                assert await cache.lease(key, "u", ttl=TTL)

    scenario()


def test_a_version_is_the_next_of_any_that_was_there(redis_server: RedisServer) -> None:
    """Also where its halves carry; and whoever reads finds the checksum right."""

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            for floor in (0, 1, 2**32 - 2, 2**32 - 1, 2**32, 2**53, 2**63 - 1):
                await cache.tombstone({"k": floor}, ttl=TTL)
                assert await cache.put("k", entry(1 if floor else 0), ttl=TTL) == floor + 1
                found = await cache.get("k")
                assert found is not None
                assert found.version == floor + 1
                await cache.clear()

    scenario()


def test_installations_do_not_see_one_another(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as one, redis_cache(redis_server.url) as other:
            assert await stored(one, "k", entry())
            assert await other.get("k") is None
            assert [key async for page in other.match("*") for key in page] == []
            await other.clear()
            assert await one.get("k") == entry()

    scenario()


def test_an_installation_with_signs_of_patterns_matches_itself_only(redis_server: RedisServer) -> None:
    @asynccontextmanager
    async def opened(installation: str) -> AsyncIterator[RedisCache]:
        access = RedisAccess(parse_redis_url(redis_server.url))
        cache = RedisCache.open(access, ManualClock(), installation=installation)
        try:
            yield cache
        finally:
            await cache.aclose()

    @in_event_loop
    async def scenario() -> None:
        name = uuid.uuid4().hex
        async with opened(f"{name}[a]*?\\") as one, opened(f"{name}a*?\\") as other:
            assert await stored(one, "k", entry())
            assert [key async for page in other.match("*") for key in page] == []
            assert [key async for page in one.match("*") for key in page] == ["k"]

    scenario()


class TestFull:
    """`maxmemory` and `noeviction`: nothing new is taken, and what must go goes all the same."""

    @pytest.fixture
    def full(self, tmp_path: Path) -> Iterator[RedisServer]:
        server = RedisServer(tmp_path / "redis", "--maxmemory-policy", "noeviction")
        server.start()
        yield server
        server.stop()

    def test_evictions_happen_on_a_full_server(self, full: RedisServer) -> None:
        @in_event_loop
        async def scenario() -> None:
            async with redis_cache(full.url) as cache:
                assert await stored(cache, "old", entry(1))
                assert await cache.lease("leased", "t", ttl=TTL)
                await cache.tombstone({"floored": 5}, ttl=TTL)
                assert await cache.lease("floored", "t", ttl=TTL)
                full.cli("CONFIG", "SET", "maxmemory", "1")
                assert await cache.get("old") == entry(1)
                for call in (
                    cache.lease("new", "t", ttl=TTL),
                    cache.fill("leased", "t", entry(), ttl=TTL),
                ):
                    with pytest.raises(OutOfSpaceError):
                        await call
                await cache.tombstone({"old": 2, "leased": 2}, ttl=TTL)
                await cache.release("floored", "t")
                full.cli("CONFIG", "SET", "maxmemory", "0")
                assert await cache.get("old") is None
                assert not await cache.fill("leased", "t", entry(), ttl=TTL), "the change took the lease"
                assert await cache.lease("floored", "u", ttl=TTL)

        scenario()


@pytest.mark.parametrize("size", [0, 1, 100_000, 20 * 2**20])
def test_values_of_any_size(redis_server: RedisServer, size: int) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url, timeout=Seconds(10.0)) as cache:
            what = entry(payload=bytes(size))._replace(cached_at=Timestamp(5))
            assert await stored(cache, "k", what)
            assert await cache.get("k") == what
            assert await cache.version_of("k") == 1

    scenario()


@pytest.mark.parametrize("size", [1024, 70_000, 2**20])
def test_what_shrinks_is_kept_small_and_read_back_whole(redis_server: RedisServer, size: int) -> None:
    """In threads too, many at once; and a damaged stream is a miss, however large."""
    dice = random.Random(size)
    words = [dice.randbytes(3).hex().encode() for _ in range(200)]
    payload = b" ".join(dice.choices(words, k=size // 5))[:size]

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url, timeout=Seconds(10.0)) as cache:
            keys = [f"k{number}" for number in range(12)]
            what = entry(payload=payload)
            assert all(await asyncio.gather(*(stored(cache, key, what) for key in keys)))
            assert await asyncio.gather(*(cache.get(key) for key in keys)) == [what] * len(keys)
            name = cache._name("k0")
            kept = await cache._calls.command(name, "STRLEN", name)
            assert kept < size * 0.8
            byte = await cache._calls.command(name, "GETRANGE", name, kept - 100, kept - 100)
            await cache._calls.command(name, "SETRANGE", name, kept - 100, bytes([byte[0] ^ 1]))
            assert await cache.get("k0") is None
            assert cache.unreadable == 1

    scenario()
