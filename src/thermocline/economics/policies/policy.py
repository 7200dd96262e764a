"""What a policy is: one function from columns to classes, with a reason for each object."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import Final, Protocol

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
    FEW_READS_EXPECTED = 11
    """By what the past teaches it will be read too rarely for where it is."""
    READS_EXPECTED = 12
    """By what the past teaches it will be read too often for where it is."""
    NO_SAVING = 13
    """By what the past teaches no move saves more than it costs."""
    FALLBACK = 14
    """The past did not teach enough, so another rule decides: the notes say why, and which."""


_NO_ESTIMATE: Final = np.array(np.nan)


@dataclass(frozen=True, slots=True)
class Decisions:
    """For each object the place of its class, the `Reason`, and what going there is expected to save."""

    places: NDArray[np.int8]
    reasons: NDArray[np.int8]
    expected_saving: NDArray[np.float64] = field(default_factory=lambda: _NO_ESTIMATE)
    """USD over a year, everything counted, against staying; 0 for what stays, NaN where a rule has no estimate."""

    def __post_init__(self) -> None:
        if self.expected_saving is _NO_ESTIMATE:
            # One value, however many rows: rules without an estimate pay nothing for the column.
            object.__setattr__(self, "expected_saving", np.broadcast_to(_NO_ESTIMATE, self.places.shape))


class Policy(Protocol):
    """Decides for all objects at once, from what was known when the day began. The same columns, the same answer."""

    notes: Sequence[str] = ()
    """What a reader of its decisions must know of how it came to be."""

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
