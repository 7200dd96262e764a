"""Laws of freshness: values that are kept for when their source fails, tokens beside them, and values put at once."""
# ruff: noqa: D102 - the name of a test states its law

import pytest

from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.testing.contracts.cache_harness import TTL, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.running import AsyncTests

_SOON = Seconds(1.0)
_AFTER_SOON = Seconds(1.1)


class FreshnessLaws(AsyncTests):
    """Laws of `stale`, `lease` and `refresh` beside a value, and `put`. Subclasses provide `open_cache`."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_what_is_no_longer_fresh_is_kept_and_not_got(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, what = harness.cache, entry(fresh_until=_soon(harness))
            assert await stored(cache, "k", what)
            assert await cache.get("k") == what
            assert await cache.stale("k") == what
            await harness.advance(_AFTER_SOON)
            assert await cache.get("k") is None
            assert await cache.stale("k") == what

    async def test_only_a_value_is_stale(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            await cache.tombstone({"tombstone": 5}, ttl=TTL)
            assert await cache.lease("lease", "t", ttl=TTL)
            for key in ("none", "tombstone", "lease"):
                assert await cache.stale(key) is None

    async def test_what_is_no_longer_fresh_outlives_neither_its_lifetime_nor_its_content(
        self, open_cache: OpenCache
    ) -> None:
        async with open_cache() as harness:
            cache, soon = harness.cache, _soon(harness)
            much_later = later(harness.now(), Seconds(3.0))
            assert await stored(cache, "short", entry(fresh_until=soon), ttl=Seconds(2.0))
            assert await stored(cache, "ending", entry(fresh_until=soon, expires_at=much_later))
            await harness.advance(_AFTER_SOON)
            assert await cache.stale("short") is not None
            assert await cache.stale("ending") is not None
            await harness.advance(Seconds(2.0))
            assert await cache.stale("short") is None
            assert await cache.stale("ending") is None
            assert await cache.lease("ending", "t", ttl=TTL)

    async def test_a_lease_lies_beside_what_is_no_longer_fresh(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, old = harness.cache, entry(5, fresh_until=_soon(harness))
            assert await stored(cache, "k", old)
            assert not await cache.lease("k", "one", ttl=TTL)
            await harness.advance(_AFTER_SOON)
            assert await cache.lease("k", "one", ttl=TTL)
            assert await cache.lease("k", "one", ttl=TTL)
            assert not await cache.lease("k", "two", ttl=TTL)
            assert not await cache.fill("k", "two", entry(5), ttl=TTL)
            assert await cache.stale("k") == old
            assert await cache.fill("k", "one", entry(5), ttl=TTL)
            assert await cache.get("k") == entry(5)
            assert not await cache.fill("k", "one", entry(6), ttl=TTL)

    async def test_the_version_of_a_value_is_the_floor_of_what_is_beside_it(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, old = harness.cache, entry(5, fresh_until=_soon(harness))
            for key in ("leased", "refreshed"):
                assert await stored(cache, key, old)
            assert await cache.refresh("refreshed", "t", ttl=TTL)
            await harness.advance(_AFTER_SOON)
            assert await cache.lease("leased", "t", ttl=TTL)
            for key in ("leased", "refreshed"):
                assert not await cache.fill(key, "t", entry(4), ttl=TTL)
                assert await cache.stale(key) == old
                # The refused fill used its token up.
                assert not await cache.fill(key, "t", entry(6), ttl=TTL)
                assert await cache.lease(key, "u", ttl=TTL)
                assert await cache.fill(key, "u", entry(6), ttl=TTL)
                assert await cache.get(key) == entry(6)

    async def test_a_token_lies_beside_one_value_at_a_time(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry())
            assert await cache.refresh("k", "one", ttl=TTL)
            assert await cache.refresh("k", "one", ttl=TTL)
            assert not await cache.refresh("k", "two", ttl=TTL)
            assert await cache.get("k") == entry()
            assert not await cache.fill("k", "two", entry(2), ttl=TTL)
            assert await cache.get("k") == entry()
            assert await cache.fill("k", "one", entry(2), ttl=TTL)
            assert await cache.get("k") == entry(2)
            assert await cache.refresh("k", "two", ttl=TTL)

    async def test_only_values_are_refreshed(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            await cache.tombstone({"tombstone": 5}, ttl=TTL)
            assert await cache.lease("lease", "t", ttl=TTL)
            for key in ("none", "tombstone", "lease"):
                assert not await cache.refresh(key, "t", ttl=TTL)
            assert not await cache.fill("none", "t", entry(9), ttl=TTL)
            assert await cache.fill("lease", "t", entry(), ttl=TTL)

    async def test_what_is_no_longer_fresh_is_refreshed_too(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry(fresh_until=_soon(harness)))
            await harness.advance(_AFTER_SOON)
            assert await cache.refresh("k", "one", ttl=TTL)
            assert not await cache.lease("k", "two", ttl=TTL)
            assert await cache.fill("k", "one", entry(), ttl=TTL)
            assert await cache.get("k") == entry()

    async def test_a_token_beside_a_value_ends_by_itself(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry())
            assert await cache.refresh("k", "one", ttl=Seconds(1.0))
            await harness.advance(_AFTER_SOON)
            assert not await cache.fill("k", "one", entry(2), ttl=TTL)
            assert await cache.get("k") == entry()
            assert await cache.refresh("k", "two", ttl=TTL)
            assert await cache.fill("k", "two", entry(2), ttl=TTL)

    async def test_giving_up_a_token_leaves_the_value(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, old = harness.cache, entry(fresh_until=_soon(harness))
            assert await stored(cache, "k", old)
            assert await cache.refresh("k", "one", ttl=TTL)
            await cache.release("k", "two")
            assert not await cache.refresh("k", "two", ttl=TTL)
            await cache.release("k", "one")
            assert await cache.get("k") == old
            assert not await cache.fill("k", "one", entry(2), ttl=TTL)
            await harness.advance(_AFTER_SOON)
            assert await cache.lease("k", "two", ttl=TTL)
            await cache.release("k", "two")
            assert await cache.stale("k") == old
            assert await cache.lease("k", "three", ttl=TTL)

    async def test_with_a_value_goes_the_token_beside_it(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "fresh", entry(5))
            assert await stored(cache, "old", entry(5, fresh_until=_soon(harness)))
            await harness.advance(_AFTER_SOON)
            assert await cache.refresh("fresh", "t", ttl=TTL)
            assert await cache.lease("old", "t", ttl=TTL)
            await cache.tombstone({"fresh": 5, "old": 6}, ttl=TTL)
            for key, floor in (("fresh", 5), ("old", 6)):
                assert not await cache.fill(key, "t", entry(9), ttl=TTL)
                assert await cache.get(key) is None
                assert await cache.stale(key) is None
                assert not await stored(cache, key, entry(floor - 1))
                assert await stored(cache, key, entry(floor))

    async def test_an_older_tombstone_leaves_a_newer_value(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache, old = harness.cache, entry(6, fresh_until=_soon(harness))
            assert await stored(cache, "k", old)
            await harness.advance(_AFTER_SOON)
            await cache.tombstone({"k": 5}, ttl=TTL)
            assert await cache.stale("k") == old

    async def test_a_value_is_put_over_whatever_is_there(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "value", entry(5))
            assert await stored(cache, "refreshed", entry(5))
            assert await cache.refresh("refreshed", "t", ttl=TTL)
            await cache.tombstone({"tombstone": 5, "floor": 5}, ttl=TTL)
            assert await cache.lease("lease", "t", ttl=TTL)
            assert await cache.lease("floor", "t", ttl=TTL)
            for key, given in (
                ("none", 3),
                ("lease", 3),
                ("value", 6),
                ("refreshed", 6),
                ("tombstone", 6),
                ("floor", 6),
            ):
                assert await cache.put(key, entry(3, b"new"), ttl=TTL) == given
                assert await cache.get(key) == entry(3, b"new")._replace(version=given)
                assert not await cache.fill(key, "t", entry(99), ttl=TTL), "the token has gone"
                assert await cache.put(key, entry(9), ttl=TTL) == 9
                assert await cache.put(key, entry(9), ttl=TTL) == 10

    async def test_what_was_put_ends_and_is_removed_like_any_value(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            await cache.put("short", entry(), ttl=Seconds(1.0))
            await cache.put("old", entry(fresh_until=_soon(harness)), ttl=TTL)
            version = await cache.put("removed", entry(), ttl=TTL)
            await cache.tombstone({"removed": version}, ttl=TTL)
            assert await cache.get("removed") is None
            await harness.advance(_AFTER_SOON)
            assert await cache.stale("short") is None
            assert await cache.get("old") is None
            assert await cache.stale("old") is not None

    async def test_every_lifetime_is_positive(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry())
            for ttl in (Seconds(0.0), Seconds(-1.0)):
                with pytest.raises(ValueError, match="positive"):
                    await cache.refresh("k", "t", ttl=ttl)
                with pytest.raises(ValueError, match="positive"):
                    await cache.put("k", entry(), ttl=ttl)
                with pytest.raises(ValueError, match="positive"):
                    await cache.evict(["k"], ttl=ttl)
            assert await cache.get("k") == entry()


def _soon(harness: CacheHarness) -> Timestamp:
    return later(harness.now(), _SOON)
