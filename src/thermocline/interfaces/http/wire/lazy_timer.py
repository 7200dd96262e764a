"""One timer for all time limits of a connection."""

import asyncio
from collections.abc import Callable


class LazyTimer:
    """Calls `check` no later than asked for, with at most one timer of the loop armed.

    A deadline that moves away costs nothing: the timer fires at its old time, `check` finds nothing due and
    returns the next time to look. Only a deadline nearer than the armed one touches the loop.
    """

    __slots__ = ("_check", "_due", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, check: Callable[[float], float | None]) -> None:
        self._loop = loop
        self._check = check
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def at_latest(self, due: float) -> None:
        """Have `check` called at `due` (loop time) or before."""
        if self._handle is not None:
            if self._due <= due:
                return
            self._handle.cancel()
        self._due = due
        self._handle = self._loop.call_at(due, self._fire)

    def stop(self) -> None:
        """Never call `check` again, unless asked anew."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        due = self._check(self._loop.time())
        if due is not None:
            self.at_latest(due)
