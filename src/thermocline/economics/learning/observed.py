"""What is known of objects in the morning of a day, as the features that `learned` tells them apart by."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import HEAT_DAYS
from thermocline.economics.columns import Columns
from thermocline.economics.sheets import Sizes

LONGEST_GAP: Final = 63
"""Days: between two days with reads that are known to be so far apart, or further, or where there is only one."""
SILENCES: Final = (2, 5, 12, 30, 60, 90)
"""Days without a read at which a silence becomes another one: silence 0 is that of what was read yesterday."""
FEATURES: Final = (
    "idle",
    "gap",
    "age",
    "recent_days",
    "share",
    *(f"rate_{days}" for days in HEAT_DAYS),
    "overdue",
    "returns",
)
"""In the order of the rows of `Observed.features`."""
_HORIZONS: Final = np.array(HEAT_DAYS, np.float64)[:, None]
_SILENCE_OF: Final = np.searchsorted(SILENCES, np.arange(SILENCES[-1] + 1), side="right")


@dataclass(frozen=True, slots=True)
class Observed:
    """One row per object, and only what a catalog keeps of a content; all of it from before this day."""

    sizes: Sizes
    ages: NDArray[np.int32]
    """Days since it was first seen, at least 1."""
    idle: NDArray[np.int32]
    """Days since the last one with a storage read, or since it was first seen; 1 is yesterday."""
    gaps: NDArray[np.int32]
    """Days between the last two days with storage reads; `LONGEST_GAP` or more where that is long or unknown."""
    read_days: NDArray[np.int32]
    """Days with storage reads."""
    visits: NDArray[np.int32]
    """Such days after `VISIT_DAYS` without any, the first one included."""
    recent_days: NDArray[np.int32]
    """Of the last 30."""
    rates: NDArray[np.float64]
    """Decayed storage reads a day, one row for each of `HEAT_DAYS`."""
    places: NDArray[np.int8]
    """In which of the classes it is."""
    days_in_class: NDArray[np.int32]

    def features(self) -> NDArray[np.float32]:
        """Return one row for each of `FEATURES`."""
        ages = self.ages.astype(np.float32)
        idle = self.idle.astype(np.float32)
        found = np.empty((len(FEATURES), len(ages)), np.float32)
        found[0] = idle
        found[1] = np.minimum(self.gaps, LONGEST_GAP)
        found[2] = ages
        found[3] = self.recent_days
        # Not how many days in all: that grows with age, and what decides is soon older than all that was learned from.
        found[4] = self.read_days / (ages + 5)
        # Of an object that is younger than the horizon only so much can have been seen.
        seen = -np.expm1(-np.arange(1, int(self.ages.max(initial=0)) + 2) / _HORIZONS)
        found[5:9] = self.rates / seen.take(self.ages, axis=1)
        found[9] = idle * self.read_days / (ages - idle + 2)
        # Tells a crowd, which came once for many days, from a habit.
        found[10] = np.maximum(self.visits - 1, 0) / (ages + 5)
        return found

    def silences(self) -> NDArray[np.int64]:
        """Return how far each silence has come, see `SILENCES`."""
        return _SILENCE_OF.take(np.minimum(self.idle, SILENCES[-1]))


def observed(day: int, columns: Columns, count: int | None = None, order: NDArray[np.int64] | None = None) -> Observed:
    """Return what the columns say of all objects, or of the first `count` in this order."""
    rows: slice | NDArray[np.int64] = slice(None) if order is None else order[:count]
    last = columns.last_read[rows]
    return Observed(
        sizes=columns.sizes[rows],
        ages=np.maximum(np.int32(day) - columns.first_day[rows], 1),
        idle=np.maximum(np.int32(day) - last, 1),
        gaps=np.minimum(last - columns.previous_read[rows], LONGEST_GAP),
        read_days=columns.read_days[rows],
        visits=columns.visits[rows],
        recent_days=columns.recent_days[rows],
        rates=columns.rates[:, rows],
        places=columns.places[rows],
        days_in_class=np.maximum(np.int32(day) - columns.since[rows], 0),
    )
