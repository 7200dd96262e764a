"""What tiering by age alone could save where nobody knows what is read: bounds, and how much reading they bear."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.figures import DAYS_PER_MONTH, ClassPrices
from thermocline.economics.plans import Holdings
from thermocline.economics.sheets import CostSheet, Money, cost_sheet

AGES: Final = (0, 30, 90, 180, 365)
"""Days since an object was written."""
PAYING_DAYS: Final = 365
"""A move is counted if it pays for itself in so many days without a read."""
AT_ONCE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Guess:
    """Everything of some age goes to the class that is cheapest without a read."""

    age: int
    """Days, at least."""
    objects: int
    """That would move."""
    bytes: int
    monthly: float
    """USD saved a month if none of them is ever read: the upper bound."""
    once: float
    """USD that the moves cost: what is lost if they are read at the break-even rate, the lower bound."""
    dearer_read: float
    """USD that one read of each of them costs more than where they are."""

    @property
    def break_even_days(self) -> float:
        """Return between which reads of each object nothing is saved any more; 0 where reads are not dearer."""
        return self.dearer_read / self.monthly * DAYS_PER_MONTH if self.monthly > 0 else 0.0


def guesses(holdings: Holdings, classes: Sequence[ClassPrices], day: int) -> Sequence[Guess]:
    """Return a guess for each of `AGES`, on this day (from 1970-01-01 on), for what lies in one of the classes."""
    sums = np.zeros((len(AGES), 5))
    places = holdings.places(classes)
    for begin in range(0, len(places), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        (mine,) = np.nonzero(places[part] >= 0)
        age = np.maximum(day - holdings.modified[part][mine], 0)
        sizes = holdings.sizes[part][mine]
        found = _best(cost_sheet(classes, sizes), places[part][mine], age)
        for row, least in enumerate(AGES):
            old = found.moves & (age >= least)
            sums[row] += (
                old.sum(), sizes[old].sum(), found.daily[old].sum(), found.once[old].sum(), found.dearer[old].sum(),
            )  # fmt: skip
    return [
        Guess(least, int(count), int(size), float(daily) * DAYS_PER_MONTH, float(once), float(dearer))
        for least, (count, size, daily, once, dearer) in zip(AGES, sums, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Best:
    moves: NDArray[np.bool_]
    daily: Money
    once: Money
    dearer: Money


def _best(sheet: CostSheet, places: NDArray[np.int8], age: NDArray[np.int32]) -> _Best:
    """Return for each object the move that saves most in `PAYING_DAYS` without a read, if any does."""
    count = len(places)
    net, daily, once, dearer = np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count)
    for source in range(len(sheet.classes)):
        here = places == source
        stays = np.maximum(sheet.minimum_days[source] - age, 0) * sheet.daily(source)[0]
        for target in range(len(sheet.classes)):
            if target == source:
                continue
            saved = sheet.daily(source)[0] - sheet.daily(target)[0]
            moving = sheet.moving(source, target) + stays
            if sheet.is_up[source, target]:
                moving = moving + sheet.leaving[source]
            better = here & (saved * PAYING_DAYS - moving > net)
            net[better] = (saved * PAYING_DAYS - moving)[better]
            daily[better], once[better] = saved[better], moving[better]
            dearer[better] = (sheet.read[target] - sheet.read[source])[better]
    return _Best(net > 0, daily, once, np.maximum(dearer, 0.0))
