"""The best that anybody can do who knows how often each object is read on each day, but not whether it will be.

What a policy costs above the optimum has two parts: that rates have to be learned from reads, and chance. Whoever knows
the rates is left with chance alone, so no policy can be expected to cost less. Of shapes whose rates are moved by
chance themselves (crowds, turns on and off, changes of rank) even those are known ahead: there it is a bound that
cannot be reached.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.economics.workloads import Rates
from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason
from thermocline.economics.sheets import CostSheet, Money

_WAS_READ: Final = (False, True)


class Knowing(Policy):
    """Expects, by dynamic programming back from the last day, the least that the rates allow.

    An object is told apart by its class, its days there up to the minimum stay, and whether it was read yesterday.
    Nothing is expected after the last day. Raises `ValueError` for a class that watches how objects are read.
    """

    def __init__(self, sheet: CostSheet, rates: Rates, start: int) -> None:
        """Take the reads a day of each object of the sheet on each day; decide from day `start` on."""
        if any(sheet.is_watching):
            raise ValueError("a class that watches is not among those that this can count with")
        self._sheet = sheet
        self._start = start
        self._stays = tuple(days + 1 for days in sheet.minimum_days)
        self._targets: list[dict[tuple[int, bool], NDArray[np.int8]]] = []
        later = {
            (place, was_read): np.zeros((stay, len(sheet.sizes)))
            for place, stay in enumerate(self._stays)
            for was_read in _WAS_READ
        }
        for chance in reversed(-np.expm1(-rates[:, start:].T)):
            later, targets = self._morning(later, chance)
            self._targets.append(targets)
        self._targets.reverse()

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return where each object should be today."""
        places = columns.places.copy()
        days = np.maximum(np.int32(day) - columns.since, 0)
        is_read = columns.idle(day) == 1
        for (place, was_read), targets in self._targets[day - self._start].items():
            (mine,) = np.nonzero((columns.places == place) & (is_read == was_read))
            places[mine] = targets[np.minimum(days[mine], len(targets) - 1), mine]
        return Decisions(places, np.full(len(places), Reason.NO_SAVING, np.int8))

    def _morning(
        self, later: dict[tuple[int, bool], Money], chance: NDArray[np.float64]
    ) -> tuple[dict[tuple[int, bool], Money], dict[tuple[int, bool], NDArray[np.int8]]]:
        """Return what is to pay from this morning on, [days in class, object], and where to go."""
        sheet = self._sheet
        places = range(len(sheet.classes))
        staying = [
            sheet.daily(place)[0]
            + chance * (sheet.read[place] + _a_day_on(later[place, True]))
            + (1 - chance) * _a_day_on(later[place, False])
            for place in places
        ]
        worth, targets = {}, {}
        for place, was_read in later:
            going = np.stack([staying[target][0] + self._moving(place, target, was_read) for target in places])
            rest = np.arange(self._stays[place] - 1, -1, -1)[:, None] * sheet.daily(place)[0]
            leaving = going.min(axis=0) + rest
            worth[place, was_read] = np.minimum(staying[place], leaving)
            best = np.broadcast_to(going.argmin(axis=0).astype(np.int8), leaving.shape)
            targets[place, was_read] = np.where(leaving < staying[place], best, np.int8(place))
        return worth, targets

    def _moving(self, source: int, target: int, was_read: bool) -> Money:
        sheet = self._sheet
        if source == target:
            return np.full(len(sheet.sizes), np.inf)
        price = sheet.moving(source, target)
        if sheet.is_up[source, target] and not was_read:
            price = price + sheet.leaving[source]
        return price


def _a_day_on(worth: Money) -> Money:
    return np.concatenate([worth[1:], worth[-1:]])
