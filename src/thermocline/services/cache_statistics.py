"""Statistics of the caches: counted in memory, added to the shared cache in batches, so summed over all processes.

1. Every few seconds each process adds what it counted since the last time. 2. Whoever asks reads the sums, and adds
what it has counted itself since. What failed to be added waits. A crash loses what was counted since the last flush; a
batch whose acknowledgement was lost counts twice. Nothing is decided by these numbers.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from thermocline.domain.cache_types import CONTENT, type_of
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds
from thermocline.ports.cache import SharedCounts
from thermocline.ports.clock import Clock
from thermocline.services.cache_counts import TypeCounts
from thermocline.services.caching import ContentCache
from thermocline.services.tracking import AccessTracker, ReadKind
from thermocline.services.value_caches import ValueCaches

log = structlog.get_logger(__name__)

FLUSH_EVERY: Final = Seconds(5.0)
MEMORY: Final = "memory"
REDIS: Final = "redis"
HOLDINGS: Final = frozenset({"memory/count", "memory/total_size"})
"""What memory holds now, of this process alone; the shared level's size is of what it took in."""

Statistics = dict[str, dict[str, Any]]
"""By cache type and level; all values are numbers."""


class CacheStatistics:
    """Hits, misses, sets and sizes by cache type and level."""

    def __init__(
        self,
        contents: ContentCache,
        values: ValueCaches,
        tracker: AccessTracker,
        clock: Clock,
        shared: SharedCounts | None,
    ) -> None:
        self._levels = levels = contents.levels
        self._memory = levels.memory
        self._contents = contents
        self._values = values
        self._tracker = tracker
        self._clock = clock
        self._shared = shared
        self._is_shared = levels.shared is not None
        self._flushed: dict[str, int] = {}
        self.failures = 0

    def here(self) -> Statistics:
        """Return the statistics of this process alone, since its start."""
        return {name: self._levels_of(name, counts) for name, counts in self._values.counts.types.items()}

    def _levels_of(self, name: str, counts: TypeCounts) -> dict[str, dict[str, int]]:
        hits, shared_hits, misses, stale = counts.memory_hits, counts.shared_hits, counts.misses, counts.stale
        rejected = counts.rejected
        memory_bytes, shared_bytes = counts.memory_bytes, counts.shared_bytes
        parts = [part for kind, part in self._memory.counts().items() if type_of(kind + ":") == name]
        if name == CONTENT:
            # Reads look at the levels more than once: they are counted once, by what served them.
            totals = self._tracker.totals
            hits += totals[ReadKind.MEMORY]
            shared_hits += totals[ReadKind.REDIS]
            misses += totals[ReadKind.STORAGE]
            stale += self._contents.stale_served
            rejected += self._contents.too_large
            memory_bytes += sum(part.hit_bytes for part in parts) + self._contents.memory_bytes
            shared_bytes += self._contents.shared_bytes
        memory = {
            "hits": hits,
            "misses": shared_hits + misses,
            "sets": sum(part.sets for part in parts),
            "evictions": sum(part.evictions for part in parts),
            "rejected": rejected,
            "stale": stale,
            "saved_bytes": memory_bytes,
            "count": sum(part.count for part in parts),
            "total_size": sum(part.bytes for part in parts),
        }
        if not self._is_shared:
            return {MEMORY: memory}
        sets, size = self._levels.shared_sets.get(name, (0, 0))
        redis = {
            "hits": shared_hits,
            "misses": misses,
            "sets": sets,
            "saved_bytes": shared_bytes,
            "total_size": size,
        }
        return {MEMORY: memory, REDIS: redis}

    async def read(self, here: Statistics | None = None) -> Statistics:
        """Return the statistics of all processes that share a cache, with ratios; else, or where it fails, `here`.

        `here` is of this process, or of several together whose holdings count too.
        """
        found = self.here() if here is None else here
        if self._shared is not None:
            try:
                totals = await self._shared.totals()
            except StorageError as exc:
                self._note_failure(exc)
            else:
                self._add_up(found, totals)
        return with_ratios(found)

    async def flush(self) -> bool:
        """Add what was counted since the last flush to the shared counters; whether that was done."""
        if self._shared is None:
            return True
        waiting = self._waiting(self.here())
        if not waiting:
            return True
        try:
            await self._shared.add(waiting)
        except StorageError as exc:
            self._note_failure(exc)
            return False
        for key, count in waiting.items():
            self._flushed[key] = self._flushed.get(key, 0) + count
        return True

    async def run(self) -> None:
        """Flush every few seconds until cancelled."""
        while self._shared is not None:
            await self._clock.sleep(FLUSH_EVERY)
            await self.flush()

    def _waiting(self, here: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, int]:
        """Return the counts that were not added yet, by their names in the shared counters."""
        counts = {
            f"{kind}/{level}/{name}": number
            for kind, levels in here.items()
            for level, numbers in levels.items()
            for name, number in numbers.items()
            if f"{level}/{name}" not in HOLDINGS
        }
        flushed = self._flushed
        return {key: count - flushed.get(key, 0) for key, count in counts.items() if count != flushed.get(key, 0)}

    def _add_up(self, here: Statistics, totals: Mapping[str, int]) -> None:
        """Replace what this process counted by what all did, as far as they told, and what waits here."""
        waiting = self._waiting(self.here())
        for kind, levels in here.items():
            for level, numbers in levels.items():
                for name in numbers:
                    key = f"{kind}/{level}/{name}"
                    if key in totals or key in waiting:
                        numbers[name] = totals.get(key, 0) + waiting.get(key, 0)

    def _note_failure(self, exc: StorageError) -> None:
        self.failures += 1
        log.debug("cache_statistics_not_shared", error=type(exc).__name__, message=str(exc))


def with_ratios(found: Statistics) -> Statistics:
    """Return the statistics with what follows from the counts, and with each type's levels taken together.

    A type's misses are those of its last level; its sets and sizes are those of memory where nothing is shared.
    """
    for kind, levels in found.items():
        for level, counts in levels.items():
            counts["hit_ratio"] = _ratio(counts["hits"], counts["hits"] + counts["misses"])
            counts["avg_size"] = _ratio(counts["total_size"], counts["count" if level == MEMORY else "sets"])
        last = levels[REDIS] if REDIS in levels else levels[MEMORY]
        hits = sum(counts["hits"] for counts in levels.values())
        together = {
            "hits": hits,
            "misses": last["misses"],
            "saved_bytes": sum(counts["saved_bytes"] for counts in levels.values()),
            "sets": last["sets"],
            "total_size": last["total_size"],
            "avg_size": last["avg_size"],
            "hit_ratio": _ratio(hits, hits + last["misses"]),
        }
        found[kind] = {**together, **levels}
    return found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
