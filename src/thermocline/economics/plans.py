"""What tiering would save on what lies in a bucket: its bill today, and each policy on how it was read.

Objects are independent, so a comparison is made in parts of a bounded number of objects, and added up. The objects of
an inventory come in the order of a hash of their keys: each part is a fair sample of all, and what a policy learns
from one is as good as from any other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.comparisons import Question, compare
from thermocline.economics.figures import DAYS_PER_MONTH, ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.sheets import Sizes
from thermocline.economics.starts import Starts
from thermocline.economics.tallies import Standing, Tally, tally

PART_OBJECTS: Final = 250_000
LONGEST_PAST_DAYS: Final = 36_525
"""What is older is as old as that."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What lies there: one row an object, in columns of one length."""

    class_names: tuple[str, ...]
    """As the price book calls them; a class that is not in it has no price."""
    sizes: Sizes
    modified: NDArray[np.int32]
    """The day since which it lies there, from 1970-01-01 on."""
    classes: NDArray[np.int16]
    """Places in `class_names`."""

    def places(self, classes: Sequence[ClassPrices]) -> NDArray[np.int8]:
        """Return in which of these each object is, -1 where it is in none of them and so stays where it is."""
        names = [prices.name for prices in classes]
        table = np.array([names.index(name) if name in names else -1 for name in self.class_names], np.int8)
        return table[self.classes] if len(table) else np.zeros(0, np.int8)


@dataclass(frozen=True, slots=True)
class Reads:
    """Which of them were read when: by object, then day, one row each."""

    origin: int
    """The first day's number, from 1970-01-01 on."""
    days: int
    objects: NDArray[np.int64]
    read_days: NDArray[np.int32]
    """From `origin` on."""
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the policies would have paid for the objects that they may move and that were there."""

    tally: Tally
    first_day: int
    """The first day that was paid for, from 1970-01-01 on."""
    days: int
    """How many were."""
    too_young: int
    """Objects written after the last day of the reads."""
    elsewhere: int
    """Objects that lie in none of the classes to choose from."""

    @property
    def months(self) -> float:
        """Return how many months were paid for."""
        return self.days / DAYS_PER_MONTH

    def saving(self, name: str, staying: str) -> "Saving":
        """Return what a policy would have saved against another one that moves nothing."""
        policy, still = self.tally.policies[name], self.tally.policies[staying]
        return Saving((_running(still) - _running(policy)) / self.months, policy.moving, still.total - policy.total)


@dataclass(frozen=True, slots=True)
class Saving:
    """What a policy would have saved, in USD."""

    monthly: float
    """Each month, what moves cost left out."""
    once: float
    """What the moves cost in all that time, the minimum stays that they broke included."""
    net: float
    """In all that time, moves included."""

    @property
    def payback_months(self) -> float:
        """Return after how many months the moves have paid for themselves; infinite where they never do."""
        if self.once <= 0:
            return 0.0
        return self.once / self.monthly if self.monthly > 0 else float("inf")


def replay_plan(
    holdings: Holdings, reads: Reads, question: Question, *, progress: Callable[[int], None] = lambda _: None
) -> Replayed:
    """Return what each policy would have paid from the split on, objects beginning in the class that they are in.

    An object is there from its first read on, or since it was written, whichever is earlier; of a minimum stay, the
    days since it was written are over. Policies know of the reads before the split, and the age. Memory is that of
    `PART_OBJECTS`. Raises `InvalidInputError` if no object is left to be moved.
    """
    parts = _Parts(holdings, reads, question)
    found: Tally | None = None
    for history, starts in parts:
        told = tally(history, compare(history, question, starts, progress=progress))
        found = told if found is None else found.plus(told)
    if found is None:
        raise InvalidInputError(
            f"no object is left to be moved: {parts.elsewhere} lie in other classes than those to choose from "
            f"(--classes), {parts.too_young} were written after the last read"
        )
    return Replayed(found, reads.origin + parts.start, reads.days - parts.start, parts.too_young, parts.elsewhere)


def plan_steps(holdings: Holdings, reads: Reads, question: Question) -> int:
    """Return how many steps `replay_plan` tells its progress."""
    parts = _Parts(holdings, reads, question)
    return parts.count * len(question.policies) * (reads.days - parts.start) + parts.objects


class _Parts:
    """The objects that may be moved and were there, as histories of a bounded number of them."""

    def __init__(self, holdings: Holdings, reads: Reads, question: Question) -> None:
        self.start = int(reads.days * question.split)
        self._holdings = holdings
        self._reads = reads
        self._places = holdings.places(question.classes)
        self._written = np.maximum(holdings.modified - reads.origin, -LONGEST_PAST_DAYS).astype(np.int32)
        self._first_day = self._written.copy()
        begins = np.flatnonzero(np.diff(reads.objects, prepend=-1))
        read = reads.objects[begins]
        self._first_day[read] = np.minimum(self._written[read], reads.read_days[begins])
        was_there = self._first_day < reads.days
        self._is_in = was_there & (self._places >= 0)
        self.objects = int(self._is_in.sum())
        self.elsewhere = int((self._places < 0).sum())
        self.too_young = int((~was_there & (self._places >= 0)).sum())

    @property
    def count(self) -> int:
        """Return how many parts there are."""
        return sum(1 for _ in self._slices())

    def __iter__(self) -> Iterator[tuple[History, Starts]]:
        holdings, reads = self._holdings, self._reads
        for part in self._slices():
            which = self._is_in[part]
            numbers = (np.cumsum(which) - 1).astype(np.int32)
            rows = slice(*(int(at) for at in np.searchsorted(reads.objects, (part.start, part.stop))))
            objects = reads.objects[rows] - part.start
            kept = which[objects]
            first, written = self._first_day[part][which], self._written[part][which]
            history = History(
                reads.origin,
                reads.days,
                holdings.sizes[part][which],
                first,
                numbers[objects[kept]],
                reads.read_days[rows][kept],
                reads.counts[rows][kept],
            )
            days_there = np.maximum(self.start - written, 0).astype(np.int32)
            yield history, Starts(self._places[part][which], days_there)

    def _slices(self) -> Iterator[slice]:
        for begin in range(0, len(self._is_in), PART_OBJECTS):
            part = slice(begin, min(begin + PART_OBJECTS, len(self._is_in)))
            if self._is_in[part].any():
                yield part


def _running(standing: Standing) -> float:
    return standing.total - standing.moving
