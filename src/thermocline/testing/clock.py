"""A clock that moves only when a test says so."""

import asyncio
import heapq
from itertools import count

from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp
from thermocline.ports.clock import Clock

START = Timestamp(1_767_225_600 * MICROS_PER_SECOND)
"""2026-01-01T00:00:00Z: late enough to look real, fixed so that failures repeat."""

_TURNS_TO_SETTLE = 20
"""Turns of the event loop that a woken task gets before time moves on; a chain of awaits takes a turn each."""


class ManualClock(Clock):
    """Time stands still between calls of `advance`, `run_for` and `jump`; both clocks are exact to the microsecond.

    It may be moved from the thread of the event loop or from any other.
    """

    def __init__(self, start: Timestamp = START) -> None:
        self._wall = int(start)
        # Not 0: code that mistakes "never" (0.0) for a moment shall be found.
        self._monotonic = 1_000 * MICROS_PER_SECOND
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> Timestamp:
        """Return the wall-clock time."""
        return Timestamp(self._wall)

    def monotonic(self) -> Seconds:
        """Return the monotonic time."""
        return Seconds(self._monotonic / MICROS_PER_SECOND)

    async def sleep(self, delay: Seconds) -> None:
        """Return once the clock was moved by `delay`; at once (after one turn of the loop) if it is not positive."""
        if delay <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + _micros(delay), next(self._order), sleeper))
        await sleeper

    def advance(self, seconds: float) -> None:
        """Move both clocks, and wake all whose time has come, earliest first; they run when the caller awaits.

        A task that sleeps again meanwhile counts from the new time: use `run_for` where each step matters.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}; use jump() for the wall clock")
        self._move(_micros(seconds))
        self._wake_due()

    async def run_for(self, seconds: float) -> None:
        """Move both clocks from one sleeper's moment to the next, letting woken tasks run in between.

        A loop that sleeps a second at a time runs ten times in `run_for(10)`.
        """
        end = self._monotonic + _micros(seconds)
        await _settle()
        while (due := self._next_due()) is not None and due <= end:
            self._move(due - self._monotonic)
            self._wake_due()
            await _settle()
        self._move(end - self._monotonic)

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, back too, as an operator or a time server does. Wakes nobody."""
        self._wall += _micros(seconds)

    @property
    def sleeping(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    def _move(self, micros: int) -> None:
        self._wall += micros
        self._monotonic += micros

    def _next_due(self) -> int | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake_due(self) -> None:
        while (due := self._next_due()) is not None and due <= self._monotonic:
            _, _, sleeper = heapq.heappop(self._sleepers)
            _wake(sleeper)


def _micros(seconds: float) -> int:
    return round(seconds * MICROS_PER_SECOND)


async def _settle() -> None:
    for _ in range(_TURNS_TO_SETTLE):
        await asyncio.sleep(0)


def _wake(sleeper: asyncio.Future[None]) -> None:
    loop = sleeper.get_loop()
    if loop.is_closed():
        return
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        sleeper.set_result(None)
    else:
        loop.call_soon_threadsafe(_wake_once, sleeper)


def _wake_once(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
