"""`idle`: down after the break-even idle time; sticky, so one read does not bring it back.

The break-even idle time of a class is how long it takes until its cheaper storage has saved what going there and one
read from there cost more. Whoever waits that long pays at most twice what was best in hindsight for that silence. It
comes from the prices and each object's size: a small object, whose fees are large beside its bytes, waits longer, or
for ever.
"""

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting
from thermocline.economics.sheets import CostSheet, Money


def break_even_days(sheet: CostSheet, source: int, target: int) -> Money:
    """Return for each object after how many idle days `target` is worth it; infinite where it never is."""
    saved = sheet.daily(source)[0] - sheet.daily(target)[0]
    fees = sheet.moving(source, target) + sheet.read[target] - sheet.read[source]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(saved > 0, np.maximum(fees, 0.0) / saved, np.inf)


class Idle(Policy):
    """Down to the cheapest storage that pays; back when two reads are closer together than its break-even idle time."""

    def __init__(self, setting: Setting) -> None:
        sheet, count = setting.sheet, len(setting.classes)
        # waits[s, t, object]: after how many idle days an object in s goes to t.
        self._waits = np.stack(
            [np.stack([break_even_days(sheet, source, target) for target in range(count)]) for source in range(count)]
        )
        daily = np.stack([sheet.daily(place)[0] for place in range(count)])
        self._cheapest_first = np.argsort(daily, axis=0, kind="stable")
        self._everyone = np.arange(len(sheet.sizes))

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the cheapest class whose break-even idle time has passed, the first one for what is read again."""
        idle = columns.idle(day)
        places = columns.places.astype(np.int64)
        waits = self._waits[places, :, self._everyone]
        targets, reasons = places.copy(), np.full(len(places), Reason.STAYS, np.int8)
        goes_down = np.zeros(len(places), bool)
        for rank in range(len(self._cheapest_first)):
            target = self._cheapest_first[rank]
            now = ~goes_down & (idle >= waits[self._everyone, target])
            targets[now] = target[now]
            goes_down |= now
        gap = columns.last_read - columns.previous_read
        comes_back = ~goes_down & (places > 0) & (idle == 1) & (gap < self._waits[0, places, self._everyone])
        targets[comes_back] = 0
        reasons[goes_down] = Reason.SILENT
        reasons[comes_back] = Reason.READ_AGAIN
        reasons[~np.isfinite(self._waits[0, 1:]).any(axis=0)] = Reason.TOO_SMALL
        return Decisions(targets.astype(np.int8), reasons)
