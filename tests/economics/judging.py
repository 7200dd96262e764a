"""What the policies cost on the made workloads: `python -m tests.economics.judging validation s3`.

Prints a row for each workload and seed: cost to the optimum's, on the second half of the time, learned from the first.
Sets are `development` and `validation`; classes `s3`, `r2`, and `s3+it`, which has `s3.intelligent` too. Words after
them choose workloads by their names.
"""

import sys
from collections.abc import Mapping
from typing import Final

import numpy as np

from tests.economics.workloads import DEVELOPMENT, VALIDATION, Workload
from thermocline.economics.comparisons import WATCHED, Question, compare
from thermocline.economics.histories import History
from thermocline.economics.price_books import chosen, default_classes, shipped

SETS: Final[Mapping[str, Mapping[str, tuple[Workload, tuple[int, ...]]]]] = {
    "development": DEVELOPMENT,
    "validation": VALIDATION,
}
CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": default_classes("s3"),
    "r2": default_classes("r2"),
    "s3+it": (*default_classes("s3"), WATCHED),
}
POLICIES: Final = ("stay", "idle", "intelligent", "learned")


def judge(history: History, names: tuple[str, ...]) -> tuple[dict[str, float], list[str]]:
    """Return each policy's ratio to the optimum, and what `learned` notes."""
    question = Question(chosen(shipped(), names), POLICIES, shipped(), split=0.5)
    outcomes = compare(history, question).outcomes
    return {name: outcomes[name].ratio for name in POLICIES}, list(outcomes["learned"].notes)


def _main(arguments: list[str]) -> None:
    workloads, names, wanted = SETS[arguments[0]], CLASSES[arguments[1]], arguments[2:]
    rows = []
    _write("", [f"{name:>11}" for name in POLICIES], ["to the better of idle, intelligent"])
    for name, (workload, seeds) in workloads.items():
        for seed in seeds if not wanted or name in wanted else ():
            ratios, notes = judge(workload.history(seed), names)
            rows.append([*ratios.values(), ratios["learned"] / min(ratios["idle"], ratios["intelligent"])])
            _write(f"{name} {seed}", [f"{each:11.3f}" for each in rows[-1]], notes)
    _write("mean", [f"{each:11.3f}" for each in np.mean(rows, axis=0)], [])
    _write("worst", [f"{each:11.3f}" for each in np.max(rows, axis=0)], [])


def _write(name: str, figures: list[str], notes: list[str]) -> None:
    sys.stdout.write(" ".join([f"{name:22}", *figures, *notes]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])
