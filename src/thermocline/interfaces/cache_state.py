"""The state of the memory level, as far as its adapter counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from thermocline.services.tracking import ReadKind
from thermocline.wiring.services import Services


@runtime_checkable
class Counted(Protocol):
    """A cache level that counts: the ability is optional."""

    sets: int
    evictions: int
    bytes: int

    @property
    def count(self) -> int:
        """How many values are held."""


@dataclass(frozen=True, slots=True)
class CacheState:
    """Counts since the start of the process, and what is held now."""

    hits: int
    misses: int
    sets: int
    evictions: int
    count: int
    total_size: int

    def as_json(self) -> dict[str, Any]:
        """Return the counts and what follows from them."""
        counts = {
            "hits": self.hits,
            "misses": self.misses,
            "sets": self.sets,
            "evictions": self.evictions,
            "count": self.count,
            "total_size": self.total_size,
        }
        return counts | ratios(counts)


def ratios(counts: Mapping[str, Any]) -> dict[str, float]:
    """Return what follows from the counts of a cache level."""
    asked = counts["hits"] + counts["misses"]
    return {
        "avg_size": counts["total_size"] / counts["count"] if counts["count"] else 0.0,
        "hit_ratio": counts["hits"] / asked if asked else 0.0,
    }


def cache_state(services: Services) -> CacheState:
    """Return the state of this process's memory level; what the level does not count shows as zero.

    A hit is a read served from memory, a miss one from storage: a read may look into memory more than once.
    """
    memory, totals = services.adapters.memory, services.tracker.totals
    hits, misses = totals[ReadKind.MEMORY], totals[ReadKind.STORAGE]
    if not isinstance(memory, Counted):
        return CacheState(hits, misses, 0, 0, 0, 0)
    return CacheState(
        hits=hits,
        misses=misses,
        sets=memory.sets,
        evictions=memory.evictions,
        count=memory.count,
        total_size=memory.bytes,
    )
