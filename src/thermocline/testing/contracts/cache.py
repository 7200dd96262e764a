"""Laws of `Cache` and `Sweepable`. An adapter passes them by providing one fixture."""
# ruff: noqa: D102 - the name of a test states its law

import pytest

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import Seconds, later
from thermocline.testing.contracts.cache_freshness import FreshnessLaws
from thermocline.testing.contracts.cache_harness import TTL, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.cache_races import RaceLaws
from thermocline.testing.contracts.cache_sweeping import SweepingLaws

__all__ = ["TTL", "CacheContract", "CacheHarness", "OpenCache", "entry", "stored"]


class CacheContract(FreshnessLaws, SweepingLaws, RaceLaws):
    """Laws of `Cache` and `Sweepable`. Subclasses provide `open_cache`, anew for each test."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_a_value_comes_back_as_it_was(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            far = later(harness.now(), Seconds(3600.0))
            for number, what in enumerate(
                (
                    entry(),
                    entry(payload=b""),
                    entry(payload=bytes(range(256)) * 300, expires_at=far),
                    entry()._replace(headers=StoredHeaders(), visibility=Visibility.PRIVATE, tier="warm"),
                    entry()._replace(version=2**62, revision=2**62 + 1),
                )
            ):
                assert await stored(harness.cache, f"k{number}", what)
                assert await harness.cache.get(f"k{number}") == what

    async def test_keys_may_be_any_text(self, open_cache: OpenCache) -> None:
        keys = ("content:a", "content:A", "a b", "é", "{a}b", "{b}a", "*", "[a]", "\n", "x" * 900, "\x01")
        async with open_cache() as harness:
            for number, key in enumerate(keys):
                assert await stored(harness.cache, key, entry(number + 1))
            for number, key in enumerate(keys):
                found = await harness.cache.get(key)
                assert found is not None
                assert found.version == number + 1

    async def test_an_absent_key_is_none(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await harness.cache.get("none") is None

    async def test_without_a_lease_nothing_is_filled(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert not await cache.fill("k", "t", entry(), ttl=TTL)
            assert await cache.lease("k", "mine", ttl=TTL)
            assert not await cache.fill("k", "other", entry(), ttl=TTL)
            assert await cache.get("k") is None
            assert await cache.fill("k", "mine", entry(), ttl=TTL)
            assert not await cache.fill("k", "mine", entry(2), ttl=TTL)
            assert await cache.get("k") == entry()

    async def test_a_lease_is_held_by_one(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await cache.lease("k", "one", ttl=TTL)
            assert not await cache.lease("k", "two", ttl=TTL)
            await cache.release("k", "two")
            assert not await cache.lease("k", "two", ttl=TTL)
            await cache.release("k", "one")
            await cache.release("k", "one")
            assert await cache.lease("k", "two", ttl=TTL)
            assert not await cache.fill("k", "one", entry(), ttl=TTL)
            assert await cache.fill("k", "two", entry(), ttl=TTL)

    async def test_a_holder_can_renew_its_lease(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await harness.cache.lease("k", "one", ttl=Seconds(2.0))
            assert await harness.cache.lease("k", "one", ttl=TTL)
            await harness.advance(Seconds(3.0))
            assert not await harness.cache.lease("k", "two", ttl=TTL)
            assert await harness.cache.fill("k", "one", entry(), ttl=TTL)

    async def test_no_lease_over_a_value(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await stored(harness.cache, "k", entry())
            assert not await harness.cache.lease("k", "two", ttl=TTL)
            assert await harness.cache.get("k") == entry()

    async def test_a_lease_ends(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await harness.cache.lease("k", "one", ttl=Seconds(1.0))
            await harness.advance(Seconds(1.1))
            assert not await harness.cache.fill("k", "one", entry(), ttl=TTL)
            assert await harness.cache.lease("k", "two", ttl=TTL)
            assert not await harness.cache.fill("k", "one", entry(), ttl=TTL)

    async def test_a_value_never_outlives_its_lifetime(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await stored(harness.cache, "k", entry(), ttl=Seconds(1.0))
            await harness.advance(Seconds(1.1))
            assert await harness.cache.get("k") is None
            assert await harness.cache.lease("k", "t", ttl=TTL)

    async def test_a_value_never_outlives_its_content(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            soon = later(harness.now(), Seconds(1.0))
            assert await stored(harness.cache, "k", entry(expires_at=soon))
            await harness.advance(Seconds(1.1))
            assert await harness.cache.get("k") is None
            assert not await stored(harness.cache, "k", entry(expires_at=soon))
            assert await harness.cache.get("k") is None

    async def test_a_lifetime_is_positive(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            assert await harness.cache.lease("k", "t", ttl=TTL)
            for ttl in (Seconds(0.0), Seconds(-1.0)):
                with pytest.raises(ValueError, match="positive"):
                    await harness.cache.fill("k", "t", entry(), ttl=ttl)
                with pytest.raises(ValueError, match="positive"):
                    await harness.cache.lease("other", "t", ttl=ttl)
                with pytest.raises(ValueError, match="positive"):
                    await harness.cache.tombstone({"other": 1}, ttl=ttl)

    async def test_a_tombstone_removes_what_is_as_old_and_keeps_what_is_newer(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            for version in (4, 5, 6):
                assert await stored(cache, f"k{version}", entry(version))
            await cache.tombstone({"k4": 5, "k5": 5, "k6": 5, "none": 5}, ttl=TTL)
            assert await cache.get("k4") is None
            assert await cache.get("k5") is None
            assert await cache.get("k6") == entry(6)

    async def test_a_tombstone_removes_every_lease(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await cache.lease("k", "one", ttl=TTL)
            await cache.tombstone({"k": 5}, ttl=TTL)
            assert not await cache.fill("k", "one", entry(9), ttl=TTL)
            assert await cache.get("k") is None

    async def test_a_lease_keeps_the_version_of_the_tombstone_as_its_floor(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            for version, fits in ((4, False), (5, True), (6, True)):
                await cache.tombstone({f"k{version}": 5}, ttl=TTL)
                assert await cache.lease(f"k{version}", "t", ttl=TTL)
                assert await cache.fill(f"k{version}", "t", entry(version), ttl=TTL) == fits
                assert (await cache.get(f"k{version}") is not None) == fits
            # The refused fill used its lease up.
            assert not await cache.fill("k4", "t", entry(6), ttl=TTL)
            assert await cache.lease("k4", "u", ttl=TTL)

    async def test_a_floor_never_sinks(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            await cache.tombstone({"k": 7}, ttl=TTL)
            await cache.tombstone({"k": 5}, ttl=TTL)
            assert await cache.lease("k", "t", ttl=TTL)
            await cache.tombstone({"k": 3}, ttl=TTL)
            assert await cache.lease("k", "u", ttl=TTL)
            assert not await cache.fill("k", "u", entry(6), ttl=TTL)

    async def test_a_tombstone_ends(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            await harness.cache.tombstone({"k": 7}, ttl=Seconds(1.0))
            await harness.advance(Seconds(1.1))
            assert await stored(harness.cache, "k", entry(1))
