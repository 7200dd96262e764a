"""Memory admission: what is in flight fits the budget, whatever the size of objects or the load."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from thermocline.domain.errors import BusyError
from thermocline.domain.units import Bytes, Seconds


class MemoryBudget:
    """Grants of memory never add up to more than `capacity`; callers wait in order, then get `BusyError`.

    A grant larger than the capacity is cut to it, so that the largest legal request always gets through alone.
    """

    def __init__(self, capacity: Bytes, *, max_wait: Seconds, max_waiters: int) -> None:
        self.capacity = capacity
        self.in_use = 0
        self.refused = 0
        self._max_wait = max_wait
        self._max_waiters = max_waiters
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def grant(self, wanted: int) -> AsyncIterator[None]:
        """Hold `wanted` bytes of the budget inside the block. Raises `BusyError` after the longest wait."""
        size = await self.take(wanted)
        try:
            yield
        finally:
            self.give_back(size)

    async def take(self, wanted: int) -> int:
        """Take `wanted` bytes, waiting if need be; return how many to give back. Raises `BusyError`."""
        size = min(wanted, self.capacity)
        if not size or (not self._waiting and self.in_use + size <= self.capacity):
            self.in_use += size
            return size
        if len(self._waiting) >= self._max_waiters:
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._max_wait):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                self.give_back(size)  # granted in the very moment of giving up
            else:
                self._leave_queue(turn)
            if isinstance(exc, TimeoutError):
                raise self._refusal() from exc
            raise
        return size

    def take_now(self, wanted: int) -> bool:
        """Take `wanted` bytes if nobody waits and they are free; whether so."""
        if self._waiting or self.in_use + wanted > self.capacity:
            return False
        self.in_use += wanted
        return True

    def give_back(self, size: int) -> None:
        """Return what `take` or `take_now` took."""
        self.in_use -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_use + self._waiting[0][0] <= self.capacity:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.in_use += size
                turn.set_result(None)

    def _leave_queue(self, turn: asyncio.Future[None]) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
        self._admit()

    def _refusal(self) -> BusyError:
        self.refused += 1
        return BusyError(
            "too much data is in flight; try again shortly, or raise [limits] memory", retry_after=self._max_wait
        )
