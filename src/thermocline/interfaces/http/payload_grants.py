"""Memory of contents that are being sent: each is accounted for once, however many clients it goes to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from thermocline.services.admission import MemoryBudget


class PayloadGrants:
    """Slow readers of many different contents cannot hold more memory than the budget; those of one count as one."""

    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self._held: dict[int, tuple[int, int]] = {}

    @asynccontextmanager
    async def hold(self, payload: bytes) -> AsyncIterator[None]:
        """Account for `payload` inside the block, waiting for room if need be. Raises `BusyError`."""
        key = id(payload)  # unique while the payload is alive, which the caller sees to
        size = 0
        if key not in self._held:
            size = len(payload) if self._memory.take_now(len(payload)) else await self._memory.take(len(payload))
        granted, users = self._held.get(key, (0, 0))
        # Two that waited at once have both taken it: then both grants are given back at the end.
        self._held[key] = (granted + size, users + 1)
        try:
            yield
        finally:
            granted, users = self._held[key]
            if users == 1:
                del self._held[key]
                self._memory.give_back(granted)
            else:
                self._held[key] = (granted, users - 1)
