"""What the policies cost on the made workloads: `python -m tests.economics.judging validation s3`.

Prints a row for each workload and seed: cost to the optimum's, on the second half of the time, learned from the first.
Sets are `development`, `validation` and `long`; classes `s3`, `r2`, and `s3+it`, which has `s3.intelligent` too. Words
after them choose workloads by their names. What knows the rates is a bound (see `knowing`), which is not worked out for
classes that watch.
"""

import sys
from collections.abc import Mapping
from typing import Final

import numpy as np

from tests.economics.knowing import Knowing
from tests.economics.workloads import DEVELOPMENT, LONG, VALIDATION, Rates, Workload
from thermocline.economics.bills import bill
from thermocline.economics.comparisons import WATCHED, Question, compare
from thermocline.economics.histories import History
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.replays import replay
from thermocline.economics.sheets import cost_sheet

SETS: Final[Mapping[str, Mapping[str, tuple[Workload, tuple[int, ...]]]]] = {
    "development": DEVELOPMENT,
    "validation": VALIDATION,
    "long": LONG,
}
CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": default_classes("s3"),
    "r2": default_classes("r2"),
    "s3+it": (*default_classes("s3"), WATCHED),
}
POLICIES: Final = ("stay", "idle", "intelligent", "learned")
SPLIT: Final = 0.5


def judge(history: History, rates: Rates, names: tuple[str, ...]) -> tuple[list[float], list[str]]:
    """Return the ratio to the optimum of each policy and of what knows the rates, and what `learned` notes."""
    question = Question(chosen(shipped(), names), POLICIES, shipped(), split=SPLIT)
    found = compare(history, question)
    known = np.nan if WATCHED in names else known_usd(history, rates, names) / found.optimum
    ratios = [found.outcomes[name].ratio for name in POLICIES]
    return [*ratios, known], list(found.outcomes["learned"].notes)


def known_usd(history: History, rates: Rates, names: tuple[str, ...]) -> float:
    """Return what the second half costs whoever knows the rates."""
    sheet, start = cost_sheet(chosen(shipped(), names), history.sizes), history.split_day(SPLIT)
    return bill(history, replay(history, Knowing(sheet, rates, start), start).moves, sheet, start).total


def _main(arguments: list[str]) -> None:
    workloads, names, wanted = SETS[arguments[0]], CLASSES[arguments[1]], arguments[2:]
    rows = []
    _write("", [f"{name:>11}" for name in (*POLICIES, "knows rates")], ["learned to the better of idle, intelligent"])
    for name, (workload, seeds) in workloads.items():
        for seed in seeds if not wanted or name in wanted else ():
            ratios, notes = judge(*workload.drawn(seed), names)
            _, idle, intelligent, learned, _ = ratios
            rows.append([*ratios, learned / min(idle, intelligent)])
            _write(f"{name} {seed}", [f"{each:11.3f}" for each in rows[-1]], notes)
    _write("mean", [f"{each:11.3f}" for each in np.mean(rows, axis=0)], [])
    _write("worst", [f"{each:11.3f}" for each in np.max(rows, axis=0)], [])


def _write(name: str, figures: list[str], notes: list[str]) -> None:
    sys.stdout.write(" ".join([f"{name:22}", *figures, *notes]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])
