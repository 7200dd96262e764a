"""Each rule of the caches, broken on purpose: the simulation finds a schedule in which that shows.

So the simulation can fail, and none of the rules is there for nothing. (A lease that is renewed by taking it anew shows
in one of some thousand schedules; `tests/models/cache_fence.py` finds it at once.)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.services.simulated import World
from tests.services.test_two_levels_simulated import some_seed
from thermocline.domain.units import Seconds
from thermocline.ports.cache import CacheEntry
from thermocline.services.absences import Absences
from thermocline.services.cache_levels import CacheLevels
from thermocline.services.caching import ContentCache
from thermocline.services.sharing import SharedCache
from thermocline.services.value_caches import ValueCaches
from thermocline.testing.shared_cache import SharedMemoryCache

pytestmark = pytest.mark.thorough
ENOUGH = 2000
"""Schedules in which each weakness must have shown; most do within a hundred, of those steps that it takes."""
Patch = pytest.MonkeyPatch


def fill_without_token(patch: Patch) -> None:
    async def fill(self: SharedMemoryCache, key: str, _token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        now = self._monotonic()
        return entry.version >= self._floor(key, now) and self._store(key, entry, now, ttl)

    patch.setattr(SharedMemoryCache, "fill", fill)


def tombstones_spare_leases(patch: Patch) -> None:
    real = SharedMemoryCache.tombstone

    async def tombstone(self: SharedMemoryCache, versions: dict[str, int], *, ttl: Seconds) -> None:
        now = self._monotonic()
        for key, version in versions.items():
            mark = self._marks.live(key, now)
            if mark is None or mark.token is None:
                await real(self, {key: version}, ttl=ttl)

    patch.setattr(SharedMemoryCache, "tombstone", tombstone)


def keep_in_memory_without_looking_for_changes(patch: Patch) -> None:
    patch.setattr(CacheLevels, "_part_lookups", lambda _self, _key: None)


def tombstone_after_the_acknowledgement(patch: Patch) -> None:
    real, running = ContentCache.invalidate, set()

    async def invalidate(self: ContentCache, content_id: Any, version: int) -> bool:
        task = asyncio.ensure_future(real(self, content_id, version))
        running.add(task)
        task.add_done_callback(running.discard)
        return True

    patch.setattr(ContentCache, "invalidate", invalidate)


def absence_without_mark(patch: Patch) -> None:
    real = Absences.note
    patch.setattr(Absences, "note", lambda self, content_id, _mark: real(self, content_id, self._heard))


def absence_forgotten_by_nobody(patch: Patch) -> None:
    patch.setattr(Absences, "forget", lambda _self, _content_id: None)


def join_reads_from_before_a_change(patch: Patch) -> None:
    class Kept(dict[str, Any]):
        def pop(self, *_: Any) -> None:
            """Let nobody take a read out."""

    real = ContentCache.__init__

    def init(self: ContentCache, *args: Any, **named: Any) -> None:
        real(self, *args, **named)
        self.flights = Kept()

    patch.setattr(ContentCache, "__init__", init)


def believe_what_could_not_be_evicted(patch: Patch) -> None:
    patch.setattr(SharedCache, "_doubt", lambda _self, _key, _version: None)
    patch.setattr(SharedCache, "note_version", lambda _self, _key, _version: None)


def believe_what_a_failover_brought_back(patch: Patch) -> None:
    patch.setattr(SharedCache, "note_version", lambda _self, _key, _version: None)


def hear_nothing(patch: Patch) -> None:
    async def hear(_self: CacheLevels, _key: str, _version: int) -> bool:
        return False

    patch.setattr(CacheLevels, "hear", hear)


def never_ask_whether_it_is_current(patch: Patch) -> None:
    async def is_current(_self: SharedCache, _key: str, _version: int) -> bool:
        return True

    patch.setattr(SharedCache, "is_current", is_current)
    hear_nothing(patch)


def visibility_is_no_change(patch: Patch) -> None:
    """Caches keep the bytes, and with them what they believe of who may see them."""
    from tests.services.simulated_process import Process

    async def show(self: Process) -> None:
        real = self.cache.invalidate
        self.cache.invalidate = _nothing  # type: ignore[method-assign, assignment]
        try:
            await original(self)
        finally:
            self.cache.invalidate = real  # type: ignore[method-assign]

    original = Process.show
    patch.setattr(Process, "show", show)


async def _nothing(_content_id: object, _version: int) -> bool:
    return True


def evict_values_and_leave_leases(patch: Patch) -> None:
    async def evict(self: SharedMemoryCache, keys: Sequence[str], *, ttl: Seconds) -> int:
        for key in keys:
            if (value := self._value(key)) is not None:
                self._drop(value)
        return len(keys)

    patch.setattr(SharedMemoryCache, "evict", evict)


def join_computations_from_before_an_eviction(patch: Patch) -> None:
    patch.setattr(ValueCaches, "part", lambda _self, _pattern: None)


def put_without_parting_what_is_under_way(patch: Patch) -> None:
    real = CacheLevels.put

    async def put(self: CacheLevels, key: str, entry: CacheEntry) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self.memory, "evict", _evict_nothing)
            return await real(self, key, entry)

    patch.setattr(CacheLevels, "put", put)


async def _evict_nothing(_keys: Sequence[str], *, ttl: Seconds) -> int:
    return 0


CALM, FAILING, LOSING = (0.0, False), (0.2, False), (0.0, True)
READING = ("read", "read", "read", "look")
FACTS = ("learn", "fetch", "fetch", "get")
WEAKNESSES: dict[Callable[[Patch], None], tuple[tuple[float, bool], Sequence[str]]] = {
    fill_without_token: (CALM, ("write", "flush", *READING)),
    tombstones_spare_leases: (CALM, ("write", *READING)),
    keep_in_memory_without_looking_for_changes: (CALM, FACTS),
    tombstone_after_the_acknowledgement: (CALM, ("write", *READING)),
    absence_without_mark: (CALM, ("write", "delete", *READING)),
    absence_forgotten_by_nobody: (CALM, ("write", "delete", *READING)),
    join_reads_from_before_a_change: (CALM, ("write", *READING)),
    believe_what_could_not_be_evicted: (FAILING, ("write", *READING)),
    believe_what_a_failover_brought_back: (LOSING, ("write", "copy", "lose", *READING)),
    hear_nothing: (CALM, ("write", "hear", *READING)),
    never_ask_whether_it_is_current: (CALM, ("write", "wait", *READING)),
    visibility_is_no_change: (CALM, ("show", "look", "look")),
    evict_values_and_leave_leases: (CALM, FACTS),
    join_computations_from_before_an_eviction: (CALM, FACTS),
    put_without_parting_what_is_under_way: (CALM, ("put", "get", "fetch")),
}


@pytest.mark.parametrize("weakness", WEAKNESSES, ids=lambda weakness: weakness.__name__)
def test_a_weaker_rule_shows(weakness: Callable[[Patch], None], monkeypatch: Patch) -> None:
    (failing, losing), steps = WEAKNESSES[weakness]
    weakness(monkeypatch)
    first = some_seed()
    for tried in range(ENOUGH):
        try:
            asyncio.run(World(first + tried, failing=failing, losing=losing, steps=steps).run())
        except AssertionError as found:
            print(f"after {tried + 1} schedules: {found}")  # noqa: T201 - how soon it shows
            return
    pytest.fail(f"{ENOUGH} schedules from seed {first} on do not show it")
