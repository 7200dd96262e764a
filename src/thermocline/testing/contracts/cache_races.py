"""The law that no cache gains what is older than an acknowledged change, for fillers and writers in any order."""
# ruff: noqa: D102 - the name of a test states its law

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.units import Seconds, later
from thermocline.testing.contracts.cache_harness import TTL, OpenCache, entry
from thermocline.testing.contracts.running import in_event_loop

# One law, tried by several subclasses: each has a cache of its own, so that examples do not depend on who runs them.
_RANDOM = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors], deadline=None
)
_FRESH = Seconds(10.0)
_STEPS = st.sampled_from(
    ("miss", "refresh", "read", "fill", "commit", "tombstone", "vanish", "expire", "age", "release", "evict")
)


class RaceLaws:
    """The law of I3. Subclasses provide `open_cache`, anew for each test."""

    @pytest.fixture
    def open_cache(self) -> OpenCache:
        """Return what opens a fresh cache."""
        raise NotImplementedError

    @_RANDOM
    @given(data=st.data())
    def test_nothing_older_than_what_was_acknowledged_is_ever_gained(
        self, open_cache: OpenCache, data: st.DataObject
    ) -> None:
        in_event_loop(_race)(open_cache, data)


async def _race(open_cache: OpenCache, data: st.DataObject) -> None:
    """Take the steps of the model of the protocol: values are refreshed early, grow old, and are kept for failures."""
    async with open_cache() as harness:
        cache, key = harness.cache, "k"
        await cache.clear()
        committed = acknowledged = 1
        unannounced: list[int] = []
        seen: dict[str, int | None] = {}
        for number, step in enumerate(data.draw(st.lists(_STEPS, max_size=30))):
            filler = data.draw(st.sampled_from(sorted(seen))) if seen else None
            if (step == "miss" and await cache.lease(key, f"f{number}", ttl=TTL)) or (
                step == "refresh" and await cache.refresh(key, f"f{number}", ttl=TTL)
            ):
                seen[f"f{number}"] = None
            elif step == "read" and filler is not None:
                seen[filler] = committed
            elif step == "fill" and filler is not None:
                version = seen.pop(filler)
                what = entry(version or 0, fresh_until=later(harness.now(), _FRESH))
                if version is not None and await cache.fill(key, filler, what, ttl=TTL):
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
            elif step == "evict":
                await cache.evict([key], ttl=TTL)
                assert await cache.stale(key) is None
            elif step == "vanish":
                await cache.clear()
            elif step in {"expire", "age"}:
                await harness.advance(Seconds((TTL if step == "expire" else _FRESH) + 0.1))
            for found in (await cache.get(key), await cache.stale(key)):
                assert found is None or found.version >= acknowledged
