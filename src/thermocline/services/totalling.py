"""How much there is in all: asked of the catalog seldom, however many want to know."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import TierTotals
from thermocline.ports.clock import Clock
from thermocline.ports.totals import Totals


@dataclass(frozen=True, slots=True)
class StorageTotals:
    """How much live content each tier had at `as_of`."""

    as_of: Timestamp
    tiers: Sequence[TierTotals]


class TotallingService:
    """Keeps the last answer; those who ask at once share one question. A million records take 0.15 s."""

    def __init__(self, totals: Totals, clock: Clock) -> None:
        self._totals = totals
        self._clock = clock
        self._kept: StorageTotals | None = None
        self._kept_at = Seconds(0.0)
        self._one_at_a_time = asyncio.Lock()

    async def storage(self, *, max_age: Seconds) -> StorageTotals:
        """Return totals that are at most `max_age` old. Raises `UnavailableError`."""
        asked_at = self._clock.monotonic()
        async with self._one_at_a_time:
            # What was summed after this call began is new enough, whatever `max_age`.
            if self._kept is None or asked_at - self._kept_at > max_age:
                self._kept_at = self._clock.monotonic()
                self._kept = StorageTotals(self._clock.now(), await self._totals.tiers())
            return self._kept
