"""The system's clock."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.clock import Clock


class SystemClock(Clock):
    """The operating system's time."""

    def now(self) -> Timestamp:
        """Return the wall-clock time."""
        return Timestamp(time.time_ns() // 1000)

    # The function itself: a hot read asks several times, and a Python call around it costs twice as much as it does.
    monotonic = cast("Callable[[], Seconds]", staticmethod(time.monotonic))

    async def sleep(self, delay: Seconds) -> None:
        """Return after `delay`."""
        await asyncio.sleep(delay)
