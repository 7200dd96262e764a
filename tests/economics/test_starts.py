"""Replays begin where each object lies, and know since when; what cannot be is refused."""

from dataclasses import replace

import numpy as np
import pytest

from tests.economics.naive import random_history, random_starts
from thermocline.domain.errors import InvalidInputError
from thermocline.economics.bills import bill, no_moves
from thermocline.economics.columns import Columns
from thermocline.economics.histories import History, history_of
from thermocline.economics.optimum import optimum
from thermocline.economics.policies.policy import Decisions, Policy, Setting
from thermocline.economics.price_books import chosen, default_classes, shipped, with_overrides
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.sheets import CostSheet, cost_sheet
from thermocline.economics.starts import Starts, in_the_first_class

CLASSES = chosen(shipped(), default_classes("s3"))


def _case(seed: int) -> tuple[History, CostSheet, int, Starts]:
    draws = np.random.default_rng(seed)
    history = random_history(draws, objects=40, days=200, share=0.03)
    history = replace(
        history, sizes=history.sizes * 100, first_day=history.first_day - draws.integers(0, 300, 40).astype(np.int32)
    )
    start = int(draws.integers(0, 100))
    return history, cost_sheet(CLASSES, history.sizes), start, random_starts(draws, history, start, 3, longest=300)


class Spy(Policy):
    """Keeps what it is shown on the first day."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.since: list[int] = []

    def decide(self, day: int, columns: Columns) -> Decisions:
        del day
        if not self.places:
            self.places, self.since = columns.places.tolist(), columns.since.tolist()
        return Decisions(columns.places, np.zeros(len(columns.places), np.int8))


@pytest.mark.parametrize("seed", range(4))
def test_a_policy_sees_where_each_object_is_and_since_when(seed: int) -> None:
    history, _, start, starts = _case(seed)
    spy = Spy()
    assert len(replay(history, spy, start, starts).moves) == 0
    assert spy.places == starts.places.tolist()
    assert spy.since == (np.maximum(history.first_day, start) - starts.days).tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["age", "idle", "velocity", "intelligent"])
def test_nothing_moves_to_where_it_is_and_age_never_moves_up(name: str, seed: int) -> None:
    history, sheet, start, starts = _case(seed)
    policy = RULES[name](Setting(CLASSES, sheet, history.before(start), start))
    moves = replay(history, policy, start, starts).moves
    assert len(moves) > 0
    places = starts.places.tolist()
    for number, target in zip(moves.objects.tolist(), moves.classes.tolist(), strict=True):
        assert target != places[number]
        assert name != "age" or target > places[number]
        places[number] = target
    assert (
        optimum(history, sheet, start, starts).per_object
        <= bill(history, moves, sheet, start, starts).per_object * (1 + 1e-12)
    ).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_first_class_is_what_nobody_said(seed: int) -> None:
    history, sheet, start, _ = _case(seed)
    first = in_the_first_class(history)
    for told, untold in (
        (bill(history, no_moves(), sheet, start, first), bill(history, no_moves(), sheet, start)),
        (optimum(history, sheet, start, first), optimum(history, sheet, start)),
    ):
        np.testing.assert_array_equal(told.per_object, untold.per_object)


@pytest.mark.parametrize("been_there", [0, 1, 2, 10])
def test_what_begins_in_a_watching_class_leaves_when_its_bytes_are_in_hand(been_there: int) -> None:
    """Reads are dear where it would go, so it stays for the first one; after it, moving it up is free."""
    watching = {"storage": 5.0, "storage_after_30_days": 4.0, "storage_after_90_days": 3.0, "get": 50.0}
    prices = with_overrides({"s3.intelligent": watching, "s3.standard": {"put": 0.0, "get": 500.0}})
    classes = chosen(prices, ("s3.standard", "s3.intelligent"))
    history = replace(history_of([0, 86_400 * 9], [0, 0], [10**9, 10**9]), first_day=np.array([-20], np.int32))
    sheet = replace(cost_sheet(classes, history.sizes), stages=(4, 6))
    starts = Starts(np.array([1], np.int8), np.array([been_there], np.int32))
    best = optimum(history, sheet, 0, starts)
    assert best.moves is not None
    assert (best.moves.days.tolist(), best.moves.classes.tolist()) == ([1, 9], [0, 1])
    assert bill(history, best.moves, sheet, 0, starts).total == pytest.approx(best.total)


def test_starts_that_cannot_be_are_refused() -> None:
    history, sheet, start, starts = _case(0)
    late = int(np.argmax(history.first_day))
    days = starts.days.copy()
    days[late] = max(start - int(history.first_day[late]), 0) + 1
    for wrong, told in (
        (Starts(starts.places[1:], starts.days[1:]), "of other objects"),
        (Starts(starts.places + np.int8(1), starts.days), "a class that is not in the cost sheet"),
        (Starts(starts.places - np.int8(3), starts.days), "a class that is not in the cost sheet"),
        (Starts(starts.places, starts.days - np.int32(1000)), "since before it was there"),
        (Starts(starts.places, days), "since before it was there"),
    ):
        with pytest.raises(InvalidInputError, match=told):
            bill(history, no_moves(), sheet, start, wrong)
        with pytest.raises(InvalidInputError, match=told):
            optimum(history, sheet, start, wrong)
