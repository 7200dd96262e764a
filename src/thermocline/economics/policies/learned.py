"""`learned`: the class that is cheapest by what the store's own past teaches; a decision is a look-up in a table."""

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.learning.models import Model
from thermocline.economics.learning.observed import observed
from thermocline.economics.policies.policy import Decisions, Policy, Reason


class Learned(Policy):
    """Goes where the model expects the lowest bill, everything counted; what was silent never goes up."""

    def __init__(self, model: Model, ranks: tuple[int, ...]) -> None:
        """Take a model, and the rank of each of its classes by the price of storage, the dearest first."""
        self._model = model
        self._ranks = np.array(ranks)

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return where each object belongs, why, and what the move should save over a year."""
        advice = self._model.advise(observed(day, columns))
        before, after = self._ranks[columns.places], self._ranks[advice.places]
        reasons = np.full(len(advice.places), Reason.NO_SAVING, np.int8)
        reasons[after > before] = Reason.FEW_READS_EXPECTED
        reasons[after < before] = Reason.READS_EXPECTED
        reasons[(after == before) & (advice.places != columns.places)] = Reason.WATCHED
        return Decisions(advice.places, reasons, advice.saving)
