"""The system's clock."""

import asyncio
import time

from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.clock import Clock


class SystemClock(Clock):
    """The operating system's time."""

    def now(self) -> Timestamp:
        """Return the wall-clock time."""
        return Timestamp(time.time_ns() // 1000)

    def monotonic(self) -> Seconds:
        """Return the system's monotonic time."""
        return Seconds(time.monotonic())

    async def sleep(self, delay: Seconds) -> None:
        """Return after `delay`."""
        await asyncio.sleep(delay)
