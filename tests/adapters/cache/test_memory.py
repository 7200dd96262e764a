"""The memory cache keeps the contract, its bound, and its lifetimes whatever the clocks do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.cache.marks import MARK_BYTES
from thermocline.adapters.cache.memory import OVERHEAD_BYTES, MemoryCache
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.cache import LevelCounts
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.aging_level import LIFE, MAX_AGE, AgingLevelContract
from thermocline.testing.contracts.cache import TTL, CacheContract, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.memory_level import MemoryLevelContract


class TestMemoryCache(CacheContract, MemoryLevelContract):
    @pytest.fixture
    def open_cache(self) -> OpenCache:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CacheHarness]:
            clock = ManualClock()

            async def advance(seconds: Seconds) -> None:
                clock.advance(seconds)

            yield CacheHarness(MemoryCache(clock, capacity=Bytes(10_000_000)), clock.now, advance)

        return opened


class TestAgingMemoryCache(CacheContract, MemoryLevelContract, AgingLevelContract):
    @pytest.fixture
    def open_cache(self) -> OpenCache:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CacheHarness]:
            clock = ManualClock()

            async def advance(seconds: Seconds) -> None:
                clock.advance(seconds)

            yield CacheHarness(MemoryCache(clock, capacity=Bytes(10_000_000), max_age=MAX_AGE), clock.now, advance)

        return opened


def test_what_is_only_held_counts_too() -> None:
    async def run() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock, capacity=Bytes(80_000), max_age=MAX_AGE)
        await stored(cache, "a", entry(), ttl=LIFE)
        clock.advance(MAX_AGE)
        assert cache.peek("a") is None
        assert (cache.bytes, cache.count, cache.counts()[""].expirations) == (cost("a", b"payload"), 1, 0)

    asyncio.run(run())


def cost(key: str, payload: bytes) -> int:
    return OVERHEAD_BYTES + len(key) + len(payload)


def test_what_is_read_once_goes_before_what_is_read_often() -> None:
    async def run() -> None:
        cache = MemoryCache(ManualClock(), capacity=Bytes(20 * cost("k00", b"") + MARK_BYTES + 3), largest_share=1.0)
        for number in range(100):
            assert await stored(cache, f"k{number:02}", entry(payload=b""))
            if number >= 3:
                cache.peek("k03")
        assert cache.peek("k03") is not None
        assert (cache.evictions, cache.count, cache.sets) == (80, 20, 100)
        assert cache.bytes == 20 * cost("k00", b"")
        assert cache.bytes == cache.counts()[""].bytes

    asyncio.run(run())


def test_what_is_too_large_is_refused_and_counted_and_gives_its_lease_back() -> None:
    async def run() -> None:
        cache = MemoryCache(ManualClock(), capacity=Bytes(80_000), largest_share=0.125)
        room = 10_000 - OVERHEAD_BYTES - 1
        assert await stored(cache, "a", entry(payload=bytes(room)))
        assert not await stored(cache, "b", entry(payload=bytes(room + 1)))
        assert (cache.counts()[""].rejected, cache.evictions, cache.count) == (1, 0, 1)
        assert await cache.lease("b", "other", ttl=TTL)

    asyncio.run(run())


def test_hits_and_misses_are_counted() -> None:
    async def run() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock, capacity=Bytes(80_000))
        await stored(cache, "a", entry())
        assert await cache.get("a") is cache.peek("a")
        assert cache.peek("none") is None
        clock.advance(TTL)
        assert cache.peek("a") is None
        assert cache.counts() == {"": LevelCounts(hits=2, hit_bytes=Bytes(14), misses=2, sets=1, expirations=1)}

    asyncio.run(run())


def test_a_jump_of_the_wall_clock_never_lengthens_a_life() -> None:
    async def run() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock, capacity=Bytes(80_000))
        await stored(cache, "ttl", entry())
        await stored(cache, "content", entry(expires_at=later(clock.now(), Seconds(5.0))))
        clock.jump(-3600)
        clock.advance(TTL)
        assert cache.peek("ttl") is None
        assert cache.peek("content") is None
        await stored(cache, "content", entry(expires_at=later(clock.now(), Seconds(5.0))))
        clock.jump(6)
        assert cache.peek("content") is None
        clock.jump(-6)
        assert cache.peek("content") is None

    asyncio.run(run())


def test_leases_and_tombstones_are_bounded_and_give_way_oldest_first() -> None:
    async def run() -> None:
        cache = MemoryCache(ManualClock(), capacity=Bytes(100_000))
        for number in range(20):
            await stored(cache, f"value{number}", entry())
        for number in range(10_000):
            await cache.tombstone({f"t{number}": 1}, ttl=TTL)
        assert cache.bytes <= 100_000
        assert cache.count == 20
        assert await cache.lease("early", "t", ttl=TTL)
        for number in range(1000):
            assert await cache.lease(f"l{number}", "t", ttl=TTL)
        assert not await cache.fill("early", "t", entry(), ttl=TTL)
        assert await cache.fill("l999", "t", entry(), ttl=TTL)

    asyncio.run(run())


def test_dead_marks_do_not_pile_up() -> None:
    async def run() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock, capacity=Bytes(10_000_000))
        for number in range(1000):
            await cache.tombstone({f"t{number}": 1}, ttl=TTL)
        clock.advance(TTL)
        for number in range(600):
            await cache.tombstone({f"u{number}": 1}, ttl=TTL)
        assert cache.bytes == 600 * MARK_BYTES + sum(len(f"u{number}") for number in range(600))

    asyncio.run(run())


@given(st.data())
def test_the_bound_holds_after_every_step(data: st.DataObject) -> None:
    async def run() -> None:
        clock = ManualClock()
        capacity = data.draw(st.integers(0, 20_000))
        cache = MemoryCache(
            clock, capacity=Bytes(capacity), largest_share=data.draw(st.sampled_from((0.125, 0.5, 1.0)))
        )
        keys = st.sampled_from(("a", "b", "c", "d" * 100))
        for step in data.draw(st.lists(st.sampled_from(("fill", "lease", "tombstone", "peek", "advance", "clear")))):
            key = data.draw(keys)
            if step == "fill":
                await cache.lease(key, "t", ttl=TTL)
                payload = bytes(data.draw(st.integers(0, 8000)))
                await cache.fill(key, "t", entry(data.draw(st.integers(1, 5)), payload), ttl=TTL)
            elif step == "lease":
                await cache.lease(key, "u", ttl=TTL)
            elif step == "tombstone":
                await cache.tombstone({key: data.draw(st.integers(1, 5))}, ttl=TTL)
            elif step == "peek":
                cache.peek(key)
            elif step == "advance":
                clock.advance(data.draw(st.sampled_from((1, 30, 61))))
            else:
                await cache.clear()
            assert 0 <= cache.bytes <= capacity
        await cache.clear()
        assert (cache.bytes, cache.count) == (0, 0)

    asyncio.run(run())


def test_others_run_while_a_large_cache_is_searched() -> None:
    async def run() -> None:
        cache = MemoryCache(ManualClock(), capacity=Bytes(100_000_000))
        for number in range(5000):
            await cache.lease(f"k{number}", "t", ttl=TTL)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        assert [key async for page in cache.match("none") for key in page] == []
        counting.cancel()
        assert turns >= 5

    asyncio.run(run())
