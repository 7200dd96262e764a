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
        """Let a lease that still is one's own live on; whether it was."""
        mark = self._live_mark(key, self._monotonic())
        if mark is None or mark.token != token:
            return False
        return await self.lease(key, token, ttl=ttl)

    async def version_of(self, key: str) -> int | None:
        """Return the version of the value; None where there is no value."""
        entry = self.held(key)
        return None if entry is None else entry.version

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease; its floor stays, as in Redis."""
        now = self._monotonic()
        mark = self._live_mark(key, now)
        if mark is None or mark.token != token:
            return
        left, floor = Seconds(mark.dies_at - now), mark.floor
        await super().release(key, token)
        if floor:
            await self.tombstone({key: floor}, ttl=left)
