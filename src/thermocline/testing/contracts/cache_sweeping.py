"""Laws of `Sweepable`. Part of the contract of caches."""
# ruff: noqa: D102 - the name of a test states its law

import pytest

from thermocline.domain.units import Seconds, later
from thermocline.testing.contracts.cache_harness import TTL, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.running import AsyncTests

_SOON = Seconds(1.0)
_AFTER_SOON = Seconds(1.1)


class SweepingLaws(AsyncTests):
    """Laws of `Sweepable`. Subclasses provide `open_cache`, anew for each test."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_clearing_forgets_leases_too(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry())
            assert await cache.refresh("k", "beside", ttl=TTL)
            assert await cache.lease("leased", "t", ttl=TTL)
            await cache.clear()
            assert await cache.get("k") is None
            assert await cache.stale("k") is None
            assert not await cache.fill("leased", "t", entry(), ttl=TTL)
            assert not await cache.fill("k", "beside", entry(), ttl=TTL)

    async def test_a_pattern_finds_values_and_leases(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            for key in ("content:users/1/a", "content:users/1/b/c", "content:users/2/a", "list:users/1"):
                assert await stored(cache, key, entry())
            assert await cache.refresh("content:users/1/a", "beside", ttl=TTL)
            assert await cache.lease("content:users/1/leased", "t", ttl=TTL)
            for pattern, expected in (
                ("content:users/1/*", {"content:users/1/a", "content:users/1/b/c", "content:users/1/leased"}),
                ("content:users/?/a", {"content:users/1/a", "content:users/2/a"}),
                ("content:users/[^1]/a", {"content:users/2/a"}),
                ("*users/1", {"list:users/1"}),
                ("none*", set[str]()),
            ):
                assert await _matched(harness, pattern) == expected

    async def test_a_pattern_finds_values_that_are_no_longer_fresh(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await stored(harness.cache, "k", entry(fresh_until=later(harness.now(), _SOON)))
            await harness.advance(_AFTER_SOON)
            assert await _matched(harness, "*") == {"k"}

    async def test_a_thousand_keys_are_matched_and_evicted(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            keys = {f"k{number}" for number in range(1200)}
            for key in keys:
                assert await harness.cache.lease(key, "t", ttl=TTL)
            assert await _matched(harness, "k*") == keys
            assert await harness.cache.evict(sorted(keys), ttl=TTL) == 0
            assert not await harness.cache.fill("k7", "t", entry(), ttl=TTL)

    async def test_evicting_removes_values_and_leases_and_counts_the_values(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "value", entry(5))
            assert await stored(cache, "old value", entry(5, fresh_until=later(harness.now(), _SOON)))
            assert await stored(cache, "other", entry(5))
            assert await cache.refresh("value", "beside", ttl=TTL)
            assert await cache.lease("leased", "t", ttl=TTL)
            await harness.advance(_AFTER_SOON)
            assert await cache.evict(["value", "old value", "leased", "none", "value"], ttl=TTL) == 2
            for key, token in (("value", "beside"), ("old value", "none"), ("leased", "t")):
                assert await cache.get(key) is None
                assert await cache.stale(key) is None
                assert not await cache.fill(key, token, entry(9), ttl=TTL)
            assert await cache.get("other") == entry(5)
            assert await cache.evict(["value", "none"], ttl=TTL) == 0
            assert await cache.evict([], ttl=TTL) == 0

    async def test_what_was_evicted_is_filled_again_unless_older(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            for version, fits in ((4, False), (5, True), (6, True)):
                key = f"k{version}"
                assert await stored(cache, key, entry(5))
                assert await cache.evict([key], ttl=TTL) == 1
                assert await stored(cache, key, entry(version)) == fits
                assert (await cache.get(key) is not None) == fits

    async def test_evicting_never_lowers_a_floor(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            await cache.tombstone({"bare": 7, "leased": 7}, ttl=TTL)
            assert await cache.lease("leased", "t", ttl=TTL)
            assert await cache.evict(["bare", "leased"], ttl=TTL) == 0
            for key in ("bare", "leased"):
                assert not await stored(cache, key, entry(6))
                assert await stored(cache, key, entry(7))


async def _matched(harness: CacheHarness, pattern: str) -> set[str]:
    return {key async for page in harness.cache.match(pattern) for key in page}
