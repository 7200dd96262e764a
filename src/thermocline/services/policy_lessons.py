"""What the policy `learned` has learned, as text that every process can read. Heavy to import.

A lesson is for the classes among which it was learned, and their prices: where those differ it is not used. It names no
content and keeps no row of any: the model has thresholds, chances and sums over all objects.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.deciding import DecisionRules
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.learning.models import Model
from thermocline.economics.policies.policy import Maker, Policy, Setting
from thermocline.economics.rules import RULES
from thermocline.economics.shadows import LEARNED, RIVALS, Lesson, by_model, lesson
from thermocline.economics.sheets import cost_sheet

FORMAT: Final = 1
"""Raised when what the text means changes. Text of another format is not used, and the lesson is learned again."""
UNTIL_LEARNED: Final = "idle"
NOT_YET: Final = "'learned' has not learned from reads here yet; 'idle' decides until then"
OTHER_PRICES: Final = "'learned' has learned for other prices or placements; 'idle' decides until it learns again"
UNREADABLE: Final = "'learned' cannot use what it had saved; 'idle' decides until it learns again"


@dataclass(frozen=True, slots=True)
class Taught:
    """Who decides."""

    policy: str
    """The name of the rule."""
    maker: Maker
    note: str | None
    """Why it is not `learned`; None if it is."""
    is_current: bool
    """Whether a lesson says so that was learned for these rules; else it is time to learn."""


def learn(rules: DecisionRules, past: History, *, sample: int) -> str:
    """Return the lesson of this past for the open places of the rules, as text below 1.3 MB.

    Takes some seconds, bounded however large the past is. `sample` is noted with it.
    """
    classes = _classes(rules)
    return _told(
        lesson(past, cost_sheet(classes, past.sizes, delayed_read=rules.delayed_read)), classes, rules, past, sample
    )


def taught(rules: DecisionRules, text: str | None) -> Taught:
    """Return who decides by what was saved; None: nothing was. Never raises for any text."""
    if text is None:
        return _until_learned(NOT_YET)
    try:
        told: dict[str, Any] = json.loads(text)
        if told["format"] != FORMAT:
            return _until_learned(UNREADABLE)
        if told["prices"] != fingerprint(rules):
            return _until_learned(OTHER_PRICES)
        if told["rule"] in RIVALS:
            rule = str(told["rule"])
            return Taught(rule, RULES[rule], f"'learned' leaves it to '{rule}': {told['note']}", is_current=True)
        if told["digest"] != _digest(told["model"]):
            return _until_learned(UNREADABLE)
        model = Model.from_bytes(base64.b85decode(told["model"]))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidInputError):
        return _until_learned(UNREADABLE)
    classes = _classes(rules)
    if model.class_names != tuple(each.name for each in classes):
        return _until_learned(UNREADABLE)
    policy = by_model(model, classes)

    def make(_: Setting) -> Policy:
        return policy

    return Taught(LEARNED, make, None, is_current=True)


def fingerprint(rules: DecisionRules) -> str:
    """Return a name for the classes among which these rules choose, with all that they cost, in their order."""
    told = [[each.name, {name: figure.value for name, figure in each.figures.items()}] for each in _classes(rules)]
    text = json.dumps([told, float(rules.delayed_read)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _told(found: Lesson, classes: Sequence[ClassPrices], rules: DecisionRules, past: History, sample: int) -> str:
    model = "" if found.model is None else base64.b85encode(found.model.to_bytes()).decode()
    return json.dumps(
        {
            "format": FORMAT,
            "prices": fingerprint(rules),
            "classes": [each.name for each in classes],
            "rule": found.rule,
            "note": found.note,
            "days": past.days,
            "contents": past.object_count,
            "sample": sample,
            "days_with_reads": len(past.objects),
            "model": model,
            "digest": _digest(model),
        }
    )


def _digest(model: str) -> str:
    """Return what tells damage: a damaged archive of arrays fails in more ways than anybody can list."""
    return hashlib.sha256(model.encode()).hexdigest()


def _classes(rules: DecisionRules) -> tuple[ClassPrices, ...]:
    found = (rules.places[place].prices for place in rules.open_places)
    return tuple(prices for prices in found if prices is not None)


def _until_learned(note: str) -> Taught:
    return Taught(UNTIL_LEARNED, RULES[UNTIL_LEARNED], note, is_current=False)
