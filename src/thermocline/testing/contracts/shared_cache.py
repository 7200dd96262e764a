"""Laws of `SharedLevel`, beyond those of `Cache`."""
# ruff: noqa: D102 - the name of a test states its law

from typing import cast

import pytest

from thermocline.domain.units import Seconds, later
from thermocline.ports.cache import SharedLevel
from thermocline.testing.contracts.cache import TTL, CacheHarness, OpenCache, entry, stored
from thermocline.testing.contracts.running import AsyncTests


class SharedCacheContract(AsyncTests):
    """Laws of `SharedLevel`. Subclasses provide `open_cache`, anew for each test."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    async def test_only_ones_own_lease_is_renewed(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            assert await cache.lease("k", "one", ttl=Seconds(2.0))
            assert not await cache.renew("k", "two", ttl=TTL)
            assert await cache.renew("k", "one", ttl=TTL)
            await harness.advance(Seconds(3.0))
            assert not await cache.lease("k", "two", ttl=TTL)
            assert await cache.fill("k", "one", entry(), ttl=TTL)

    async def test_renewing_never_installs_a_lease(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            for number, how in enumerate(("end", "tombstone", "release", "clear", "fill")):
                key = f"k{number}"
                assert await cache.lease(key, "one", ttl=Seconds(2.0))
                match how:
                    case "end":
                        await harness.advance(Seconds(2.1))
                    case "tombstone":
                        await cache.tombstone({key: 5}, ttl=TTL)
                    case "release":
                        await cache.release(key, "one")
                    case "clear":
                        await cache.clear()
                    case _:
                        assert await cache.fill(key, "one", entry(), ttl=TTL)
                assert not await cache.renew(key, "one", ttl=TTL)
                assert not await cache.fill(key, "one", entry(9), ttl=TTL)

    async def test_a_renewed_lease_keeps_its_floor(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            await cache.tombstone({"k": 5}, ttl=TTL)
            assert await cache.lease("k", "one", ttl=TTL)
            assert await cache.renew("k", "one", ttl=TTL)
            assert not await cache.fill("k", "one", entry(4), ttl=TTL)

    async def test_only_values_have_a_version(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            assert await cache.version_of("k") is None
            assert await cache.lease("k", "one", ttl=TTL)
            assert await cache.version_of("k") is None
            assert await cache.fill("k", "one", entry(7), ttl=TTL)
            assert await cache.version_of("k") == 7
            await cache.tombstone({"k": 7}, ttl=TTL)
            assert await cache.version_of("k") is None

    async def test_what_is_no_longer_fresh_has_no_version(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            assert await stored(cache, "k", entry(7, fresh_until=later(harness.now(), Seconds(1.0))))
            assert await cache.version_of("k") == 7
            await harness.advance(Seconds(1.1))
            assert await cache.version_of("k") is None

    async def test_a_token_beside_a_value_is_renewed_too(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            assert await stored(cache, "k", entry(7), ttl=Seconds(150.0))
            assert not await cache.renew("k", "one", ttl=TTL)
            assert await cache.refresh("k", "one", ttl=Seconds(2.0))
            assert not await cache.renew("k", "two", ttl=TTL)
            assert await cache.renew("k", "one", ttl=TTL)
            await harness.advance(Seconds(3.0))
            assert not await cache.refresh("k", "two", ttl=TTL)
            assert await cache.get("k") == entry(7)
            assert not await cache.fill("k", "one", entry(6), ttl=TTL)
            assert not await cache.renew("k", "one", ttl=TTL)
            assert await cache.get("k") == entry(7)

    async def test_a_lease_that_was_given_back_keeps_the_floor(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = _shared(harness)
            await cache.tombstone({"k": 5}, ttl=TTL)
            assert await cache.lease("k", "one", ttl=TTL)
            await cache.release("k", "one")
            assert not await stored(cache, "k", entry(4))
            assert await stored(cache, "k", entry(5))


def _shared(harness: CacheHarness) -> SharedLevel:
    return cast("SharedLevel", harness.cache)
