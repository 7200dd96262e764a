"""What is known of every object when a day begins: the past only, as columns, kept up day by day."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import HEAT_DAYS, VISIT_DAYS
from thermocline.economics.histories import History
from thermocline.economics.sheets import Sizes

RECENT_DAYS: Final = 30
"""The seed's window for what is read lately."""
_HORIZONS: Final = np.array(HEAT_DAYS, np.float64)[:, None]
NEVER: Final = np.int32(-(2**20))
"""A day before every history."""


@dataclass(slots=True)
class Columns:
    """One row per object. Days count from the first day of the history; policies read and never write.

    An object that is not there yet (`first_day` not in the past) has a row, which means nothing.
    """

    sizes: Sizes
    first_day: NDArray[np.int32]
    last_read: NDArray[np.int32]
    """The last day with reads."""
    previous_read: NDArray[np.int32]
    """The day with reads before that, `NEVER` if there was none."""
    reads: NDArray[np.int64]
    """All reads so far."""
    read_days: NDArray[np.int32]
    """On how many days."""
    visits: NDArray[np.int32]
    """On how many days that came after `VISIT_DAYS` without reads, the first one included."""
    recent_days: NDArray[np.int32]
    """On how many of the last `RECENT_DAYS`: of a day's reads one reaches the storage."""
    rates: NDArray[np.float64]
    """Storage reads a day lately, one row for each of `HEAT_DAYS`: a day with reads weighs exp(-its age / horizon)."""
    places: NDArray[np.int8]
    """In which of the classes it is."""
    since: NDArray[np.int32]
    """From which day on."""

    def idle(self, day: int) -> NDArray[np.int32]:
        """Return the days since the last one with reads: 1 if that was yesterday."""
        return np.int32(day) - self.last_read

    def age(self, day: int) -> NDArray[np.int32]:
        """Return the days since each object was first seen."""
        return np.int32(day) - self.first_day


@dataclass(frozen=True, slots=True)
class DayReads:
    """The reads of one day: each object at most once."""

    objects: NDArray[np.int32]
    counts: NDArray[np.int64]


class Watcher:
    """Keeps the columns of a history up: `columns` are what was known when `day` began."""

    def __init__(self, history: History, start: int) -> None:
        self.day = start
        self._history = history
        self.columns = _first_columns(history, start)
        self._recent = deque(self.reads_of(day).objects for day in range(max(start - RECENT_DAYS, 0), start))
        for read in self._recent:
            self.columns.recent_days[read] += 1

    def reads_of(self, day: int) -> DayReads:
        """Return the reads of a day."""
        history = self._history
        rows = history.by_day[history.day_offsets[day] : history.day_offsets[day + 1]]
        return DayReads(history.objects[rows], history.counts[rows])

    def pass_day(self) -> None:
        """Let the day pass: its reads become known."""
        columns, reads = self.columns, self.reads_of(self.day)
        read = reads.objects
        is_again = columns.reads[read] > 0
        columns.visits[read] += ~is_again | (self.day - columns.last_read[read] > VISIT_DAYS)
        again = read[is_again]
        columns.previous_read[again] = columns.last_read[again]
        columns.last_read[read] = self.day
        columns.reads[read] += reads.counts
        columns.read_days[read] += 1
        columns.recent_days[read] += 1
        columns.rates[:, read] += 1.0 / _HORIZONS
        columns.rates *= np.exp(-1.0 / _HORIZONS)
        self._recent.append(read)
        if len(self._recent) > RECENT_DAYS:
            columns.recent_days[self._recent.popleft()] -= 1
        self.day += 1


def _first_columns(history: History, start: int) -> Columns:
    """Return the columns from the rows before `start`."""
    count = history.object_count
    known = history.read_days < start
    objects, days = history.objects[known], history.read_days[known]
    last = history.first_day.copy()
    last[objects] = days  # rows are in the order of days: the last one stays
    previous = np.full(count, NEVER, np.int32)
    same = objects[1:] == objects[:-1]
    previous[objects[1:][same]] = days[:-1][same]
    is_visit = np.ones(len(objects), np.bool_)
    is_visit[1:] = ~same | (np.diff(days) > VISIT_DAYS)
    fading = np.exp(-np.arange(start + 1) / _HORIZONS) / _HORIZONS
    return Columns(
        sizes=history.sizes,
        first_day=history.first_day,
        last_read=last,
        previous_read=previous,
        reads=np.bincount(objects, weights=history.counts[known], minlength=count).astype(np.int64),
        read_days=np.bincount(objects, minlength=count).astype(np.int32),
        visits=np.bincount(objects[is_visit], minlength=count).astype(np.int32),
        recent_days=np.zeros(count, np.int32),
        rates=np.stack([np.bincount(objects, weights[start - days], count).astype(np.float64) for weights in fading]),
        places=np.zeros(count, np.int8),
        since=np.maximum(history.first_day, start).astype(np.int32),
    )
