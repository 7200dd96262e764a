"""What policies may still spend on moves, by UTC day, over the whole fleet."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.units import Bytes, Usd


@dataclass(frozen=True, slots=True)
class DayLimits:
    """The most of one day; None: no limit."""

    moves: int | None = None
    size: Bytes | None = None
    usd: Usd | None = None


@dataclass(frozen=True, slots=True)
class DaySpent:
    """What was taken of one day."""

    moves: int = 0
    size: Bytes = Bytes(0)
    usd: Usd = Usd(0.0)


class PolicyBudget(Protocol):
    """Days with what was taken of them. No day ever gives more than the limits that were asked with."""

    @abstractmethod
    async def take(self, day: int, limits: DayLimits, *, moves: int, size: Bytes, usd: Usd) -> bool:
        """Take all three from the day, or nothing: whether it was within all limits.

        One statement, so processes that take at the same time never exceed a limit together. Days are those of
        `domain.heat.day_of`. Take first, then move: what a crash leaves taken and unmade is lost for that day.
        """

    @abstractmethod
    async def spent(self, day: int) -> DaySpent:
        """Return what was taken of the day."""
