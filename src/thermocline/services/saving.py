"""What the policies' moves were to save, and what they have saved: predicted against realised.

From the ledger: each move that a policy made, until the content moved on, ended, or now. What it has saved is priced by
the reads that came, at today's prices. Reads only; memory holds a page of the ledger.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from thermocline.domain.units import Timestamp, elapsed, format_moment
from thermocline.ports.clock import Clock
from thermocline.ports.savings import Realised, Savings

if TYPE_CHECKING:
    from thermocline.economics.figures import ClassPrices

PAGE: Final = 1000
MOST_MOVES: Final = 200_000
"""Older moves are left out, and it is said."""
DAY_SECONDS: Final = 86400.0
DAYS_PER_MONTH: Final = 30.4375


@dataclass(slots=True)
class ReasonSavings:
    """The moves that one policy made for one reason. USD."""

    moves: int = 0
    copies: int = 0
    bytes: int = 0
    unknown: int = 0
    """Of the copies: their forecast, their reads or their prices are not known, so they count in nothing below."""
    predicted_usd_per_month: float = 0.0
    predicted_usd: float = 0.0
    """Until now, or until the content moved on, net of what the moves were to cost."""
    realised_usd: float = 0.0
    """The same, by the reads that came."""
    cost_usd: float = 0.0
    """What the moves were to cost, once."""

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON-ready values."""
        return {
            "moves": self.moves,
            "copies": self.copies,
            "bytes": self.bytes,
            "unknown": self.unknown,
            "predicted_usd_per_month": self.predicted_usd_per_month,
            "predicted_usd": self.predicted_usd,
            "realised_usd": self.realised_usd,
            "cost_usd": self.cost_usd,
        }


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """Predicted against realised, by policy and reason."""

    as_of: Timestamp
    by_reason: Mapping[str, ReasonSavings]
    """By what the ledger says: `idle: silent`."""
    is_complete: bool
    """False: there are older moves, which are left out."""

    def total(self) -> ReasonSavings:
        """Return the sum."""
        total = ReasonSavings()
        for each in self.by_reason.values():
            for name, value in each.as_dict().items():
                setattr(total, name, getattr(total, name) + value)
        return total

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "as_of": format_moment(self.as_of),
            "complete": self.is_complete,
            "total": self.total().as_dict(),
            "by_reason": {reason: each.as_dict() for reason, each in sorted(self.by_reason.items())},
        }


class SavingService:
    """Reads the ledger, and prices what it tells."""

    def __init__(self, savings: Savings, clock: Clock, make_prices: "Callable[[], Mapping[str, ClassPrices]]") -> None:
        self._savings = savings
        self._clock = clock
        self._make_prices = make_prices

    async def read(self) -> SavingsReport:
        """Return predicted and realised savings of the latest moves. Raises `UnavailableError`."""
        now = self._clock.now()
        prices = self._make_prices()
        by_reason: dict[str, ReasonSavings] = {}
        before: int | None = None
        seen = 0
        while seen < MOST_MOVES:
            page = await self._savings.realised(now=now, limit=PAGE, before=before)
            await asyncio.to_thread(_count, page, prices, by_reason)
            seen += len(page)
            if len(page) < PAGE:
                return SavingsReport(now, by_reason, is_complete=True)
            before = page[-1].position
        return SavingsReport(now, by_reason, is_complete=False)


def _count(page: Sequence[Realised], prices: "Mapping[str, ClassPrices]", by_reason: dict[str, ReasonSavings]) -> None:
    """Add a page of moves."""
    import numpy as np

    from thermocline.economics.realised import realised_savings

    pairs: dict[tuple[str, str], list[Realised]] = {}
    for each in page:
        entry = each.entry
        sums = by_reason.setdefault(entry.reason, ReasonSavings())
        sums.moves += 1
        if not entry.copied:
            continue
        sums.copies += 1
        sums.bytes += entry.size
        known = entry.from_placement in prices and entry.to_placement in prices
        if entry.forecast is None or each.storage_reads_since is None or not known:
            sums.unknown += 1
        else:
            pairs.setdefault((entry.from_placement, entry.to_placement), []).append(each)
    for (source, target), moves in pairs.items():
        days = np.array([max(elapsed(each.entry.moved_at, each.until), 0.0) / DAY_SECONDS for each in moves])
        saved = realised_savings(
            prices[source],
            prices[target],
            np.array([each.entry.size for each in moves], np.int64),
            days,
            np.array([each.storage_reads_since for each in moves], np.int64),
        )
        for each, held, worth in zip(moves, days, saved, strict=True):
            forecast = each.entry.forecast
            if forecast is None:
                continue
            sums = by_reason[each.entry.reason]
            sums.predicted_usd_per_month += forecast.saving_usd_per_month
            sums.predicted_usd += forecast.saving_usd_per_month * float(held) / DAYS_PER_MONTH - forecast.cost_usd
            sums.realised_usd += float(worth) - forecast.cost_usd
            sums.cost_usd += forecast.cost_usd
