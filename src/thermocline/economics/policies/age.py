"""`age`: a static lifecycle, down at 30, 90 and 365 days of age, never up."""

from typing import Final

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting, ladder

AGES: Final = (30, 90, 365)
"""Days; at each the next class begins, as far as there are classes."""


class Age(Policy):
    """Reads change nothing."""

    def __init__(self, setting: Setting) -> None:
        self._ladder = ladder(setting, len(AGES) + 1)
        # How far down a class is; in one that is no step, age has not begun.
        self._step = np.zeros(len(setting.sheet.classes), np.int64)
        for step in reversed(range(len(self._ladder))):
            self._step[self._ladder[step]] = step

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the class of each object's age, or where it is if that is further down."""
        reached = np.searchsorted(AGES, columns.age(day), side="right")
        places = self._ladder[np.maximum(reached, self._step[columns.places])]
        return Decisions(places, np.where(reached > 0, Reason.AGED, Reason.YOUNG).astype(np.int8))
