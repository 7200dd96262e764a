"""The optimum is what trying everything finds, and its moves cost what it says."""

from dataclasses import replace

import numpy as np
import pytest

from tests.counts import SOAK
from tests.economics.naive import Rules, bills, cheapest, random_classes, random_history, random_starts
from thermocline.domain.units import Usd
from thermocline.economics import optimum as optima
from thermocline.economics.bills import Moves, bill, no_moves
from thermocline.economics.optimum import optimum
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.sheets import cost_sheet

CASES = 400 if SOAK else 50
"""Histories; each has 8 objects, and each object is a case."""
NAMES = [
    ("s3.standard", "s3.standard_ia", "s3.glacier_ir"),
    ("s3.standard", "s3.intelligent", "s3.glacier_ir"),
    ("s3.intelligent", "s3.standard", "s3.standard_ia"),
    ("s3.standard_ia", "s3.standard", "s3.glacier"),
    ("r2.standard", "r2.infrequent", "s3.deep_archive"),
    ("r2.standard",),
]


@pytest.mark.parametrize("seed", range(CASES))
@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_it_equals_brute_force(names: tuple[str, ...], seed: int) -> None:
    draws = np.random.default_rng([seed, len(names), NAMES.index(names)])
    classes = random_classes(draws, names)
    days = int(draws.integers(2, 7 if seed % 10 else 8))
    start = int(draws.integers(0, min(3, days)))
    history = random_history(draws, objects=8, days=days, share=float(draws.random()))
    stages = (1 + int(draws.integers(0, 3)), 4 + int(draws.integers(0, 3)))
    delayed = float(draws.choice([0.0, 0.0005]))
    rules = Rules(classes, stages, delayed)
    sheet = replace(cost_sheet(classes, history.sizes, delayed_read=Usd(delayed)), stages=stages)
    starts = None
    if seed % 2:  # beginning anywhere, not in the first class
        if draws.random() < 0.5:  # there since before the history begins, as objects of an inventory are
            history = replace(history, first_day=history.first_day - 4)
        starts = random_starts(draws, history, start, len(names), longest=7)
    found = optimum(history, sheet, start, starts)
    expected = [cheapest(rules, history, number, start, starts) for number in range(history.object_count)]
    np.testing.assert_allclose(found.per_object, expected, rtol=1e-9, atol=1e-15)
    assert found.moves is not None
    paid = bill(history, found.moves, sheet, start, starts)
    np.testing.assert_allclose(paid.per_object, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("seed", range(CASES))
def test_bills_are_those_of_one_object_and_day_at_a_time(seed: int) -> None:
    draws = np.random.default_rng([seed, 7])
    names = NAMES[seed % len(NAMES)]
    classes = random_classes(draws, names) if seed % 2 else chosen(shipped(), names)
    start = int(draws.integers(0, 60))
    history = random_history(draws, objects=12, days=300, share=float(draws.choice([0.01, 0.05, 0.5])))
    sheet = cost_sheet(classes, history.sizes, delayed_read=Usd(0.001))
    moves = _random_moves(draws, history.first_day, len(names), start, history.days)
    starts = random_starts(draws, history, start, len(names), longest=100) if seed % 3 else None
    paid = bill(history, moves, sheet, start, starts)
    np.testing.assert_allclose(
        paid.per_object, bills(Rules(classes, delayed_read=0.001), history, moves, start, starts), rtol=1e-9, atol=1e-15
    )
    assert paid.total == pytest.approx(paid.per_object.sum())


def _random_moves(draws: np.random.Generator, first: np.ndarray, classes: int, start: int, days: int) -> Moves:
    rows = []
    for number, seen in enumerate(first):
        place = 0
        for day in range(max(int(seen) + 1, start), days):
            target = int(draws.integers(0, classes))
            if target != place and draws.random() < 0.03:
                rows.append((number, day, target))
                place = target
    if not rows:
        return no_moves()
    table = np.array(rows)
    return Moves(table[:, 0].astype(np.int32), table[:, 1].astype(np.int32), table[:, 2].astype(np.int8))


@pytest.mark.thorough
@pytest.mark.parametrize("names", [*map(default_classes, ("s3", "r2", "gcs", "azure")), NAMES[1]], ids="+".join)
def test_over_a_year_its_moves_cost_what_it_says_and_nothing_is_cheaper(names: tuple[str, ...]) -> None:
    draws = np.random.default_rng(5)
    history = random_history(draws, objects=60, days=420, share=0.02)
    sheet = cost_sheet(chosen(shipped(), names), history.sizes * 10)
    found = optimum(history, sheet, 90)
    assert found.moves is not None
    np.testing.assert_allclose(bill(history, found.moves, sheet, 90).per_object, found.per_object, rtol=1e-9)
    for _ in range(20):
        other = bill(history, _random_moves(draws, history.first_day, len(names), 90, 420), sheet, 90)
        assert (found.per_object <= other.per_object * (1 + 1e-12)).all()
    assert (found.per_object <= bill(history, no_moves(), sheet, 90).per_object * (1 + 1e-12)).all()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    history = random_history(np.random.default_rng(3), objects=70, days=200, share=0.03)
    sheet = cost_sheet(chosen(shipped(), NAMES[0]), history.sizes)
    whole = optimum(history, sheet, 50)
    monkeypatch.setattr(optima, "MOST_OBJECTS", 16)
    told: list[int] = []
    parts = optimum(history, sheet, 50, progress=told.append)
    assert told == [16, 16, 16, 16, 6]
    np.testing.assert_array_equal(whole.per_object, parts.per_object)
    assert whole.moves is not None
    assert parts.moves is not None
    np.testing.assert_array_equal(whole.moves.days, parts.moves.days)
    assert optimum(history, sheet, 50, with_moves=False).moves is None
    np.testing.assert_array_equal(optimum(history, sheet, 50, with_moves=False).per_object, whole.per_object)
