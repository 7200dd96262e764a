"""Totals over the whole catalog: what statistics and metrics show. Each costs a look at many rows."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.work import QuarantineTotals, TierTotals


class Totals(Protocol):
    """Sums; callers keep them for a while instead of asking again and again."""

    @abstractmethod
    async def tiers(self) -> Sequence[TierTotals]:
        """Return how much live content each tier has, for every tier. Reads an index, never the records."""

    @abstractmethod
    async def quarantine(self) -> QuarantineTotals:
        """Return how many objects wait in quarantine."""
