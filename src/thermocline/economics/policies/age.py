"""`age`: a static lifecycle, down at 30, 90 and 365 days of age, never up."""

from typing import Final

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting

AGES: Final = (30, 90, 365)
"""Days; at each the next class begins, as far as there are classes."""


class Age(Policy):
    """Reads change nothing."""

    def __init__(self, setting: Setting) -> None:
        self._last = len(setting.classes) - 1

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the class of each object's age, or where it is if that is further down."""
        reached = np.searchsorted(AGES, columns.age(day), side="right")
        places = np.maximum(np.minimum(reached, self._last), columns.places).astype(np.int8)
        return Decisions(places, np.where(reached > 0, Reason.AGED, Reason.YOUNG).astype(np.int8))
