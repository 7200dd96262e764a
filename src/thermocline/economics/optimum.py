"""The clairvoyant optimum: the cheapest moves there are, for someone who knows every read in advance.

Objects are independent, so each is solved by itself, many at a time in columns. From the last day back to the first,
per class: what it costs from here on for an object that enters today (`entered`), and for one whose minimum stay is
over (`free`). The minimum stay is paid on entry and refunded pro rata at the horizon, so whoever leaves early pays for
it without a rule of its own. In between, an object is one of `days in class` states; since the stay is paid, they
differ only in when they become free, and a step of all of them is one elementwise minimum with the price of leaving
today. Reads are counted in by running totals, so that a state's value does not change by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.bills import Moves, begins, no_moves
from thermocline.economics.histories import History
from thermocline.economics.sheets import CostSheet, Money
from thermocline.economics.starts import Starts, checked_starts

MOST_BYTES: Final = 96 * 2**20
"""What one chunk of objects may take."""
MOST_OBJECTS: Final = 2048
LEAST_OBJECTS: Final = 16
ROUNDING: Final = 1e-12
"""Sums of the same money in another order differ by less, relative to the money."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """The least that a history can cost, per object in USD, and the moves that cost it (None if not asked for)."""

    per_object: Money
    moves: Moves | None

    @property
    def total(self) -> float:
        """Return what all objects cost."""
        return float(self.per_object.sum())


def optimum(
    history: History,
    sheet: CostSheet,
    start: int,
    starts: Starts | None = None,
    *,
    with_moves: bool = True,
    progress: Callable[[int], None] = lambda _: None,
) -> Optimum:
    """Return the cheapest bill from `start` on, by the rules of `bills.bill`, for objects that begin as it says.

    `progress` is told how many objects are done. Time is days x objects x (classes squared + the sum of minimum days);
    memory is bounded by `MOST_BYTES`, besides the result.
    """
    begun = checked_starts(starts, history, start, len(sheet.classes))
    count = history.object_count
    cost = np.zeros(count)
    found: list[Moves] = []
    chunk = _chunk_size(sheet, history.days - start, with_moves=with_moves)
    for begin in range(0, count, chunk):
        part = slice(begin, min(begin + chunk, count))
        solved = _Chunk(history, sheet, start, part, begun.of(part), with_moves=with_moves)
        cost[part] = solved.solve()
        if with_moves:
            found.append(solved.moves())
        progress(part.stop - part.start)
    return Optimum(cost, _joined(found) if with_moves else None)


def _chunk_size(sheet: CostSheet, days: int, *, with_moves: bool) -> int:
    lasting = len(sheet.classes) * (days + 1) * (18 if with_moves else 0) + 2 * days
    states = 8 * sum(_states(sheet, place) for place in range(len(sheet.classes)))
    return min(max(MOST_BYTES // (lasting + states + 1), LEAST_OBJECTS), MOST_OBJECTS)


def _states(sheet: CostSheet, place: int) -> int:
    """Return the days after which an object in this class has no past there any more."""
    return max(sheet.minimum_days[place], sheet.stages[-1] if sheet.is_watching[place] else 1, 1)


def _joined(parts: list[Moves]) -> Moves:
    if not parts:
        return no_moves()
    return Moves(
        np.concatenate([part.objects for part in parts]),
        np.concatenate([part.days for part in parts]),
        np.concatenate([part.classes for part in parts]),
    )


class _Class:
    """One class, stepped from the last day back.

    All its values are raised by the price of the reads before the day that they are of: so a day's reads change none.
    """

    def __init__(self, sheet: CostSheet, place: int, total_reads: NDArray[np.int32]) -> None:
        self.read = sheet.read[place]
        self.daily = sheet.daily(place)
        self.is_watching = sheet.is_watching[place]
        self.states = _states(sheet, place)
        self.prepaid: Money = self.daily[0] * (1 if self.is_watching else self.states)
        self.free: Money = total_reads * self.read
        self.stays: NDArray[np.bool_] = np.ones(len(total_reads), bool)
        """Whether one that is free had better stay on the day that was stepped to last."""
        missing = np.arange(self.states - 1, 0, -1)[:, None] * (0 if self.is_watching else 1)
        self._waiting: Money = self.free[None, :] - missing * self.daily[0][None, :]
        """Of those that are not free: one row for each number of days in class."""
        self._stages = sheet.stages
        self._own_stage = np.searchsorted(sheet.stages, np.arange(1, self.states), side="right")
        self._steps = 0

    @property
    def next_day(self) -> Money:
        """Return what is to pay from the present day on by who entered the day before, what is prepaid left out."""
        return self._waiting[self._row(1)] if self.states > 1 else self.free

    def staying(self, days: NDArray[np.int32], reached: NDArray[np.int64]) -> tuple[Money, Money]:
        """Return for objects with so many days in class, that stay today, what they pay now, and what from then on.

        Now is today, and the rest of the minimum stay, which is then paid.
        """
        then = self.free.copy()
        (waits,) = np.nonzero(days + 1 < self.states)
        then[waits] = self._waiting[self._row(days[waits] + 1), waits]
        if self.is_watching:
            own = np.searchsorted(self._stages, days, side="right")
            return self.stage_prices(np.minimum(own, reached)), then
        return self.daily[0] * np.maximum(self.states - days, 1), then

    def step(self, leaving: Money, reached: NDArray[np.int64]) -> None:
        """Step to the day before, on which leaving costs so much, and silence reached these stages."""
        stay = self.free + (self.stage_prices(reached) if self.is_watching else self.daily[0])
        if self.states > 1:
            self._waiting[self._row(1)] = self.free
            self._steps += 1
            if self.is_watching:
                for stage in range(int(self._own_stage[-1]) + 1):
                    rows = [self._row(int(days) + 1) for days in np.flatnonzero(self._own_stage == stage)]
                    self._waiting[rows] += self.stage_prices(np.minimum(stage, reached))
            np.minimum(self._waiting, leaving, out=self._waiting)
        self.free = np.minimum(stay, leaving)
        self.stays = stay <= leaving

    def stage_prices(self, stages: NDArray[np.int64]) -> Money:
        """Return a day's price at each object's stage."""
        return self.daily[stages, np.arange(len(stages))]

    def _row(self, days: Any) -> Any:
        """Return where those with so many days in class are: rows are not shifted, what they mean is."""
        return (days - 1 + self._steps) % (self.states - 1)


class _Chunk:
    """Some objects, solved together: back through the days for the values, forward for the moves."""

    def __init__(
        self, history: History, sheet: CostSheet, start: int, part: slice, starts: Starts, *, with_moves: bool
    ) -> None:
        self._sheet = sheet.of(part)
        self._start = start
        self._part = part
        self._days = history.days - start
        self._count = part.stop - part.start
        self._begins = begins(history, start)[part] - start
        self._was_there = history.first_day[part] < start
        rows = slice(int(history.offsets[part.start]), int(history.offsets[part.stop]))
        objects, days = history.objects[rows] - np.int32(part.start), history.read_days[rows]
        counted = days >= start - 1
        self._is_read = np.zeros((self._days + 1, self._count), bool)
        """Row 0 is the day before the start."""
        self._is_read[days[counted] - (start - 1), objects[counted]] = True
        last = history.first_day[part].astype(np.int32)
        earlier = days < start
        last[objects[earlier]] = days[earlier]  # rows are in the order of days: the last one stays
        self._stages = self._reached(last - start) if any(sheet.is_watching) else None
        self._reads_before = np.zeros(self._count, np.int32)
        shape = (self._days, len(sheet.classes), self._count) if with_moves else (0, 0, 0)
        self._leaving = np.empty(shape)
        self._next_day = np.empty(shape)
        self._targets = np.empty(shape, np.int8)
        self._stays = np.empty(shape, bool)
        self._starts = starts
        self._leaves_at_once = np.zeros(self._count, bool)
        self._first_rest = np.zeros(self._count)
        """What is to pay from the day after its first one on, by an object that stays where it begins."""
        self._with_moves = with_moves
        self._classes: list[_Class] = []

    def _reached(self, last_read: NDArray[np.int32]) -> NDArray[np.int8]:
        """Return for each day and object the stage that the silence has reached."""
        reached = np.empty((self._days, self._count), np.int8)
        for day in range(self._days):
            last_read = np.where(self._is_read[day + 1], np.int32(day), last_read)
            reached[day] = np.searchsorted(self._sheet.stages, day - last_read, side="right")
        return reached

    def solve(self) -> Money:
        """Return the least that each object can cost."""
        total = self._is_read[1:].sum(axis=0, dtype=np.int32)
        self._classes = [_Class(self._sheet, place, total) for place in range(len(self._sheet.classes))]
        before = total
        result = np.zeros(self._count)
        for day in range(self._days - 1, -1, -1):
            before = before - self._is_read[day + 1]
            raised = [before * each.read for each in self._classes]
            entered = [each.next_day + each.prepaid - extra for each, extra in zip(self._classes, raised, strict=True)]
            leaving, targets = self._leave(entered, ~self._is_read[day])
            self._begin(day, result, raised, leaving)
            for place, each in enumerate(self._classes):
                price = leaving[place] + raised[place]
                if self._with_moves:
                    self._leaving[day, place] = price
                    self._next_day[day, place] = each.next_day
                    self._targets[day, place] = targets[place]
                each.step(price, self._stage(day))
                if self._with_moves:
                    self._stays[day, place] = each.stays
        return result

    def _begin(self, day: int, result: Money, raised: list[Money], leaving: list[Money]) -> None:
        """Settle what begins on this day. What was there already may leave at once, and pays its minimum stay."""
        for place, each in enumerate(self._classes):
            mine = (self._begins == day) & (self._starts.places == place)
            if not mine.any():
                continue
            now, then = each.staying(self._starts.days, self._stage(day))
            result[mine] = (then + now - raised[place])[mine]
            self._first_rest[mine] = then[mine]
            if day == 0:
                rest = np.maximum(self._sheet.minimum_days[place] - self._starts.days, 0)
                at_once = rest * self._sheet.daily(place)[0] + leaving[place]
                goes = mine & self._was_there & (at_once < result)
                self._leaves_at_once |= goes
                result[goes] = at_once[goes]

    def _stage(self, day: int) -> NDArray[np.int64]:
        if self._stages is None:
            return np.zeros(0, np.int64)
        stages: NDArray[np.int64] = self._stages[day].astype(np.int64)
        return stages

    def _leave(
        self, entered: list[Money], not_in_hand: NDArray[np.bool_]
    ) -> tuple[list[Money], list[NDArray[np.int8]]]:
        """Return per class what leaving it today costs from here on, and for which class."""
        sheet = self._sheet
        places = range(len(sheet.classes))
        best, targets = [], []
        for source in places:
            least = np.full(self._count, np.inf)
            target = np.zeros(self._count, np.int8)
            reading = sheet.leaving[source] * not_in_hand
            for other in places:
                if other == source:
                    continue
                price = sheet.moving(source, other) + entered[other]
                if sheet.is_up[source, other]:
                    price += reading
                target[price < least] = other
                np.minimum(least, price, out=least)
            best.append(least)
            targets.append(target)
        return best, targets

    def moves(self) -> Moves:
        """Return the moves that cost what `solve` returned."""
        everyone = np.arange(self._count)
        place = self._starts.places.astype(np.int64)
        since = self._begins.astype(np.int64) - self._starts.days
        rest = self._first_rest.copy()
        states = np.array([each.states for each in self._classes])
        found: list[tuple[NDArray[np.int64], int, NDArray[np.int8]]] = []
        for day in range(self._days):
            price = self._leaving[day, place, everyone]
            is_free = day - since >= states[place]
            goes = np.where(is_free, ~self._stays[day, place, everyone], price <= rest + ROUNDING * np.abs(rest))
            goes &= since < day
            if day == 0:
                goes = self._leaves_at_once
            self._pay_stages(day, place, since, rest)
            (moved,) = np.nonzero(goes)
            if len(moved):
                targets = self._targets[day, place[moved], moved]
                found.append((moved, day, targets))
                place[moved] = targets
                since[moved] = day
                rest[moved] = self._next_day[day, place[moved], moved]
        return self._collected(found)

    def _pay_stages(self, day: int, place: NDArray[np.int64], since: NDArray[np.int64], rest: Money) -> None:
        """A watching class is paid by the day: what is still to pay becomes less."""
        for index, each in enumerate(self._classes):
            if each.is_watching:
                (here,) = np.nonzero((place == index) & (np.maximum(since, 0) < day))
                own = np.searchsorted(self._sheet.stages, day - since[here], side="right")
                rest[here] -= each.daily[np.minimum(own, self._stage(day)[here]), here]

    def _collected(self, found: list[tuple[NDArray[np.int64], int, NDArray[np.int8]]]) -> Moves:
        if not found:
            return no_moves()
        objects = np.concatenate([moved for moved, _, _ in found]).astype(np.int32)
        days = np.concatenate([np.full(len(moved), day) for moved, day, _ in found]).astype(np.int32)
        classes = np.concatenate([targets for _, _, targets in found])
        order = np.argsort(objects, kind="stable")  # days are in order already
        return Moves(objects[order] + np.int32(self._part.start), days[order] + np.int32(self._start), classes[order])
