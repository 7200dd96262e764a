"""A regression tree that tells objects apart by what comes of them: its leaves are the states of `chains`."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 40
"""So many values of a feature are told apart while a tree grows."""
MOST_DEPTH: Final = 9


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes as arrays. The first nodes are the roots, one for each silence."""

    features: NDArray[np.int8]
    """Which feature a node asks for; -1 at a leaf."""
    thresholds: NDArray[np.float32]
    """An object goes right if its value is above."""
    rights: NDArray[np.int16]
    """The right child; the left one is the node before it; a leaf is its own child."""
    states: NDArray[np.int16]
    """The number of a leaf among the leaves, -1 elsewhere."""
    silences: NDArray[np.int8]
    """Of each leaf."""
    depth: int

    @property
    def count(self) -> int:
        """Return how many leaves there are."""
        return len(self.silences)

    def reach(self, features: NDArray[np.float32], silences: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the state of each object."""
        is_leaf = self.features < 0
        count = features.shape[1]
        cells = np.ascontiguousarray(features).ravel()
        # A leaf asks the first feature, and stays where it is whatever the answer.
        begins = np.where(is_leaf, 0, self.features.astype(np.int64) * count)
        thresholds = np.where(is_leaf, np.float32(np.inf), self.thresholds)
        lefts = np.where(is_leaf, self.rights, self.rights - 1).astype(np.int64)
        nodes, everyone = silences.astype(np.int64), np.arange(count)
        for _ in range(self.depth):
            is_right = cells.take(begins.take(nodes) + everyone) > thresholds.take(nodes)
            nodes = lefts.take(nodes) + is_right
        return self.states.take(nodes)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a tree grows from: rows of features, their silences, what came of them, and what each row weighs."""

    features: NDArray[np.float32]
    silences: NDArray[np.int64]
    outcomes: NDArray[np.float64]
    """One row for each thing to be told."""
    weights: NDArray[np.float64]


def grow(sample: Sample, least_weights: NDArray[np.float64], *, least_gain: float) -> Tree:
    """Return a tree with a root for each of the `least_weights`, below which no leaf of that root weighs less.

    Each split explains at least `least_gain` of the spread of the outcomes.
    """
    return _Growth(sample, least_weights, least_gain).tree()


class _Growth:
    """Level by level, all nodes of a level at once."""

    def __init__(self, sample: Sample, least_weights: NDArray[np.float64], least_gain: float) -> None:
        roots = len(least_weights)
        self._edges = [_edges(row) for row in sample.features]
        self._bins = np.stack(
            [
                np.searchsorted(edges, row, side="left").astype(np.uint8)
                for edges, row in zip(self._edges, sample.features, strict=True)
            ]
        )
        self._sample = sample
        self._roots = roots
        self._least_weights = least_weights
        centered = sample.outcomes - np.average(sample.outcomes, axis=1, weights=sample.weights)[:, None]
        spread = (centered**2 * sample.weights).sum(axis=1)
        self._outcomes = centered / np.sqrt(np.maximum(spread, 1e-12))[:, None]
        self._least_gain = least_gain
        self._asked = [-1] * roots
        self._thresholds = [0.0] * roots
        self._rights = list(range(roots))
        self._silences = list(range(roots))

    def tree(self) -> Tree:
        nodes = self._sample.silences.astype(np.int64)
        level = np.arange(self._roots)
        depth = 0
        while len(level) and depth < MOST_DEPTH:
            splits = self._splits(nodes, level)
            if not splits:
                break
            depth += 1
            level = self._apply(nodes, splits)
        asked = np.array(self._asked, np.int8)
        is_leaf = asked < 0
        states = np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int16)
        return Tree(
            asked,
            np.array(self._thresholds, np.float32),
            np.array(self._rights, np.int16),
            states,
            np.array(self._silences, np.int8)[is_leaf],
            depth,
        )

    def _splits(self, nodes: NDArray[np.int64], level: NDArray[np.int64]) -> dict[int, tuple[int, int]]:
        """Return for each node of the level that is split its feature and the last bin that goes left."""
        within = np.searchsorted(level, nodes)
        within[within == len(level)] = 0
        (rows,) = np.nonzero(level[within] == nodes)
        local, weights = within[rows], self._sample.weights[rows]
        weighed = self._outcomes[:, rows] * weights
        best_gain = np.full(len(level), self._least_gain)
        least = self._least_weights[[self._silences[node] for node in level]][:, None]
        best: dict[int, tuple[int, int]] = {}
        size = len(level) * BINS
        for feature, bins in enumerate(self._bins):
            if not len(self._edges[feature]):
                continue
            cells = local * BINS + bins[rows]
            mass = np.bincount(cells, weights, size).reshape(len(level), BINS).cumsum(axis=1)
            whole = mass[:, -1:]
            left, right = mass[:, :-1], whole - mass[:, :-1]
            gain = np.zeros(left.shape)
            for row in weighed:
                sums = np.bincount(cells, row, size).reshape(len(level), BINS).cumsum(axis=1)
                total = sums[:, -1:]
                with np.errstate(divide="ignore", invalid="ignore"):
                    gain += sums[:, :-1] ** 2 / left + (total - sums[:, :-1]) ** 2 / right - total**2 / whole
            gain[(left < least) | (right < least)] = 0.0
            at = gain.argmax(axis=1)
            most = gain[np.arange(len(level)), at]
            for number in np.flatnonzero(most > best_gain):
                best_gain[number] = most[number]
                best[int(level[number])] = (feature, int(at[number]))
        return best

    def _apply(self, nodes: NDArray[np.int64], splits: dict[int, tuple[int, int]]) -> NDArray[np.int64]:
        begin = len(self._asked)
        feature_of = np.full(begin, -1)
        bin_of = np.zeros(begin, np.int64)
        right_of = np.zeros(begin, np.int64)
        for node in sorted(splits):
            feature, last_left = splits[node]
            feature_of[node], bin_of[node] = feature, last_left
            self._asked[node], self._thresholds[node] = feature, float(self._edges[feature][last_left])
            self._rights[node] = right_of[node] = len(self._asked) + 1
            for _ in range(2):
                self._rights.append(len(self._asked))
                self._asked.append(-1)
                self._thresholds.append(0.0)
                self._silences.append(self._silences[node])
        (rows,) = np.nonzero(feature_of[nodes] >= 0)
        here = nodes[rows]
        is_right = self._bins[feature_of[here], rows] > bin_of[here]
        nodes[rows] = right_of[here] - ~is_right
        return np.arange(begin, len(self._asked))


def _edges(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values that part the rows about evenly: a value in bin b is above edge b - 1, and at most edge b."""
    found = np.unique(np.quantile(row, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    return found[found < row.max()].astype(np.float32) if len(row) else np.zeros(0, np.float32)
