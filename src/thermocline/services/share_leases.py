"""Work over everything, cut into shares that workers claim one by one; a share of a worker that died is taken over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds
from thermocline.ports.clock import Clock
from thermocline.ports.elections import Elections
from thermocline.ports.sweeps import Sweeps

SHARE_LEASE: Final = Seconds(60.0)
"""How long a share waits for a worker that died."""
RENEWAL: Final = Seconds(15.0)
MOST_SHARES: Final = 64


class ShareLease:
    """A claim of a share, or of the plan."""

    def __init__(self, elections: Elections, clock: Clock, name: str, holder: str) -> None:
        self._elections = elections
        self._clock = clock
        self._name = name
        self._holder = holder
        self._renewed_at = Seconds(0.0)

    async def win(self) -> bool:
        """Take or extend it; False while another holds it."""
        self._renewed_at = self._clock.monotonic()
        return await self._elections.win(self._name, self._holder, lease=SHARE_LEASE)

    async def keep(self) -> bool:
        """Extend it if it is time to; False if it was lost."""
        return self._clock.monotonic() < self._renewed_at + RENEWAL or await self.win()

    async def resign(self) -> None:
        """Give it back; if that fails it ends by itself."""
        with suppress(StorageError):
            await self._elections.resign(self._name, self._holder)


class ShareLeases:
    """The leases of one process."""

    def __init__(self, elections: Elections, clock: Clock, holder: str) -> None:
        self._elections = elections
        self._clock = clock
        self._holder = holder

    @asynccontextmanager
    async def claimed(self, name: str) -> AsyncIterator[ShareLease | None]:
        """Hold a lease for the length of the block; None if another holds it."""
        lease = ShareLease(self._elections, self._clock, name, self._holder)
        if not await lease.win():
            yield None
            return
        try:
            yield lease
        finally:
            await lease.resign()


async def cut_ids(sweeps: Sweeps, share_size: int, keep: Callable[[], Awaitable[object]]) -> list[str]:
    """Return the ids at which shares of as many contents end: of `share_size`, or of more where there are many.

    `keep` is called after each step, which may take a while.
    """
    bounds: list[str] = []
    after, steps, every = "", 0, 1
    while (found := await sweeps.content_id_after(after, skip=share_size - 1)) is not None:
        after, steps = found, steps + 1
        if steps % every == 0:
            bounds.append(found)
        if len(bounds) == MOST_SHARES:
            bounds, every = bounds[1::2], every * 2
        await keep()
    return bounds
