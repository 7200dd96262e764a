"""Whoever knows the rates is a bound: the optimum where nothing is left to chance, below every policy where it is."""

import numpy as np
import pytest

from tests.economics.knowing import Knowing
from tests.economics.workloads import Births, Rates, Workload, constant, on_off
from thermocline.economics.bills import bill
from thermocline.economics.comparisons import WATCHED
from thermocline.economics.histories import History
from thermocline.economics.optimum import optimum
from thermocline.economics.policies.policy import Policy, Setting
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.sheets import CostSheet, cost_sheet

S3 = chosen(shipped(), default_classes("s3"))


def _usd(history: History, sheet: CostSheet, policy: Policy, start: int) -> float:
    return bill(history, replay(history, policy, start).moves, sheet, start).total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("books", ["s3", "r2"])
def test_where_nothing_is_left_to_chance_it_is_the_optimum(books: str, seed: int) -> None:
    def surely(rng: np.random.Generator, births: Births) -> Rates:
        return np.where(on_off(rng, births) > 0.1, 100.0, 0.0) * (rng.random(births.ages.shape) < 0.3)

    history, rates = Workload(surely, objects=80, days=300).drawn(seed)
    sheet = cost_sheet(chosen(shipped(), default_classes(books)), history.sizes)
    least = optimum(history, sheet, 100).total
    assert _usd(history, sheet, Knowing(sheet, rates, 100), 100) == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("start", [0, 120])
def test_no_rule_is_cheaper_where_chance_decides(start: int) -> None:
    history, rates = Workload(constant, objects=300, days=300).drawn(5)
    sheet = cost_sheet(S3, history.sizes)
    known = _usd(history, sheet, Knowing(sheet, rates, start), start)
    assert known > optimum(history, sheet, start).total
    for name in ("stay", "velocity", "age", "idle", "learned"):
        policy = RULES[name](Setting(S3, sheet, history.before(start), start))
        assert _usd(history, sheet, policy, start) > known, name


def test_a_class_that_watches_is_refused() -> None:
    history, rates = Workload(constant, objects=10, days=30).drawn(1)
    sheet = cost_sheet(chosen(shipped(), (*default_classes("s3"), WATCHED)), history.sizes)
    with pytest.raises(ValueError, match="watches"):
        Knowing(sheet, rates, 0)
