"""The states that the objects of a history went through, day by day, and what came of them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.columns import Watcher
from thermocline.economics.histories import History
from thermocline.economics.learning.observed import FEATURES, observed

LEADS: Final = (28, 90)
"""Days ahead, for which a tree tells the reads."""
HALF_RATE: Final = 1 / 40
"""Reads a day at which an outcome is one half: about where the classes break even, so differences count there."""


@dataclass(frozen=True, slots=True)
class Past:
    """All objects on all days after they were first seen; the rows of a day follow those of the day before.

    Rows of a day are always the same objects in the same order, and then those that have come since.
    """

    features: NDArray[np.float32]
    silences: NDArray[np.int64]
    begins: NDArray[np.int64]
    """Where each day's rows begin, and the end."""
    outcomes: NDArray[np.float64]
    """By lead and row: from 0, nothing is read in that time, to near 1, much is."""
    exposure: NDArray[np.float64]
    """Which share of the longest lead lies before the end of the history: later reads are not known."""


def past_of(history: History) -> Past:
    """Return what is known of every object on every morning of the history."""
    order = np.argsort(history.first_day, kind="stable")
    counts = np.searchsorted(history.first_day[order], np.arange(history.days + 1), side="left")
    begins = np.concatenate([[0], np.cumsum(counts)])
    features = np.empty((len(FEATURES), begins[-1]), np.float32)
    silences = np.empty(begins[-1], np.int64)
    watcher = Watcher(history, 0)
    for day in range(history.days + 1):
        seen = observed(day, watcher.columns, int(counts[day]), order)
        rows = slice(begins[day], begins[day + 1])
        features[:, rows] = seen.features()
        silences[rows] = seen.silences()
        if day < history.days:
            watcher.pass_day()
    outcomes, exposure = _outcomes(history, order, begins, counts)
    return Past(features, silences, begins, outcomes, exposure)


def _outcomes(
    history: History, order: NDArray[np.int64], begins: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    before = np.zeros((history.days + 1, len(order)), np.int16)
    before[history.read_days + 1, rank[history.objects]] = 1
    np.cumsum(before, axis=0, out=before)
    outcomes = np.zeros((len(LEADS), begins[-1]))
    exposure = np.zeros(begins[-1])
    for day in range(history.days):
        count = counts[day]
        rows = slice(begins[day], begins[day + 1])
        for number, lead in enumerate(LEADS):
            end = min(day + lead, history.days)
            rate = (before[end, :count] - before[day, :count]) / (end - day)
            outcomes[number, rows] = rate / (rate + HALF_RATE)
        exposure[rows] = (end - day) / LEADS[-1]
    return outcomes, exposure
