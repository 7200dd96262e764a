"""What a policy would have done: the history day by day, each decision from what was known that morning."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thermocline.economics.bills import Moves, no_moves
from thermocline.economics.columns import Watcher
from thermocline.economics.histories import History
from thermocline.economics.policies.policy import Policy, Reason
from thermocline.economics.starts import Starts


@dataclass(frozen=True, slots=True)
class Replay:
    """A policy's moves, and how many it made for which reason."""

    moves: Moves
    reasons: dict[str, int]


def replay(
    history: History,
    policy: Policy,
    start: int,
    starts: Starts | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Replay:
    """Return the moves that the policy makes from day `start` on.

    Objects begin where `starts` says, without it in the first class. Each day it is asked once, in the morning, and
    knows the days before. Objects may move from the day after they were first seen. `progress` is told each day.
    """
    watcher = Watcher(history, start)
    columns = watcher.columns
    if starts is not None:
        columns.places[:] = starts.places
        columns.since -= starts.days
    found: list[Moves] = []
    counted = np.zeros(len(Reason), np.int64)
    for day in range(start, history.days):
        decided = policy.decide(day, columns)
        (moved,) = np.nonzero((decided.places != columns.places) & (columns.first_day < day))
        if len(moved):
            places = decided.places[moved]
            found.append(Moves(moved.astype(np.int32), np.full(len(moved), day, np.int32), places))
            counted += np.bincount(decided.reasons[moved], minlength=len(Reason))
            columns.places[moved] = places
            columns.since[moved] = day
        watcher.pass_day()
        progress(1)
    return Replay(_by_object(found), {Reason(code).name.lower(): int(n) for code, n in enumerate(counted) if n})


def _by_object(found: list[Moves]) -> Moves:
    if not found:
        return no_moves()
    objects = np.concatenate([part.objects for part in found])
    order = np.argsort(objects, kind="stable")  # days are in order already
    return Moves(
        objects[order],
        np.concatenate([part.days for part in found])[order],
        np.concatenate([part.classes for part in found])[order],
    )
