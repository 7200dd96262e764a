"""Counters of all processes, and how full Redis is: each in one round trip, beside the cache and never in its way."""

import asyncio

import pytest

from tests.adapters.cache.opening import redis_cache
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_access import RedisAccess
from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.adapters.layers.breaking import BreakingCache, BreakingCounts
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.server


def test_what_many_add_is_the_sum(redis_cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        access = RedisAccess(parse_redis_url(redis_cluster.url))
        async with redis_cache(redis_cluster.url) as one:
            other = RedisCache.open(access, ManualClock(), installation=_installation(one))
            try:
                assert await one.counts.totals() == {}
                await one.counts.add({})
                await asyncio.gather(
                    *(cache.counts.add({"content:hits": 3, "é": -1, "zero": 0}) for cache in (one, other) * 50)
                )
                assert await other.counts.totals() == {"content:hits": 300, "é": -100}
            finally:
                await other.aclose()

    scenario()


def test_one_round_trip_however_many(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            await cache.counts.add({"first": 1})
            before = cache.exchanges
            await cache.counts.add({f"name{number}": number for number in range(1000)})
            assert cache.exchanges == before + 1
            assert (await cache.counts.totals())["name999"] == 999

    scenario()


def test_no_pattern_finds_them_and_clearing_leaves_them(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            assert await stored(cache, "k", entry())
            await cache.counts.add({"hits": 1})
            assert [key async for page in cache.match("*") for key in page] == ["k"]
            await cache.clear()
            assert await cache.get("k") is None
            assert await cache.counts.totals() == {"hits": 1}

    scenario()


def test_what_is_no_counter_makes_room(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url) as cache:
            name = cache.counts._name
            for command in (("SET", name, b"noise"), ("RPUSH", name, b"x"), ("SET", name, b"")):
                await cache._calls.command(name, *command)
                assert await cache.counts.totals() == {}
                await cache.counts.add({"hits": 2})
                assert await cache.counts.totals() == {"hits": 2}
                await cache._calls.command(name, "DEL", name)
            await cache._calls.command(name, "HSET", name, b"hits", b"many", b"\xff", b"1", b"-", b"-")
            assert await cache.counts.totals() == {"\N{REPLACEMENT CHARACTER}": 1}
            await cache.counts.add({"hits": 2})
            assert (await cache.counts.totals())["hits"] == 2

    scenario()


def test_a_dead_server_is_waited_for_once(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url, timeout=Seconds(1.0)) as cache:
            clock = ManualClock()
            breaker = BreakingCache(cache, clock)
            counts = BreakingCounts(cache.counts, breaker)
            await counts.add({"hits": 1})
            redis_server.pause()
            try:
                with pytest.raises(UnavailableError, match="in time"):
                    await counts.add({"hits": 1})
                for call in (counts.add({"hits": 1}), breaker.get("k")):
                    with pytest.raises(UnavailableError, match="left alone"):
                        await call
            finally:
                redis_server.resume()
                await breaker.aclose()

    scenario()


def test_pressure_is_told_in_the_background(redis_cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_cluster.url) as cache:
            assert await told(cache) == 0.0, "no limit"
            fullest = redis_cluster.masters()[1]
            used = int(fullest.cli("INFO", "memory").partition("used_memory:")[2].split()[0])
            fullest.cli("CONFIG", "SET", "maxmemory", str(used * 2))
            try:
                assert await told(cache) == pytest.approx(0.5, abs=0.1)
            finally:
                fullest.cli("CONFIG", "SET", "maxmemory", "0")

    scenario()


def test_pressure_of_a_server_that_does_not_answer_is_unknown(redis_server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(redis_server.url, timeout=Seconds(0.2)) as cache:
            redis_server.pause()
            try:
                assert await told(cache) == 0.0
            finally:
                redis_server.resume()

    scenario()


async def told(cache: RedisCache) -> float:
    """Return what the next answer tells, whenever the last question was."""
    pressure = cache._pressure
    pressure._asked_at = float("-inf")
    cache.pressure()
    assert pressure._asking is not None
    await pressure._asking
    return cache.pressure()


def _installation(cache: RedisCache) -> str:
    return cache._prefix.removeprefix("tc:").removesuffix(":")
