"""A shared cache in memory, for tests of several processes: what Redis does, without Redis."""

from thermocline.adapters.cache.memory import MemoryCache
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.cache import SharedLevel
from thermocline.ports.clock import Clock

CAPACITY = Bytes(64 * 2**20)


class SharedMemoryCache(MemoryCache, SharedLevel):
    """Passes the contracts of `Cache` and `SharedLevel`; for one event loop."""

    def __init__(self, clock: Clock, *, capacity: Bytes = CAPACITY) -> None:
        super().__init__(clock, capacity=capacity)

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is one's own, or its place beside a value, live on; whether it was."""
        mark = self._marks.live(key, now := self._monotonic())
        if mark is None or mark.token != token:
            return False
        mark.dies_at = now + ttl
        return True

    async def version_of(self, key: str) -> int | None:
        """Return the version of the fresh value; None where there is none."""
        entry = self.held(key)
        return None if entry is None else entry.version
