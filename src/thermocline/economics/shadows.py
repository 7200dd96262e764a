"""Whether to trust what was learned: it is tried on the later half of the past, against the other rules, to the cent.

What every policy would have paid on a past is known exactly, because reads do not depend on where an object lies. So
the model is first learned from the earlier half alone, and replayed over the later half beside `idle`, `intelligent`
and `stay`: one long window, for short ones choose wrongly. Only where it is clearly dearer than the best of them does
that one decide instead, and where there is too little past to tell, `idle` does. Either way the notes say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thermocline.domain.units import Usd
from thermocline.economics.bills import bill
from thermocline.economics.columns import Columns
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.learning.models import Model
from thermocline.economics.learning.training import sampled, train
from thermocline.economics.policies.idle import Idle
from thermocline.economics.policies.intelligent import Intelligent
from thermocline.economics.policies.learned import Learned
from thermocline.economics.policies.policy import Decisions, Maker, Policy, Reason, Setting
from thermocline.economics.policies.staying import Stay
from thermocline.economics.replays import replay
from thermocline.economics.sheets import CostSheet, cost_sheet

LEARNED: Final = "learned"
LEAST_DAYS: Final = 60
LEAST_OBJECTS: Final = 30
LEAST_READS: Final = 300
"""Days with reads, of all objects."""
CLEARLY: Final = 1.03
"""So many times the cost of the best other rule is clearly dearer: the model that decides has seen twice as much."""
MOST_TRIED: Final = 20_000
"""Objects; of more, a sample is tried."""
SEED: Final = 20_261_129
RIVALS: Final[dict[str, Maker]] = {"idle": Idle, "intelligent": Intelligent, "stay": Stay}


class Fallback(Policy):
    """Decides as another rule does, and says that it only falls back on it."""

    def __init__(self, rule: Policy, notes: Sequence[str]) -> None:
        self._rule = rule
        self.notes = tuple(notes)

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return what the rule says."""
        decided = self._rule.decide(day, columns)
        return Decisions(decided.places, np.full(len(decided.places), Reason.FALLBACK, np.int8))


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a past teaches: a model to decide by, or which rule decides instead, and why."""

    rule: str
    """`LEARNED`, or one of `RIVALS`."""
    model: Model | None
    """None if another rule decides."""
    note: str
    """Why it does; empty if none does."""


def lesson(past: History, sheet: CostSheet) -> Lesson:
    """Return what the past teaches about the classes of the sheet, whose objects are those of the past.

    Time and memory are bounded as those of `train` are, which is done twice. The same past, the same lesson.
    """
    thin = thin_evidence(past)
    if thin:
        return Lesson("idle", None, f"the past has only {thin}")
    costs = tried(Setting(sheet.classes, sheet, past, past.days))
    best = min(RIVALS, key=lambda name: costs[name])
    if costs[LEARNED] > CLEARLY * costs[best]:
        more = costs[LEARNED] / costs[best] - 1
        return Lesson(best, None, f"on the later half of the past `learned` would have cost {more:.1%} more")
    return Lesson(LEARNED, train(past, sheet.classes, delayed_read=_delayed_read(sheet)), "")


def by_model(model: Model, classes: Sequence[ClassPrices]) -> Learned:
    """Return the policy of a model that was made for these classes."""
    prices = [each.value("storage") for each in classes]
    dearest_first = sorted(set(prices), reverse=True)
    return Learned(model, tuple(dearest_first.index(price) for price in prices))


def learned(setting: Setting) -> Policy:
    """Return the policy that the past teaches, or the rule that it falls back on."""
    own = _own(setting)
    taught = lesson(own.past, own.sheet)
    if taught.model is None:
        return Fallback(RIVALS[taught.rule](own), [f"falls back on `{taught.rule}`: {taught.note}"])
    return by_model(taught.model, own.sheet.classes)


def thin_evidence(past: History) -> str:
    """Return what there is too little of to learn from, nothing if there is enough."""
    seen = int((past.first_day < past.days).sum())
    if past.days < LEAST_DAYS:
        return f"{past.days} days, and {LEAST_DAYS} are needed"
    if seen < LEAST_OBJECTS:
        return f"{seen} objects, and {LEAST_OBJECTS} are needed"
    if len(past.objects) < LEAST_READS:
        return f"{len(past.objects)} days with reads, and {LEAST_READS} are needed"
    return ""


def tried(setting: Setting) -> dict[str, float]:
    """Return what each rule would have cost on the later half of the past, in USD, `learned` from the earlier half."""
    past = sampled(setting.past, np.random.default_rng(SEED), MOST_TRIED)
    sheet = _sheet(setting.sheet, past)
    start = past.days // 2
    earlier = past.before(start)
    trial = Setting(setting.classes, sheet, earlier, start)
    policies = {name: maker(trial) for name, maker in RIVALS.items()}
    policies[LEARNED] = _taught(earlier, sheet)
    return {
        name: bill(past, replay(past, policy, start).moves, sheet, start).total for name, policy in policies.items()
    }


def _taught(past: History, sheet: CostSheet) -> Learned:
    return by_model(train(past, sheet.classes, delayed_read=_delayed_read(sheet)), sheet.classes)


def _own(setting: Setting) -> Setting:
    """Return the setting without the class that another policy brings."""
    count = len(setting.classes)
    if len(setting.sheet.classes) == count:
        return setting
    sheet = cost_sheet(setting.classes, setting.sheet.sizes, delayed_read=_delayed_read(setting.sheet))
    return Setting(setting.classes, sheet, setting.past, setting.start)


def _sheet(sheet: CostSheet, history: History) -> CostSheet:
    return cost_sheet(sheet.classes, history.sizes, delayed_read=_delayed_read(sheet))


def _delayed_read(sheet: CostSheet) -> Usd:
    return Usd(float(sheet.read_delay.max(initial=0.0)))
