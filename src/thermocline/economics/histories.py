"""What was read when, as columns: one row per object and day with reads, in whole UTC days."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.sheets import Sizes

SECONDS_PER_DAY: Final = 86_400
LARGEST_DAY: Final = 1 << 20
"""Days from the epoch on: almost 2900 years."""
LONGEST_DAYS: Final = 36_525
"""A trace of more than a century is a clock that jumped."""
MERGE_AT: Final = 4_000_000
"""Rows that are kept apart before equal (object, day) are made one."""
_SHIFT: Final = 32


@dataclass(frozen=True)
class History:
    """Reads per object and day, sorted by object, then day. Days count from the first day of the trace."""

    origin: int
    """The first day's number, from 1970-01-01 on."""
    days: int
    """How many days, both ends included."""
    sizes: Sizes
    first_day: NDArray[np.int32]
    """When each object was first seen; it exists from then on. Negative if it is older than the trace."""
    objects: NDArray[np.int32]
    read_days: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def object_count(self) -> int:
        """Return how many objects there are; they are numbered from 0 on."""
        return len(self.sizes)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Return where each object's rows begin, and the end."""
        return np.searchsorted(self.objects, np.arange(self.object_count + 1)).astype(np.int64)

    @cached_property
    def by_day(self) -> NDArray[np.int64]:
        """Return the rows in the order of their days; those of `day_offsets[day]` to the next one are of that day."""
        # Of 16 bits numpy makes a radix sort, ten times as fast.
        days = self.read_days.astype(np.uint16) if self.days <= np.iinfo(np.uint16).max else self.read_days
        return np.argsort(days, kind="stable")

    @cached_property
    def day_offsets(self) -> NDArray[np.int64]:
        """Return where each day's rows begin in `by_day`, and the end."""
        counts = np.bincount(self.read_days, minlength=self.days)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """Return (object, day) of each row as one ascending number, see `key_of`."""
        return key_of(self.objects, self.read_days)

    def split_day(self, split: float) -> int:
        """Return the first day that counts: the first `split` (from 0 on, below 1) of the days is the past.

        Raises `InvalidInputError` otherwise.
        """
        if not 0 <= split < 1:
            raise InvalidInputError(f"a split is at least 0 and below 1, not {split}")
        return int(self.days * split)

    def before(self, day: int) -> "History":
        """Return what was known when that day began: rows of earlier days, all objects numbered as here.

        Objects that had not been seen keep their number; their `first_day` is `days` of the result, and their size 0.
        """
        rows = self.read_days < day
        unseen = self.first_day >= day
        return History(
            self.origin,
            day,
            np.where(unseen, 0, self.sizes),
            np.where(unseen, day, self.first_day).astype(np.int32),
            self.objects[rows],
            self.read_days[rows],
            self.counts[rows],
        )

    def with_sizes(self, sizes: Sizes) -> "History":
        """Return the same reads of objects of other sizes."""
        return History(self.origin, self.days, sizes, self.first_day, self.objects, self.read_days, self.counts)


def key_of(objects: NDArray[np.int32], days: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return numbers that sort as (object, day) does."""
    return (objects.astype(np.int64) << _SHIFT) + days.astype(np.int64)


class HistoryBuilder:
    """Takes accesses in any order, in batches, and keeps one row per object and day; those bound its memory."""

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._waiting = 0
        self._merged = 0
        self._sizes = np.zeros(0, np.int64)
        self._objects = 0

    def add(
        self, seconds: NDArray[np.float64] | NDArray[np.int64], objects: NDArray[np.int32], sizes: Sizes | None = None
    ) -> None:
        """Take accesses: seconds since the epoch, numbers of objects from 0 on, and their sizes where known.

        An object's size is the largest that it was ever seen with: ranges and "not modified" answers show less.
        Raises `InvalidInputError` for a time before 1970 or beyond any calendar, and for a negative size.
        """
        if not len(seconds):
            return
        if not (np.isfinite(seconds).all() and seconds.min() >= 0 and seconds.max() < LARGEST_DAY * SECONDS_PER_DAY):
            raise InvalidInputError("a time is in seconds since 1970-01-01, and not before it")
        days = np.floor_divide(seconds, SECONDS_PER_DAY)
        self._reach(int(objects.max()) + 1)
        if sizes is not None:
            if int(sizes.min()) < 0:
                raise InvalidInputError("sizes are not negative")
            np.maximum.at(self._sizes, objects, sizes)
        keys, counts = _counted(key_of(objects, days.astype(np.int32)))
        self._keys.append(keys)
        self._counts.append(counts)
        self._waiting += len(keys)
        if self._waiting > max(MERGE_AT, self._merged):
            self._merge()

    def build(self) -> History:
        """Return everything taken. Raises `InvalidInputError` for nothing, and for more than a century."""
        self._merge()
        if not self._keys:
            raise InvalidInputError("there are no accesses")
        keys, counts = self._keys[0], self._counts[0]
        objects = (keys >> _SHIFT).astype(np.int32)
        days = (keys & ((1 << _SHIFT) - 1)).astype(np.int32)
        origin, last = int(days.min()), int(days.max())
        if last - origin >= LONGEST_DAYS:
            raise InvalidInputError(
                f"the accesses span {(last - origin) / 365.25:.0f} years, from {_date(origin)} to {_date(last)}: "
                "a clock jumped, or the times are not in seconds"
            )
        days -= np.int32(origin)
        begins = np.flatnonzero(np.diff(objects, prepend=-1))
        first = np.full(len(self._sizes), last - origin, np.int32)
        first[objects[begins]] = days[begins]
        return History(origin, last - origin + 1, self._sizes, first, objects, days, counts)

    def _reach(self, count: int) -> None:
        if count > len(self._sizes):
            grown = np.zeros(max(count, 2 * len(self._sizes)), np.int64)
            grown[: len(self._sizes)] = self._sizes
            self._sizes = grown
        self._objects = max(self._objects, count)

    def _merge(self) -> None:
        if len(self._keys) > 1:
            keys, counts = np.concatenate(self._keys), np.concatenate(self._counts)
            order = np.argsort(keys, kind="stable")  # what is sorted in runs is only merged
            keys, counts = keys[order], counts[order]
            begins = np.flatnonzero(np.diff(keys, prepend=-1))
            self._keys, self._counts = [keys[begins]], [np.add.reduceat(counts, begins)]
        self._waiting = 0
        self._merged = len(self._keys[0]) if self._keys else 0
        self._sizes = self._sizes[: self._objects]


def history_of(seconds: Iterable[float], objects: Iterable[int], sizes: Iterable[int]) -> History:
    """Return the history of a few accesses."""
    builder = HistoryBuilder()
    builder.add(np.fromiter(seconds, np.float64), np.fromiter(objects, np.int32), np.fromiter(sizes, np.int64))
    return builder.build()


def _counted(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, counts = np.unique(keys, return_counts=True)
    return keys, counts.astype(np.int64)


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
