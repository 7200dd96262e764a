"""`stay`: everything stays in the first class; what the others are worth."""

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting


class Stay(Policy):
    """Moves nothing."""

    def __init__(self, setting: Setting) -> None:
        del setting

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return where each object is."""
        del day
        return Decisions(columns.places, np.full(len(columns.places), Reason.STAYS, np.int8))
