"""The state of the cache levels, as far as their adapters count."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from thermocline.adapters.layers.breaking import BreakingCache
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
    found = {"hit_ratio": counts["hits"] / asked if asked else 0.0}
    if "total_size" in counts:
        found["avg_size"] = counts["total_size"] / counts["count"] if counts["count"] else 0.0
    return found


@runtime_checkable
class CountsCalls(Protocol):
    """A shared level that counts what happened on the way to it."""

    sets: int
    unreadable: int

    @property
    def retried(self) -> int:
        """Calls that did not succeed at once."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """Counts of this process's dealings with the shared level, since its start; zeros where there is none."""

    hits: int = 0
    misses: int = 0
    sets: int = 0
    unreadable: int = 0
    retried: int = 0
    circuits_opened: int = 0
    circuits_open: int = 0
    refused: int = 0
    waits: int = 0
    waits_in_vain: int = 0
    disbelieved: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the counts and what follows from them."""
        counts = asdict(self)
        return counts | ratios(counts)


def cache_state(services: Services) -> CacheState:
    """Return the state of this process's memory level; what the level does not count shows as zero.

    A hit is a read served from memory, a miss one from elsewhere: a read may look into memory more than once.
    """
    memory, totals = services.adapters.memory, services.tracker.totals
    hits, misses = totals[ReadKind.MEMORY], totals[ReadKind.STORAGE] + totals[ReadKind.REDIS]
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


def shared_state(services: Services) -> SharedState | None:
    """Return how this process gets on with the shared level; None where there is none."""
    level, contents, totals = services.adapters.shared, services.cache.shared, services.tracker.totals
    if level is None or contents is None:
        return None
    breaker = level if isinstance(level, BreakingCache) else None
    below = level if breaker is None else breaker.cache
    counts = below if isinstance(below, CountsCalls) else None
    return SharedState(
        hits=totals[ReadKind.REDIS],
        misses=totals[ReadKind.STORAGE],
        sets=counts.sets if counts else 0,
        unreadable=counts.unreadable if counts else 0,
        retried=counts.retried if counts else 0,
        circuits_opened=breaker.opened if breaker else 0,
        circuits_open=breaker.open_circuits if breaker else 0,
        refused=breaker.refused if breaker else 0,
        waits=contents.waits,
        waits_in_vain=contents.gave_up,
        disbelieved=contents.disbelieved,
    )
