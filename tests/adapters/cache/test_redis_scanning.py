"""Patterns find every key that stays, while slots move and masters hand over; or they say that they did not."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adapters.cache.opening import redis_cache
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_scanning import LARGEST_PAGE
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.cache import TTL
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisSentinels, RedisServer

pytestmark = pytest.mark.server

KEYS = {f"k{number}" for number in range(6000)}
TIMEOUT = Seconds(5.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"), "--cluster-require-full-coverage", "no")
    cluster.start()
    yield cluster
    cluster.stop()


async def fill(cache: RedisCache) -> None:
    ordered = sorted(KEYS)
    await cache._route.servers()
    for first in range(0, len(ordered), 1000):
        leased = await asyncio.gather(*(cache.lease(key, "t", ttl=TTL) for key in ordered[first : first + 1000]))
        assert all(leased)


async def matched(cache: RedisCache, *, at_page: int, change: Callable[[], object]) -> set[str]:
    """Return what is found if something happens after that many pages."""
    found: set[str] = set()
    pages = 0
    async for page in cache.match("k*"):
        assert 0 < len(page) <= LARGEST_PAGE
        assert len(set(page)) == len(page)
        found.update(page)
        pages += 1
        if pages == at_page:
            await asyncio.to_thread(change)
    assert pages >= at_page, "it was over too soon"
    return found


def node_at(cluster: RedisCluster, name: str) -> RedisServer:
    return next(node for node in cluster.nodes if name.endswith(f":{node.port}"))


def slots_with_keys(cache: RedisCache, server: RedisServer, count: int) -> list[int]:
    """Return slots of a server that hold some of our keys."""
    its = next(cache._route.slots_of(name) for name in cache._route._masters if name.endswith(f":{server.port}"))  # type: ignore[attr-defined]
    ours = dict.fromkeys(cache._route.slot_of(cache._name(key)) for key in sorted(KEYS))
    return [slot for slot in ours if slot in its][:count]


def _move(cluster: RedisCluster, slots: list[int], target: RedisServer) -> None:
    for slot in slots:
        cluster.move_slot(slot, target)


@pytest.mark.parametrize("at_page", [1, 4, 7])
def test_slots_that_move_behind_our_back_are_looked_for_again(cluster: RedisCluster, at_page: int) -> None:
    """From each server to the one before it: at some time that is from one not looked through to one that was."""

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=TIMEOUT) as cache:
            await fill(cache)
            servers = [node_at(cluster, name) for name in await cache._route.servers()]
            moves = [
                (slot, servers[number - 1])
                for number, server in enumerate(servers)
                for slot in slots_with_keys(cache, server, 6)
            ]

            def change() -> None:
                for slot, target in moves:
                    cluster.move_slot(slot, target)

            assert await matched(cache, at_page=at_page, change=change) == KEYS
            await cache.clear()

    scenario()


@pytest.mark.parametrize("at_page", [1, 6])
def test_a_slot_that_stays_half_moved(cluster: RedisCluster, at_page: int) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=TIMEOUT) as cache:
            await fill(cache)
            first, *_, last = (node_at(cluster, name) for name in await cache._route.servers())
            slots = slots_with_keys(cache, last, 6)
            ids = {node.port: node.cli("CLUSTER", "MYID") for node in (first, last)}

            def change() -> None:
                for slot in map(str, slots):
                    first.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[last.port])
                    last.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[first.port])
                    keys = last.cli("CLUSTER", "GETKEYSINSLOT", slot, "100").split("\n")
                    last.cli("MIGRATE", "127.0.0.1", str(first.port), "", "0", "5000", "KEYS", *keys)

            try:
                assert await matched(cache, at_page=at_page, change=change) == KEYS
                assert {key async for page in cache.match("k*") for key in page} == KEYS
            finally:
                for slot in slots:
                    for node in (first, last, *cluster.masters()):
                        node.cli("CLUSTER", "SETSLOT", str(slot), "NODE", ids[first.port])
            await cache.clear()

    scenario()


@pytest.mark.parametrize("at_page", [1, 5])
def test_a_master_hands_over(cluster: RedisCluster, at_page: int) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=TIMEOUT) as cache:
            await fill(cache)
            masters = cluster.masters()

            def change() -> None:
                for master in masters:
                    cluster.fail_over(master)

            assert await matched(cache, at_page=at_page, change=change) == KEYS
            await cache.clear()

    scenario()


def test_a_master_dies_and_its_replica_is_looked_through(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=TIMEOUT) as cache:
            await fill(cache)
            for master in cluster.masters():
                master.cli("WAIT", "1", "5000")
            victim = node_at(cluster, (await cache._route.servers())[-1])
            try:
                assert await matched(cache, at_page=2, change=victim.kill) == KEYS
            finally:
                victim.start()
                cluster.wait_until_whole()
            await cache.clear()

    scenario()


def test_evicting_what_is_found_while_slots_move(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(5.0)) as cache:
            await fill(cache)
            servers = [node_at(cluster, name) for name in await cache._route.servers()]
            moving = slots_with_keys(cache, servers[-1], 8)
            mover = asyncio.create_task(asyncio.to_thread(_move, cluster, moving, servers[0]))
            async for page in cache.match("k*"):
                assert await cache.evict(page, ttl=TTL) == 0, "leases are no values"
            await mover
            left = [key for key in KEYS if not await cache.lease(key, "u", ttl=TTL)]
            assert left == []
            await cache.clear()

    scenario()


def test_what_cannot_be_looked_through_is_told_at_the_end(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path / "lonely", "--cluster-require-full-coverage", "no", replicas=0)
    cluster.start()

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(1.0)) as cache:
            await fill(cache)
            victim = node_at(cluster, (await cache._route.servers())[0])
            victim.kill()
            found: set[str] = set()

            async def look() -> None:
                async for page in cache.match("k*"):
                    found.update(page)

            with pytest.raises(UnavailableError):
                await look()
            assert len(found) > len(KEYS) / 2, "the others were looked through all the same"

    try:
        scenario()
    finally:
        cluster.stop()


def test_sentinels_name_another_master_meanwhile(redis_sentinels: RedisSentinels) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_sentinels.url, timeout=TIMEOUT) as cache:
            await fill(cache)
            old = redis_sentinels.master()
            old.cli("WAIT", "1", "5000")

            def change() -> None:
                redis_sentinels._ask(redis_sentinels.ports[0], "SENTINEL", "FAILOVER", redis_sentinels.NAME)
                while redis_sentinels.master() is old:
                    pass
                old.cli("CLIENT", "KILL", "TYPE", "normal")

            assert await matched(cache, at_page=3, change=change) == KEYS

    scenario()
