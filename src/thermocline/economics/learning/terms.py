"""What a day and a move cost, laid out by state, days in class and size.

Days in class are told apart in steps of `STEP_DAYS`: an object goes to the next step on one day of so many, by chance,
so its minimum stay ends when it should on average. Exact days would cost five times the time for the same decisions.

One restriction keeps decisions simple: what was not read yesterday never goes to a class whose storage is dearer. Its
bytes are not in hand, and silence is no reason.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.learning.observed import SILENCES
from thermocline.economics.sheets import CostSheet, Money

STEP_DAYS: Final = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """USD by class, state, step of days in class, and size."""

    steps: tuple[int, ...]
    """How many there are for each class; in the last one its minimum stay is over."""
    silent: tuple[Money, ...]
    """Per class [state, step, size]: a day without a read."""
    read: tuple[Money, ...]
    """Per class [size]: a day with one."""
    moving: Money
    """[class, target, state, size]: going there, the rest of the minimum stay left out; infinite where it may not."""
    rest: tuple[Money, ...]
    """Per class [step, size]: that rest."""

    @classmethod
    def of(cls, sheet: CostSheet, silences: NDArray[np.int8]) -> Self:
        """Return the terms of objects of the sheet's sizes, in states of these silences."""
        places = range(len(sheet.classes))
        steps = tuple(_steps(sheet, place) for place in places)
        return cls(
            steps,
            tuple(_silent(sheet, place, steps[place], silences) for place in places),
            tuple(sheet.daily(place)[0] + sheet.read[place] for place in places),
            np.stack([np.stack([_moving(sheet, source, target, silences) for target in places]) for source in places]),
            tuple(
                np.maximum(sheet.minimum_days[place] - STEP_DAYS * np.arange(steps[place]), 0)[:, None]
                * sheet.daily(place)[0]
                for place in places
            ),
        )


def steps_of(days: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the step of so many days in class: the next one where they are in between."""
    return -(-days.astype(np.int64) // STEP_DAYS)


def _steps(sheet: CostSheet, place: int) -> int:
    last = max(sheet.minimum_days[place], sheet.stages[-1] if sheet.is_watching[place] else 0)
    return -(-last // STEP_DAYS) + 1


def _silent(sheet: CostSheet, place: int, steps: int, silences: NDArray[np.int8]) -> Money:
    daily = sheet.daily(place)
    if not sheet.is_watching[place]:
        return np.broadcast_to(daily[0], (len(silences), steps, len(sheet.sizes)))
    begins = np.concatenate([[1], SILENCES])[silences]
    reached = np.searchsorted(sheet.stages, begins, side="right")
    own = np.searchsorted(sheet.stages, np.arange(steps) * STEP_DAYS, side="right")
    staged: Money = daily[np.minimum(reached[:, None], own[None, :])]
    return staged


def _moving(sheet: CostSheet, source: int, target: int, silences: NDArray[np.int8]) -> Money:
    shape = (len(silences), len(sheet.sizes))
    if source == target:
        return np.full(shape, np.inf)
    is_silent = (silences > 0)[:, None]
    price = np.broadcast_to(sheet.moving(source, target), shape)
    if sheet.is_up[source, target]:
        price = price + is_silent * sheet.leaving[source]
    if sheet.classes[target].value("storage") > sheet.classes[source].value("storage"):
        price = np.where(is_silent, np.inf, price)
    return price
