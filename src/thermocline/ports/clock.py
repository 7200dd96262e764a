"""Time."""

from abc import abstractmethod
from typing import Protocol

from thermocline.domain.units import Seconds, Timestamp


class Clock(Protocol):
    """The time, and waiting for it. Nothing in services reads time from anywhere else."""

    @abstractmethod
    def now(self) -> Timestamp:
        """Return the wall-clock time; it may jump, back too."""

    @abstractmethod
    def monotonic(self) -> Seconds:
        """Return a time that never goes back and only has meaning as a difference."""

    @abstractmethod
    async def sleep(self, delay: Seconds) -> None:
        """Return after `delay`."""
