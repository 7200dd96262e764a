"""Which contents are read together: weights of pairs in fixed memory.

Each content has a row of slots, each a neighbour and the decayed weight of having been read with it. Slots are plenty
while contents are few; when contents double, the lightest half of each row goes. A pair that finds its row full takes
the lightest slot with probability w / (w + the slot's weight), and goes on from the sum (randomised admission: R. Ben
Basat et al., "Randomized Admission Policy for Efficient Top-k and Frequency Estimation", 2016): a neighbour that comes
again and again gets in, one that came once mostly does not, and no weight is biased.

Weights decay forward: what comes later weighs more, and old weights never change (as in `domain.heat`).
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Seconds, Timestamp

SHRINKAGE: Final = 5.0
"""As if each content had been read alone in so many usual stretches more: few observations prove little."""
LONGEST_STRETCH: Final = 32
"""Contents of one stretch of a session. All pairs of a stretch are learned, so work per read is bounded by this."""
MOST_SLOTS: Final = 256
FEWEST_SLOTS: Final = 32
FIRST_ROWS: Final = 256
CELL_BYTES: Final = 8
ID_OVERHEAD_BYTES: Final = 200
"""Of a content id's text, its entries in the dictionary and the list, and its sums (CPython 3.11: 49 + 110 + 8 + 8)."""
LARGEST_EXPONENT: Final = 40.0
"""Weights are scaled down when new ones are 2^40 times as heavy as the oldest: single floats reach 2^127."""
GIVEN_UP_SHARE: Final = 8
"""When all is full, the eighth of the contents that is read least is given up at once, so that it is done rarely."""
_NOBODY: Final = -1
_PLACES: Final = np.arange(LONGEST_STRETCH)
_APART: Final = (1.0 - np.eye(LONGEST_STRETCH)).astype(np.float32)


