"""Laws of `AgingLevel`, beyond those of `MemoryLevel`."""
# ruff: noqa: D102 - the name of a test states its law

from typing import cast

import pytest

from thermocline.domain.units import Seconds, later
from thermocline.ports.cache import AgingLevel
from thermocline.testing.contracts.cache import TTL, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.running import AsyncTests

MAX_AGE = Seconds(70.0)
"""How long values must be shown unconfirmed; longer than the other laws let pass."""
LIFE = Seconds(150.0)


class AgingLevelContract(AsyncTests):
    """Laws of `AgingLevel`. Subclasses provide `open_cache`, anew for each test, of caches that age by `MAX_AGE`."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_what_is_not_confirmed_is_held_and_not_shown(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _aging(harness)
            assert await stored(cache, "k", entry(), ttl=LIFE)
            held = cache.held("k")
            assert held == entry()
            assert held is not None
            await harness.advance(Seconds(MAX_AGE - 0.1))
            assert cache.peek("k") is held
            await harness.advance(Seconds(0.2))
            assert cache.peek("k") is None
            assert await cache.get("k") is None
            assert cache.held("k") is held
            assert cache.confirm("k", held)
            assert cache.peek("k") is held

    async def test_confirming_never_lengthens_a_life(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _aging(harness)
            assert await stored(cache, "k", entry(), ttl=LIFE)
            held = cache.held("k")
            assert held is not None
            for _ in range(2):
                await harness.advance(MAX_AGE)
                assert cache.held("k") is held
                assert cache.confirm("k", held)
            await harness.advance(Seconds(LIFE - 2 * MAX_AGE))
            assert cache.peek("k") is None
            assert cache.held("k") is None
            assert not cache.confirm("k", held)

    async def test_only_the_very_value_is_confirmed(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _aging(harness)
            assert not cache.confirm("k", entry())
            assert await stored(cache, "k", entry(5), ttl=LIFE)
            held = cache.held("k")
            assert held is not None
            assert not cache.confirm("k", entry(5)), "an equal one may be of another fill"
            await cache.tombstone({"k": 6}, ttl=TTL)
            assert cache.held("k") is None
            assert not cache.confirm("k", held)

    async def test_an_unconfirmed_value_keeps_leases_away(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _aging(harness)
            assert await stored(cache, "k", entry(), ttl=LIFE)
            await harness.advance(MAX_AGE)
            assert not await cache.lease("k", "t", ttl=TTL)
            await cache.tombstone({"k": 1}, ttl=TTL)
            assert await cache.lease("k", "t", ttl=TTL)

    async def test_what_is_no_longer_fresh_is_neither_held_nor_confirmed(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, fresh = _aging(harness), Seconds(MAX_AGE + 10.0)
            what = entry(fresh_until=later(harness.now(), fresh))
            assert await stored(cache, "k", what, ttl=LIFE)
            await harness.advance(MAX_AGE)
            held = cache.held("k")
            assert held == what
            assert held is not None
            assert cache.confirm("k", held)
            await harness.advance(Seconds(10.0))
            assert cache.peek("k") is None
            assert cache.held("k") is None
            assert not cache.confirm("k", held)
            assert await cache.stale("k") is held
            assert await cache.lease("k", "t", ttl=TTL)

    async def test_what_is_not_confirmed_is_refreshed_and_there_for_failures(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _aging(harness)
            assert await stored(cache, "k", entry(), ttl=LIFE)
            await harness.advance(MAX_AGE)
            assert await cache.stale("k") == entry()
            assert await cache.refresh("k", "t", ttl=TTL)
            assert await cache.fill("k", "t", entry(2), ttl=LIFE)
            assert cache.peek("k") == entry(2)


def _aging(harness: CacheHarness) -> AgingLevel:
    return cast("AgingLevel", harness.cache)
