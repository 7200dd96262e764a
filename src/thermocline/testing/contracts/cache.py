"""Laws of `Cache`. An adapter passes them by providing one fixture."""
# ruff: noqa: D102 - the name of a test states its law

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.ports.cache import Cache, CacheEntry
from thermocline.testing.contracts.running import AsyncTests, in_event_loop

TTL = Seconds(60.0)
# One law, tried by several subclasses: each has a cache of its own, so that examples do not depend on who runs them.
_RANDOM = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors], deadline=None
)


@dataclass(frozen=True, slots=True)
class CacheHarness:
    """A fresh cache and the clock it lives by."""

    cache: Cache
    now: Callable[[], Timestamp]
    advance: Callable[[Seconds], Awaitable[None]]
    """Lets that much time pass for the cache."""


OpenCache = Callable[[], AbstractAsyncContextManager[CacheHarness]]


def entry(version: int = 1, payload: bytes = b"payload", *, expires_at: Timestamp | None = None) -> CacheEntry:
    """Return an entry each field of which differs from its neighbours'."""
    return CacheEntry(
        payload=payload,
        version=version,
        revision=version + 1_000,
        visibility=Visibility.PUBLIC,
        expires_at=expires_at,
        cached_at=Timestamp(1_700_000_000_000_001),
        modified_at=Timestamp(1_700_000_000_000_002),
        digest=bytes(range(32)),
        headers=StoredHeaders("text/plain; charset=utf-8", "max-age=5", "attachment; filename*=UTF-8''%C3%A9"),
        tier="hot",
    )


async def stored(cache: Cache, key: str, what: CacheEntry, *, ttl: Seconds = TTL) -> bool:
    """Lease and fill `key`; whether the entry was stored."""
    assert await cache.lease(key, "token of stored", ttl=TTL)
    return await cache.fill(key, "token of stored", what, ttl=ttl)


class CacheContract(AsyncTests):
    """Laws of `Cache`. Subclasses provide `open_cache`, anew for each test."""

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
                    replace(entry(), headers=StoredHeaders(), visibility=Visibility.PRIVATE, tier="warm"),
                    replace(entry(), version=2**62, revision=2**62 + 1),
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

    async def test_clearing_forgets_leases_too(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            assert await stored(cache, "k", entry())
            assert await cache.lease("leased", "t", ttl=TTL)
            await cache.clear()
            assert await cache.get("k") is None
            assert not await cache.fill("leased", "t", entry(), ttl=TTL)

    async def test_a_pattern_finds_values_and_leases(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            cache = harness.cache
            for key in ("content:users/1/a", "content:users/1/b/c", "content:users/2/a", "list:users/1"):
                assert await stored(cache, key, entry())
            assert await cache.lease("content:users/1/leased", "t", ttl=TTL)
            for pattern, expected in (
                ("content:users/1/*", {"content:users/1/a", "content:users/1/b/c", "content:users/1/leased"}),
                ("content:users/?/a", {"content:users/1/a", "content:users/2/a"}),
                ("content:users/[^1]/a", {"content:users/2/a"}),
                ("*users/1", {"list:users/1"}),
                ("none*", set[str]()),
            ):
                found = [key async for page in cache.match(pattern) for key in page]
                assert set(found) == expected
                assert len(found) == len(expected)

    async def test_a_thousand_keys_are_matched(self, open_cache: OpenCache) -> None:
        async with open_cache() as harness:
            keys = {f"k{number}" for number in range(1200)}
            for key in keys:
                assert await harness.cache.lease(key, "t", ttl=TTL)
            assert {key async for page in harness.cache.match("k*") for key in page} == keys

    @_RANDOM
    @given(data=st.data())
    def test_nothing_older_than_what_was_acknowledged_is_ever_gained(
        self, open_cache: OpenCache, data: st.DataObject
    ) -> None:
        in_event_loop(_race)(open_cache, data)


async def _race(open_cache: OpenCache, data: st.DataObject) -> None:
    """Fillers and writers take their steps in any order, as in the model of the protocol (I3)."""
    async with open_cache() as harness:
        cache, key = harness.cache, "k"
        await cache.clear()
        committed = acknowledged = 1
        unannounced: list[int] = []
        seen: dict[str, int | None] = {}
        steps = st.sampled_from(("miss", "read", "fill", "commit", "tombstone", "vanish", "expire", "release"))
        for number, step in enumerate(data.draw(st.lists(steps, max_size=30))):
            filler = data.draw(st.sampled_from(sorted(seen))) if seen else None
            if step == "miss" and await cache.lease(key, f"f{number}", ttl=TTL):
                seen[f"f{number}"] = None
            elif step == "read" and filler is not None:
                seen[filler] = committed
            elif step == "fill" and filler is not None:
                version = seen.pop(filler)
                if version is not None and await cache.fill(key, filler, entry(version), ttl=TTL):
                    assert version >= acknowledged
            elif step == "release" and filler is not None:
                seen.pop(filler)
                await cache.release(key, filler)
            elif step == "commit":
                committed += 1
                unannounced.append(committed)
            elif step == "tombstone" and unannounced:
                version = unannounced.pop(data.draw(st.integers(0, len(unannounced) - 1)))
                await cache.tombstone({key: version}, ttl=TTL)
                acknowledged = max(acknowledged, version)
            elif step == "vanish":
                await cache.clear()
            elif step == "expire":
                await harness.advance(Seconds(TTL + 0.1))
            found = await cache.get(key)
            assert found is None or found.version >= acknowledged