class CoAccessTable:
    """Weights of pairs of contents that were read together, in at most `memory` bytes."""

    def __init__(self, memory: Bytes, half_life: Seconds) -> None:
        self.memory = memory
        self.half_life = half_life
        self.origin: Timestamp | None = None
        """When a weight of 1 was learned."""
        self.latest = Timestamp(0)
        self.stretches = 0.0
        """Decayed weight of the stretches learned."""
        self.observed = 0.0
        """Their decayed number."""
        self.given_up = 0
        """Contents that were forgotten for room."""
        self.rows: dict[str, int] = {}
        self.names: list[str | None] = []
        self.neighbours: npt.NDArray[np.int32] = np.full((0, MOST_SLOTS), _NOBODY, np.int32)
        self.weights: npt.NDArray[np.float32] = np.zeros((0, MOST_SLOTS), np.float32)
        self.sums: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._places: npt.NDArray[np.int16] = np.full(1, _NOBODY, np.int16)
        self._free: list[int] = []
        self._id_bytes = 0
        # Not for secrets: a fixed seed makes what is learned repeatable.
        self._dice = np.random.default_rng(0)

    @property
    def slots(self) -> int:
        """How many neighbours each content has room for."""
        return int(self.weights.shape[1])

    @property
    def used_bytes(self) -> int:
        """How much memory it takes, content ids included."""
        return self.weights.size * CELL_BYTES + self._id_bytes

    def scale_at(self, at: Timestamp) -> float:
        """Return what a full observation at this moment weighs."""
        if self.origin is None:
            self.origin = at
        exponent = max(at - self.origin, 0) / MICROS_PER_SECOND / self.half_life
        if exponent > LARGEST_EXPONENT:
            factor = np.float32(2.0 ** -min(exponent, 120.0))
            self.weights *= factor
            self.sums *= factor
            self.stretches *= float(factor)
            self.observed *= float(factor)
            self.origin = at
            return 1.0
        return float(2.0**exponent)

    def learn(self, content_ids: Sequence[str], at: Timestamp, *, begun: int = 0) -> None:
        """Take in different contents that were read together, in the order of their reads; at most a stretch of them.

        `begun` is how many the same session read before. Each pair of n that were read counts 1/sqrt(n): of many
        that are read together, each says little.
        """
        if len(set(content_ids)) != len(content_ids) or not 0 < len(content_ids) <= LONGEST_STRETCH:
            raise ValueError(f"a stretch has 1 to {LONGEST_STRETCH} different contents")
        scale = self.scale_at(at)
        self.latest = max(self.latest, at)
        rows = self._rows_of(content_ids)
        length = len(rows)
        weight = np.float32(scale / math.sqrt(begun + length))
        self.stretches += float(weight)
        self.observed += scale
        self.sums[rows] += weight
        if length == 1:
            return
        gains = _APART[:length, :length] * weight
        self._places[rows] = _PLACES[:length]
        # The last place, which "nobody" points to, is always nobody's.
        places = self._places[self.neighbours[rows]]
        self._places[rows] = _NOBODY
        mine, slots = np.nonzero(places >= 0)
        others = places[mine, slots]
        self.weights[rows[mine], slots] += gains[mine, others]
        unknown = gains > 0
        unknown[mine, others] = False
        for index in np.flatnonzero(unknown.any(axis=1)):
            newcomers = np.flatnonzero(unknown[index])
            self._admit(rows[index], rows[newcomers], gains[index, newcomers])

    def likely(self, content_id: str, limit: int) -> list[tuple[str, float]]:
        """Return the most probable neighbours and their probabilities, which are in (0, 1)."""
        row = self.rows.get(content_id)
        if row is None:
            return []
        slots = np.flatnonzero(self.weights[row] > 0)
        if not len(slots):
            return []
        neighbours = self.neighbours[row, slots]
        usual = self.stretches / self.observed if self.observed else 1.0
        shrinkage = SHRINKAGE * usual * self.scale_at(self.latest)
        # Shrunk towards how often the neighbour is read anyway, not towards never; which few stretches do not tell.
        base = self.sums[neighbours] / (self.stretches + shrinkage)
        chances = (self.weights[row, slots] + shrinkage * base) / (self.sums[row] + shrinkage)
        best = np.argsort(-chances, kind="stable")[:limit]
        found = ((self.names[neighbours[index]], min(float(chances[index]), 1.0)) for index in best)
        return [(name, chance) for name, chance in found if name is not None]

    def forget(self, content_id: str) -> int:
        """Drop a content; return in how many rows it stood."""
        row = self.rows.get(content_id)
        if row is None:
            return 0
        stood = self.neighbours == row
        count = 1 + int(np.count_nonzero(stood))
        self._drop(np.array([row]), stood)
        return count

    def fill(
        self,
        names: Sequence[str],
        sums: npt.NDArray[np.float32],
        neighbours: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float32],
    ) -> None:
        """Take in whole rows, as far as there is room: the first ones, and of each the first slots.

        The table must be empty. `neighbours` are places in `names`, or -1.
        """
        for start in range(0, len(names), LONGEST_STRETCH):
            some = slice(start, start + LONGEST_STRETCH)
            taken = self._rows_of(names[some])  # which may make all arrays anew
            self.sums[taken] = sums[some]
            if self.given_up:
                break
        rows = np.full(len(names) + 1, _NOBODY, np.int32)
        for place, name in enumerate(names):
            rows[place] = self.rows.get(name, _NOBODY)
        places = np.flatnonzero(rows[:-1] != _NOBODY)
        mine, width = rows[places], min(neighbours.shape[1], self.slots)
        found = rows[neighbours[places, :width]]
        self.neighbours[mine, :width] = np.where(weights[places, :width] > 0, found, _NOBODY)
        self.weights[mine, :width] = np.where(found != _NOBODY, weights[places, :width], 0)

    def _rows_of(self, content_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        new = [content_id for content_id in content_ids if content_id not in self.rows]
        if new:
            wanted = sum(map(_id_cost, new))
            kept = frozenset(content_ids)
            while len(self._free) < len(new) or self.used_bytes + wanted > self.memory:
                if not self._make_room(len(new), wanted, kept):
                    break
            for content_id in new:
                self.place(content_id)
        return np.array([self.rows[content_id] for content_id in content_ids])

    def place(self, content_id: str) -> int:
        """Return the row of a content that has none yet, taking a free one."""
        if not self._free:
            self._add_rows(FIRST_ROWS)
        row = self._free.pop()
        self.rows[content_id] = row
        self.names[row] = content_id
        self._id_bytes += _id_cost(content_id)
        return row

    def _make_room(self, rows: int, id_bytes: int, kept: frozenset[str]) -> bool:
        """Grow, thin out the rows, or give up contents; whether anything could be done."""
        lacking = len(self._free) < rows
        step = max(len(self.names), FIRST_ROWS)
        # As if every row were taken: ids come later than their rows.
        grown = (len(self.names) + step) * (self.slots * CELL_BYTES + ID_OVERHEAD_BYTES) + self._id_bytes + id_bytes
        if lacking and grown - ID_OVERHEAD_BYTES * len(self.rows) <= self.memory:
            self._add_rows(step)
        elif self.slots > FEWEST_SLOTS:
            self._halve_slots()
        else:
            return self._give_up(kept)
        return True

    def _add_rows(self, count: int) -> None:
        first = len(self.names)
        self.neighbours = np.concatenate([self.neighbours, np.full((count, self.slots), _NOBODY, np.int32)])
        self.weights = np.concatenate([self.weights, np.zeros((count, self.slots), np.float32)])
        self.sums = np.concatenate([self.sums, np.zeros(count, np.float32)])
        self._places = np.full(first + count + 1, _NOBODY, np.int16)
        self.names += [None] * count
        self._free += range(first + count - 1, first - 1, -1)

    def _halve_slots(self) -> None:
        half = self.slots // 2
        heaviest = np.argpartition(-self.weights, half - 1, axis=1)[:, :half]
        self.neighbours = np.ascontiguousarray(np.take_along_axis(self.neighbours, heaviest, axis=1))
        self.weights = np.ascontiguousarray(np.take_along_axis(self.weights, heaviest, axis=1))

    def _give_up(self, kept: frozenset[str]) -> bool:
        taken = np.array([row for content_id, row in self.rows.items() if content_id not in kept], dtype=np.int64)
        if not len(taken):
            return False
        count = max(len(taken) // GIVEN_UP_SHARE, 1)
        doomed = taken[np.argpartition(self.sums[taken], count - 1)[:count]]
        self.given_up += count
        gone = np.zeros(len(self.names) + 1, bool)
        gone[doomed] = True
        self._drop(doomed, gone[self.neighbours])
        return True

    def _drop(self, rows: npt.NDArray[np.int64], stood: npt.NDArray[np.bool_]) -> None:
        self.weights[stood] = 0
        self.neighbours[stood] = _NOBODY
        self.weights[rows] = 0
        self.neighbours[rows] = _NOBODY
        self.sums[rows] = 0
        for row in rows.tolist():
            name = self.names[row]
            if name is not None:
                del self.rows[name]
                self.names[row] = None
                self._id_bytes -= _id_cost(name)
                self._free.append(row)

    def _admit(self, row: np.int64, newcomers: npt.NDArray[np.int64], gains: npt.NDArray[np.float32]) -> None:
        weights = self.weights[row]
        count = min(len(newcomers), self.slots)
        lightest = np.argpartition(weights, count - 1)[:count]
        held = weights[lightest]
        gains = gains[:count]
        enters = self._dice.random(count, np.float32) * (gains + held) < gains
        slots = lightest[enters]
        self.neighbours[row, slots] = newcomers[:count][enters]
        self.weights[row, slots] = (held + gains)[enters]


def _id_cost(content_id: str) -> int:
    return ID_OVERHEAD_BYTES + len(content_id) * (1 if content_id.isascii() else 4)
