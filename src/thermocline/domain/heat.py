"""How often a content is read lately: decayed rates, kept so that noting reads needs no look at what was there.

Forward decay: a read at time t weighs exp((t - since) / horizon), so the weights of old reads never change and a
flush only adds. The rate at a later moment is the sum, scaled down to that moment. The weights of the shortest
horizon grow fastest: before they could overflow, every sum is scaled down once and `since` moves on (`rescaling`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp, format_moment

HEAT_DAYS: Final = (5, 20, 80, 320)
"""Horizons in days: reads that long ago weigh 1/e."""

RECENT_STORAGE_DAYS: Final = 62
"""How many days, up to the last one with storage reads, are known one by one: as bits of a positive 64-bit number."""

VISIT_DAYS: Final = 5
"""Days after a storage read in which the next one belongs to the same visit; a later one begins another."""

DATE_LENGTH: Final = len("2026-01-01")
SHOWN_DAYS: Final = 30
"""How many days a summary shows one by one."""

DAY_MICROS: Final = 86_400 * MICROS_PER_SECOND
LARGEST_EXPONENT: Final = 600.0
"""Times any count of reads, exp(600) stays below the largest double (exp(709)): sums are scaled every eight years."""


@dataclass(frozen=True, slots=True)
class AccessSummary:
    """How a content was read since it came into being."""

    reads_total: int
    storage_reads: int
    """Those that the object store served: only they cost retrieval money."""
    last_read_at: Timestamp | None
    rates: tuple[float, ...]
    """Reads per day lately, over each of `HEAT_DAYS`."""
    days: tuple["AccessDay", ...] = ()
    """The last `SHOWN_DAYS`, newest first; those without reads are left out."""

    def as_dict(self) -> dict[str, object]:
        """Return the summary as JSON-ready values."""
        return {
            "reads_total": self.reads_total,
            "storage_reads": self.storage_reads,
            "last_read_at": format_moment(self.last_read_at),
            "reads_per_day": {f"{days}d": round(rate, 6) for days, rate in zip(HEAT_DAYS, self.rates, strict=True)},
            "days": [day.as_dict() for day in self.days],
        }


@dataclass(frozen=True, slots=True)
class AccessCount:
    """Reads of one content since the last flush."""

    content_id: str
    cache: int
    storage: int
    edge: int = 0


@dataclass(frozen=True, slots=True)
class AccessDay:
    """Reads of one content on one UTC day, by what served them."""

    day: int
    """Number of the day, from 1970-01-01 on."""
    cache: int
    storage: int
    edge: int

    def as_dict(self) -> dict[str, object]:
        """Return the day as JSON-ready values."""
        written = (format_moment(Timestamp(self.day * DAY_MICROS)) or "")[:DATE_LENGTH]
        return {"day": written, "cache": self.cache, "storage": self.storage, "edge": self.edge}


def weights(now: Timestamp, since: Timestamp) -> tuple[float, ...]:
    """Return what one read at `now` adds to each sum."""
    return tuple(math.exp(_exponent(now, since, days)) for days in HEAT_DAYS)


def day_weights(day: int, since: Timestamp) -> tuple[float, ...]:
    """Return what a day with storage reads adds to each sum, weighed at its start."""
    # The first day began before `since`; a clock that was set back further must not make weights vanish.
    elapsed = max(day * DAY_MICROS - since, -DAY_MICROS)
    return tuple(math.exp(elapsed / DAY_MICROS / days) for days in HEAT_DAYS)


def needs_rescaling(now: Timestamp, since: Timestamp) -> bool:
    """Whether the sums must be scaled down before anything is added at `now`."""
    return _exponent(now, since, HEAT_DAYS[0]) > LARGEST_EXPONENT


def rescaling(now: Timestamp, since: Timestamp) -> tuple[float, ...]:
    """Return what to multiply each sum with when `since` becomes `now`."""
    return tuple(math.exp(-_exponent(now, since, days)) for days in HEAT_DAYS)


def rates(sums: Sequence[float], now: Timestamp, since: Timestamp) -> tuple[float, ...]:
    """Return reads per day at `now`, over each horizon: of steady reads, their rate once the horizon has passed.

    `now` must not lie before the last read, or what was read since would count too much.
    """
    return tuple(total * factor for total, factor in zip(sums, rate_factors(now, since), strict=True))


def rate_factors(now: Timestamp, since: Timestamp) -> tuple[float, ...]:
    """Return what to multiply each sum with for `rates`."""
    return tuple(math.exp(-_exponent(now, since, days)) / days for days in HEAT_DAYS)


def day_of(moment: Timestamp) -> int:
    """Return the number of the UTC day, from 1970-01-01 on."""
    return moment // DAY_MICROS


def _exponent(now: Timestamp, since: Timestamp, days: int) -> float:
    # A clock that was set back must not make weights vanish.
    return max(now - since, 0) / DAY_MICROS / days
