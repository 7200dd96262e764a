"""What a history cost under some moves, by part."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Usd
from thermocline.economics.histories import History, key_of
from thermocline.economics.sheets import CostSheet, Money
from thermocline.economics.starts import Starts, checked_starts

Numbers = NDArray[np.int64]

PARTS: Final = ("storage", "monitoring", "requests", "retrieval", "moves", "early_deletion", "egress", "latency")


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves at the start of a day, sorted by object, then day; at most one per object and day."""

    objects: NDArray[np.int32]
    days: NDArray[np.int32]
    """Counted from the first day of the history."""
    classes: NDArray[np.int8]
    """Places in the sheet's classes."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.objects)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a history cost, in USD, by part."""

    storage: Usd
    """Billed size times time."""
    monitoring: Usd
    requests: Usd
    """Of reads."""
    retrieval: Usd
    """Of reads."""
    moves: Usd
    """Writes to the targets, and reads of the sources that were not in hand."""
    early_deletion: Usd
    """The rest of the minimum stays."""
    egress: Usd
    latency: Usd
    """Reads that waited, at their price."""
    per_object: Money

    @property
    def total(self) -> Usd:
        """Return the sum of all parts."""
        return Usd(sum(self.parts().values()))

    def parts(self) -> dict[str, float]:
        """Return the parts by name, in the order of `PARTS`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in PARTS}


def no_moves() -> Moves:
    """Return that everything stays where it is."""
    return Moves(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int8))


def begins(history: History, start: int) -> NDArray[np.int32]:
    """Return from which day on each object is billed: `start`, or when it was first seen."""
    return np.maximum(history.first_day, start).astype(np.int32)


def bill(history: History, moves: Moves, sheet: CostSheet, start: int, starts: Starts | None = None) -> Bill:
    """Return what the days from `start` on cost.

    Objects begin where `starts` says, without it in the sheet's first class; their PUT is free.

    One storage read per object and day with reads, after that day's move. A move costs `entering`, and reading its
    source where it goes up unless the object was read the day before, and the rest of the source's minimum stay; what
    is still in its class at the end owes nothing more. Objects that exist before `start` may move on that day, others
    from the day after they were first seen. Raises `InvalidInputError` for moves that are not such.
    """
    return _Billing(history, moves, sheet, start, starts).bill()


class _Billing:
    """A stint is the time of one object between two moves, or until the end."""

    def __init__(self, history: History, moves: Moves, sheet: CostSheet, start: int, starts: Starts | None) -> None:
        _check(history, moves, sheet, start)
        begun = checked_starts(starts, history, start, len(sheet.classes))
        self._history = history
        self._sheet = sheet
        self._start = start
        everyone = np.arange(history.object_count, dtype=np.int32)
        first = begins(history, start)
        objects = np.concatenate([everyone, moves.objects])
        days = np.concatenate([first, moves.days])
        places = np.concatenate([begun.places, moves.classes])
        # Stable: the stint where it begins comes before a move on the first day, and lasts no day.
        order = np.argsort(key_of(objects, days), kind="stable")
        self._objects, self._days, self._places = objects[order], days[order], places[order]
        # Of each stint, the days in its class before it.
        self._before = np.concatenate([begun.days, np.zeros(len(moves), np.int32)])[order]
        self._is_last = np.append(self._objects[1:] != self._objects[:-1], True) if len(order) else np.zeros(0, bool)
        self._ends = np.where(self._is_last, history.days, np.append(self._days[1:], history.days)).astype(np.int32)
        self._keys = key_of(self._objects, self._days)
        # Rows of reads that each stint covers.
        self._from = np.searchsorted(history.keys, self._keys)
        self._to = np.searchsorted(history.keys, key_of(self._objects, self._ends))

    def bill(self) -> Bill:
        sheet = self._sheet
        at = (self._places, self._objects)
        stays = (self._ends - self._days).astype(np.float64)
        reads = (self._to - self._from).astype(np.float64)
        by_stint = {
            "storage": self._storage(stays),
            "monitoring": sheet.monitoring[at] * stays,
            "requests": sheet.read_request[at] * reads,
            "retrieval": sheet.read_retrieval[at] * reads,
            "moves": np.zeros(len(stays)),
            "early_deletion": np.zeros(len(stays)),
            "egress": sheet.read_egress[at] * reads,
            "latency": sheet.read_delay[at] * reads,
        }
        self._add_moves(by_stint, stays)
        whole: Money = np.sum(list(by_stint.values()), axis=0)
        per_object = _summed(self._objects, whole, self._history.object_count)
        return Bill(**{name: Usd(float(costs.sum())) for name, costs in by_stint.items()}, per_object=per_object)

    def _add_moves(self, by_stint: dict[str, Money], stays: Money) -> None:
        sheet = self._sheet
        (left,) = np.nonzero(~self._is_last)
        sources, targets, objects = self._places[left], self._places[left + 1], self._objects[left]
        keys = self._history.keys
        yesterday = key_of(objects, self._ends[left] - np.int32(1))
        in_hand = np.searchsorted(keys, yesterday, "right") > np.searchsorted(keys, yesterday, "left")
        reading = np.where(sheet.is_up[sources, targets] & ~in_hand, sheet.leaving[sources, objects], 0.0)
        by_stint["moves"][left] = sheet.entering[targets, objects] + reading
        by_stint["egress"][left] += np.where(sheet.is_abroad[sources, targets], sheet.egress[sources, objects], 0.0)
        least = np.array(sheet.minimum_days)[sources]
        rest = np.maximum(least - self._before[left] - stays[left], 0.0)
        first = np.stack([rows[0] for rows in sheet.storage])
        by_stint["early_deletion"][left] = rest * first[sources, objects]

    def _storage(self, stays: Money) -> Money:
        costs = np.zeros(len(stays))
        for place, rows in enumerate(self._sheet.storage):
            (mine,) = np.nonzero(self._places == place)
            if rows.shape[0] == 1:
                costs[mine] = rows[0, self._objects[mine]] * stays[mine]
            else:
                costs[mine] = self._watched_storage(mine, rows)
        return costs

    def _watched_storage(self, stints: Numbers, rows: Money) -> Money:
        """Each entry and each read begins a silence, whose days grow cheaper."""
        owner = np.repeat(np.arange(len(stints)), (self._to - self._from)[stints] + 1)
        silence = np.arange(len(owner)) - np.repeat(
            np.flatnonzero(np.diff(owner, prepend=-1)), (self._to - self._from)[stints] + 1
        )
        day = self._days[stints][owner]
        broken = silence > 0
        day[broken] = self._history.read_days[(self._from[stints][owner] + silence - 1)[broken]]
        last = np.append(owner[1:] != owner[:-1], True)
        end = np.where(last, self._ends[stints][owner], np.append(day[1:], 0))
        silent = np.where(broken, 0, self._silent_before(stints)[owner])
        until = (silent + end - day).astype(np.float64)
        edges = (0, *self._sheet.stages, np.inf)
        objects = self._objects[stints][owner]
        cost = np.zeros(len(owner))
        for stage, (begin, finish) in enumerate(pairwise(edges)):
            cost += rows[stage, objects] * (np.clip(until, begin, finish) - np.clip(silent, begin, finish))
        return _summed(owner, cost, len(stints))

    def _silent_before(self, stints: Numbers) -> Numbers:
        """Return the days of silence that are over when each stint begins: in its class, and not read."""
        before = self._before[stints].astype(np.int64)
        objects = self._objects[stints]
        keys = self._history.keys
        last = np.searchsorted(keys, key_of(objects, np.full(len(objects), self._start, np.int32))) - 1
        silent = before.copy()
        (known,) = np.nonzero(last >= 0)
        known = known[self._history.objects[last[known]] == objects[known]]
        silent[known] = np.minimum(before[known], self._start - self._history.read_days[last[known]])
        return silent


def _summed(groups: NDArray[Any], costs: Money, count: int) -> Money:
    return np.bincount(groups, weights=costs, minlength=count).astype(np.float64)


def _check(history: History, moves: Moves, sheet: CostSheet, start: int) -> None:
    if not 0 <= start < history.days:
        raise InvalidInputError(f"there are {history.days} days, so none from day {start} on")
    if len(sheet.sizes) != history.object_count:
        raise InvalidInputError("the cost sheet is of other objects than the history")
    if not len(moves):
        return
    keys = key_of(moves.objects, moves.days)
    if (np.diff(keys) <= 0).any():
        raise InvalidInputError("moves are sorted by object and day, with at most one a day")
    if int(moves.objects[-1]) >= history.object_count or int(moves.objects[0]) < 0:
        raise InvalidInputError("a move names an object that is not in the history")
    if int(moves.classes.min()) < 0 or int(moves.classes.max()) >= len(sheet.classes):
        raise InvalidInputError("a move names a class that is not in the cost sheet")
    earliest = np.maximum(history.first_day + 1, start)[moves.objects]
    if (moves.days < earliest).any() or int(moves.days.max()) >= history.days:
        raise InvalidInputError("a move lies before its object, before the start, or beyond the end")
