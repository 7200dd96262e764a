"""What decides at the moment: made when it is first needed, and anew when a policy that learns has learned more."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from thermocline.domain.units import Seconds
from thermocline.domain.work import Cursor
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors

if TYPE_CHECKING:
    from thermocline.services.chunk_decisions import Decider

LESSON: Final = "policy-lesson/1"
"""The cursor of what was learned. The number is that of the format: two formats leave each other's alone."""
LOOK_EVERY: Final = Seconds(60.0)
"""How often a process looks for a newer lesson, at most: it may have a megabyte."""


class Deciders:
    """Makes deciders. Who keeps the one that it was given decides everything by one lesson."""

    def __init__(
        self, make: "Callable[[str | None], Decider]", cursors: Cursors, clock: Clock, *, learns: bool
    ) -> None:
        """Take what makes one from a lesson, None: there is none. Only where the policy `learns` are there any."""
        self._make = make
        self._cursors = cursors
        self._clock = clock
        self._learns = learns
        self._lesson: Cursor | None = None
        self._decider: Decider | None = None
        self._look_at = 0.0

    async def current(self) -> "Decider":
        """Return what decides. Raises `UnavailableError` if what was learned cannot be loaded."""
        lesson = self._lesson
        if self._learns and (self._decider is None or self._clock.monotonic() >= self._look_at):
            lesson = await self._cursors.load(LESSON)
            self._look_at = self._clock.monotonic() + LOOK_EVERY
        if self._decider is None or lesson != self._lesson:
            # In a thread, because what it is made of is slow to import.
            self._decider = await asyncio.to_thread(self._make, None if lesson is None else lesson.position)
            self._lesson = lesson
        return self._decider
