"""Laws of `MemoryLevel`, beyond those of `Cache` and `Sweepable`."""
# ruff: noqa: D102 - the name of a test states its law

from typing import cast

import pytest

from thermocline.domain.units import Seconds, later
from thermocline.ports.cache import CacheEntry, MemoryLevel
from thermocline.testing.contracts.cache import CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.running import AsyncTests

_FEW_SECONDS = Seconds(5.0)


class MemoryLevelContract(AsyncTests):
    """Laws of `MemoryLevel`. Subclasses provide `open_cache`, anew for each test."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_a_peek_is_a_get(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _memory(harness)
            soon = later(harness.now(), Seconds(1.0))
            assert await stored(cache, "k", entry())
            assert await stored(cache, "old", entry(fresh_until=soon))
            assert await stored(cache, "ending", entry(expires_at=soon))
            assert cache.peek("k") == cache.peek("k") == entry()
            assert cache.peek("ending") == entry(expires_at=soon)
            await harness.advance(Seconds(1.1))
            assert cache.peek("k") == entry()
            for key in ("old", "ending", "none"):
                assert cache.peek(key) is None

    async def test_the_first_hit_near_the_end_of_freshness_asks_for_a_refresh(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _memory(harness)
            asked: list[tuple[str, CacheEntry]] = []
            cache.on_refresh_due = lambda key, value: asked.append((key, value))
            what = entry(fresh_until=later(harness.now(), Seconds(10.0)))
            assert await stored(cache, "k", what)
            for _ in range(2):
                assert cache.peek("k") == what
            # The cost of the entry is a quarter of a second: drawn 20 times as much, once in half a billion.
            await harness.advance(Seconds(4.9))
            assert await cache.get("k") == what
            assert not asked
            while not asked:
                assert cache.peek("k") == what, "it was asked for before the end"
                await harness.advance(Seconds(0.001))
            assert asked == [("k", what)]
            while cache.peek("k") is not None:
                await harness.advance(Seconds(0.01))
            assert len(asked) == 1
            assert await stored(cache, "k", entry(2, fresh_until=later(harness.now(), Seconds(10.0))))
            while cache.peek("k") is not None:
                await harness.advance(Seconds(0.001))
            assert [key for key, _ in asked] == ["k", "k"]

    async def test_what_stays_fresh_is_never_refreshed(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _memory(harness)
            asked: list[str] = []
            cache.on_refresh_due = lambda key, _: asked.append(key)
            end = later(harness.now(), Seconds(10.0))
            assert await stored(cache, "fresh", entry(), ttl=Seconds(10.0))
            # There will be nothing to refresh.
            assert await stored(cache, "ending", entry(fresh_until=end, expires_at=end))
            while cache.peek("fresh") is not None or cache.peek("ending") is not None:
                await harness.advance(Seconds(0.01))
            assert not asked


def _memory(harness: CacheHarness) -> MemoryLevel:
    return cast("MemoryLevel", harness.cache)
