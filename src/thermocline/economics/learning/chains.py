"""What each state is worth: a Markov decision process over (state, class, days in class), by value iteration.

What is read does not depend on where it lies. So the chain of the states is learned once, and only the money differs
from class to class and size to size. Value iteration goes back one day at a time for `HORIZON_DAYS`, without interest:
far enough that what the end changes does not matter.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.learning.terms import STEP_DAYS, Terms
from thermocline.economics.sheets import Money

HORIZON_DAYS: Final = 365
"""Over which savings are expected."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What follows on what: transition probabilities from row to column, and the silence of each state.

    An object is read on a day if it is in a state of silence 0 (read yesterday) on the next.
    """

    transitions: NDArray[np.float64]
    silences: NDArray[np.int8]

    @property
    def hazard(self) -> NDArray[np.float64]:
        """Return the probability of a read today, by state."""
        chance: NDArray[np.float64] = self.transitions[:, self.silences == 0].sum(axis=1)
        return chance


@dataclass(frozen=True, slots=True)
class Values:
    """What is to pay from a morning on, in USD over `HORIZON_DAYS`."""

    staying: tuple[Money, ...]
    """Per class [state, step, size]: staying for this day at least."""
    going: Money
    """[class, target, state, size]: leaving for that class today, the rest of the minimum stay left out."""


def solve(chain: Chain, terms: Terms) -> Values:
    """Return the values of the chain under the best decisions. Time grows with states squared, classes and sizes."""
    states, sizes = len(chain.transitions), len(terms.read[0])
    hazard = chain.hazard[:, None, None]
    days = [(1 - hazard) * silent + hazard * read for silent, read in zip(terms.silent, terms.read, strict=True)]
    worth = np.zeros((states, sum(terms.steps) * sizes))
    values = _morning(worth, days, terms)
    for _ in range(HORIZON_DAYS - 1):
        best = []
        for place, staying in enumerate(values.staying):
            leaving = values.going[place].min(axis=0)[:, None, :] + terms.rest[place]
            best.append(np.minimum(staying, leaving).reshape(states, -1))
        values = _morning(chain.transitions @ np.concatenate(best, axis=1), days, terms)
    return values


def _morning(tomorrow: Money, days: list[Money], terms: Terms) -> Values:
    """Return the values of a morning, from the expected worth of the next one and what this day costs."""
    states, sizes = len(tomorrow), len(terms.read[0])
    staying = []
    end = 0
    for place, steps in enumerate(terms.steps):
        begin, end = end, end + steps * sizes
        later = tomorrow[:, begin:end].reshape(states, steps, sizes)
        now = days[place] + later
        now[:, :-1] += (later[:, 1:] - later[:, :-1]) / STEP_DAYS
        staying.append(now)
    return Values(tuple(staying), terms.moving + np.stack([each[:, 0] for each in staying]))
