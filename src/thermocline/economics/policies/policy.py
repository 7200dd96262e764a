"""What a policy is: one function from columns to classes, with a reason for each object."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.columns import Columns
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.sheets import CostSheet


@unique
class Reason(IntEnum):
    """Why an object belongs where a policy puts it."""

    STAYS = 0
    """The rule has nothing to say."""
    READ_DAILY = 1
    """At least one read a day lately."""
    READ_LATELY = 2
    """At least one read in ten days lately."""
    YOUNG = 3
    """Less than a year old."""
    RARELY_READ = 4
    """Older than a year, and hardly read."""
    SILENT_YEAR = 5
    """Not read for a year."""
    AGED = 6
    """It reached an age."""
    SILENT = 7
    """Not read for as long as the rule waits."""
    READ_AGAIN = 8
    """Read, so it comes back."""
    TOO_SMALL = 9
    """A cheaper class bills more than it saves."""
    WATCHED = 10
    """The vendor's own class decides."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """For each object the place of its class, and the `Reason`."""

    places: NDArray[np.int8]
    reasons: NDArray[np.int8]


class Policy(Protocol):
    """Decides for all objects at once, from what was known when the day began. The same columns, the same answer."""

    @abstractmethod
    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return where each object belongs on this day. `columns` are not changed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy is made for."""

    classes: tuple[ClassPrices, ...]
    """The classes in question. Places count in the sheet's classes, which begin with these."""
    sheet: CostSheet
    """What every object costs in them, by prices and sizes alone."""
    past: History
    """What was read before the first day that counts."""
    start: int
    """That day."""


Maker = Callable[[Setting], Policy]
"""Makes a policy, and lets it learn from `Setting.past`."""


def ladder(setting: Setting, steps: int) -> NDArray[np.int8]:
    """Return the place of each step down, from 0 on: the classes in their order, the last one for all that are left.

    Classes that the vendor moves objects in by itself are no step, unless there are no others.
    """
    watching = setting.sheet.is_watching
    places = [place for place in range(len(setting.classes)) if not watching[place]] or [0]
    return np.array([places[min(step, len(places) - 1)] for step in range(steps)], np.int8)
