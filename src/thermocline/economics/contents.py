"""The contents of a catalog as columns: what a policy decides from when it decides for real."""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import DAY_MICROS, HEAT_DAYS, VISIT_DAYS
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Timestamp
from thermocline.economics.columns import NEVER, RECENT_DAYS, Columns
from thermocline.economics.histories import History
from thermocline.economics.sheets import Sizes

TIERS: Final = tuple(StorageTier)
"""Tiers are numbered as they cool."""
NO_DAY: Final = -1
"""The last day with storage reads of what was never read there."""
NO_EXPIRY: Final = np.iinfo(np.int64).max
BITMAP_DAYS: Final = 62
_HORIZONS: Final = np.array(HEAT_DAYS, np.float64)[:, None]


@dataclass(frozen=True, slots=True)
class Contents:
    """One row per content; the last dimension of every array. Moments are in microseconds, days from 1970-01-01 on."""

    sizes: Sizes
    tiers: NDArray[np.int8]
    """Places in `TIERS`."""
    places: NDArray[np.int8]
    """In which of the placements that tiers name each lies, -1: in none of them."""
    tier_since: NDArray[np.int64]
    placed_since: NDArray[np.int64]
    """Since when each lies there, whatever its tier was meanwhile."""
    created_at: NDArray[np.int64]
    written_at: NDArray[np.int64]
    """When its bytes were last written."""
    expires_at: NDArray[np.int64]
    """`NO_EXPIRY` if never."""
    held: NDArray[np.bool_]
    pinned: NDArray[np.bool_]
    last_read_at: NDArray[np.int64]
    """By whatever served it; 0 if never."""
    reads: NDArray[np.int64]
    """By whatever served them."""
    rates: NDArray[np.float64]
    """Reads a day by whatever served them, one row for each of `HEAT_DAYS`, not yet corrected for age."""
    storage_reads: NDArray[np.int64]
    storage_days: NDArray[np.int64]
    """On how many days the storage was read."""
    last_storage_day: NDArray[np.int64]
    """The last of them, or `NO_DAY`."""
    recent_storage_days: NDArray[np.int64]
    """Bit k: the storage was read k days before the last of them."""
    storage_visits: NDArray[np.int64]
    """How many of the days with storage reads came after `VISIT_DAYS` without any, the first one included."""
    storage_rates: NDArray[np.float64]
    """Days with storage reads a day, like `rates`."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.sizes)

    def rows(self, chosen: Any) -> "Contents":
        """Return some of them, in the order in which numpy chooses; also again and again."""
        return Contents(**{field.name: getattr(self, field.name)[..., chosen] for field in fields(self)})

    def ages(self, now: Timestamp) -> NDArray[np.float64]:
        """Return how many days ago each was created, at least one: what is younger tells no rate."""
        return np.maximum((now - self.created_at) / DAY_MICROS, 1.0)

    @property
    def settled_at(self) -> NDArray[np.int64]:
        """Return since when each has been left as it is: bytes, place and tier."""
        return np.maximum(self.tier_since, self.placed_at)

    @property
    def placed_at(self) -> NDArray[np.int64]:
        """Return since when each object can have been where it is: an overwrite begins its minimum stay anew."""
        return np.maximum(self.placed_since, self.written_at)

    def silences(self, now: Timestamp) -> NDArray[np.float64]:
        """Return for how many days nobody read or wrote each."""
        return np.maximum((now - np.maximum(self.last_read_at, self.written_at)) / DAY_MICROS, 0.0)

    def rate(self, days: int, now: Timestamp) -> NDArray[np.float64]:
        """Return the reads a day over one of `HEAT_DAYS`, corrected for age: of steady reads, their rate."""
        return _corrected(self.rates, days, self.ages(now))

    def storage_rate(self, days: int, now: Timestamp) -> NDArray[np.float64]:
        """Return the days with storage reads a day, over one of `HEAT_DAYS`, corrected for age; at most 1."""
        return np.minimum(_corrected(self.storage_rates, days, self.ages(now)), 1.0)

    def as_policies_see(self, now: Timestamp, places: NDArray[np.int8]) -> Columns:
        """Return what a policy decides from, as a replay would show it on the morning of `now`.

        A policy is asked in the morning and knows the days before. The catalog may be asked at any time, so a read
        of today counts as yesterday's. A write is a sign of life, but no read that could bring content back.
        """
        today = day_number(now)
        written = np.minimum(self.written_at // DAY_MICROS, today - 1)
        read = np.minimum(self.last_storage_day, today - 1)
        was_read = (self.last_storage_day != NO_DAY) & (read >= written)
        last = np.where(was_read, read, written)
        gap = _days_before_last(self.recent_storage_days)
        known = np.clip(read - today + RECENT_DAYS + 1, 0, RECENT_DAYS)
        recent = np.bitwise_count(self.recent_storage_days & ((np.int64(1) << known) - 1))
        return Columns(
            sizes=self.sizes,
            first_day=(self.created_at // DAY_MICROS).astype(np.int32),
            last_read=last.astype(np.int32),
            previous_read=np.where(was_read & (gap > 0), last - gap, NEVER).astype(np.int32),
            reads=self.storage_reads,
            read_days=self.storage_days.astype(np.int32),
            visits=self.storage_visits.astype(np.int32),
            recent_days=np.where(self.last_storage_day != NO_DAY, recent, 0).astype(np.int32),
            rates=self.storage_rates,
            places=places,
            since=(self.placed_at // DAY_MICROS).astype(np.int32),
        )

    def after_silence(self, days: NDArray[np.float64]) -> "Contents":
        """Return each as it will be, seen from as many days later, if nobody reads or writes it until then.

        `now` stays the same: what happened lies further back instead. What expires comes nearer.
        """
        back = np.round(days * DAY_MICROS).astype(np.int64)
        whole = np.round(days).astype(np.int64)
        fading = np.exp(-days / _HORIZONS)
        return Contents(
            sizes=self.sizes,
            tiers=self.tiers,
            places=self.places,
            tier_since=self.tier_since - back,
            placed_since=self.placed_since - back,
            created_at=self.created_at - back,
            written_at=self.written_at - back,
            expires_at=np.where(self.expires_at == NO_EXPIRY, NO_EXPIRY, self.expires_at - back),
            held=self.held,
            pinned=self.pinned,
            last_read_at=np.where(self.last_read_at > 0, self.last_read_at - back, 0),
            reads=self.reads,
            rates=self.rates * fading,
            storage_reads=self.storage_reads,
            storage_days=self.storage_days,
            last_storage_day=np.where(self.last_storage_day == NO_DAY, NO_DAY, self.last_storage_day - whole),
            recent_storage_days=self.recent_storage_days,
            storage_visits=self.storage_visits,
            storage_rates=self.storage_rates * fading,
        )

    def after_read(self, now: Timestamp) -> "Contents":
        """Return each as it will be once it is read from the storage now."""
        today = day_number(now)
        passed = np.clip(today - self.last_storage_day, 0, BITMAP_DAYS)
        kept = np.where(
            (self.last_storage_day == NO_DAY) | (passed >= BITMAP_DAYS), 0, self.recent_storage_days << passed
        )
        is_new_day = self.last_storage_day != today
        return Contents(
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name not in _READ_CHANGES},
            last_read_at=np.full(len(self), now, np.int64),
            reads=self.reads + 1,
            rates=self.rates + 1 / _HORIZONS,
            storage_reads=self.storage_reads + 1,
            storage_days=self.storage_days + is_new_day,
            last_storage_day=np.full(len(self), today, np.int64),
            recent_storage_days=(kept | 1) & ((np.int64(1) << BITMAP_DAYS) - 1),
            storage_visits=self.storage_visits + ((self.last_storage_day == NO_DAY) | (passed > VISIT_DAYS)),
            storage_rates=self.storage_rates + is_new_day / _HORIZONS,
        )


_READ_CHANGES: Final = frozenset(
    {
        "last_read_at",
        "reads",
        "rates",
        "storage_reads",
        "storage_days",
        "last_storage_day",
        "recent_storage_days",
        "storage_visits",
        "storage_rates",
    }
)


def day_number(moment: Timestamp) -> int:
    """Return the number of the UTC day."""
    return moment // DAY_MICROS


def no_history(count: int) -> History:
    """Return a past in which nothing is known of so many objects: for policies that learn nothing from it."""
    nothing = np.zeros(0, np.int32)
    return History(0, 0, np.zeros(count, np.int64), np.zeros(count, np.int32), nothing, nothing, np.zeros(0, np.int64))


def _corrected(rates: NDArray[np.float64], days: int, ages: NDArray[np.float64]) -> NDArray[np.float64]:
    corrected: NDArray[np.float64] = rates[HEAT_DAYS.index(days)] / -np.expm1(-ages / days)
    return corrected


def _days_before_last(bitmaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many days before the last one there was another, 0 if none is known."""
    others = bitmaps & ~np.int64(1)
    lowest = others & -others
    # The trailing zeros of a power of two are the ones of what is one less.
    return np.where(lowest > 0, np.bitwise_count(lowest - 1), 0).astype(np.int64)
