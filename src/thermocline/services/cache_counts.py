"""What happened to cached values of each type, counted in memory: a hit costs no round trip."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class TypeCounts:
    """Counts of one type since the start of the process."""

    memory_hits: int = 0
    shared_hits: int = 0
    misses: int = 0
    rejected: int = 0
    """Values refused for their size."""
    stale: int = 0
    """Values served although no longer fresh, because their source failed."""
    memory_bytes: int = 0
    """Bytes that hits in memory served, so that no source had to."""
    shared_bytes: int = 0
    """The same of hits in the shared cache."""
    was_told: bool = field(default=False, compare=False)
    """Whether a refusal was logged: once is enough."""


class CacheCounts:
    """Counts by type of what callers do with values themselves."""

    def __init__(self, types: Iterable[str]) -> None:
        self.types = {name: TypeCounts() for name in types}
