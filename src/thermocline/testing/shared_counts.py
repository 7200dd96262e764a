"""Counters that several processes share, in memory: what Redis does, without Redis."""

from collections import Counter
from collections.abc import Mapping

from thermocline.ports.cache import SharedCounts


class SharedMemoryCounts(SharedCounts):
    """Passes the contract of `SharedCounts`; for one event loop."""

    part = ""
    """The server that has them, as a shared cache in memory names its only one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    async def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counters."""
        self._counts.update(counts)

    async def totals(self) -> Mapping[str, int]:
        """Return every counter."""
        return dict(self._counts)
