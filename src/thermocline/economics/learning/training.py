"""From a past to a model: the states that its objects went through, what followed on them, and what that is worth."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.units import Usd
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.learning.chains import Chain, Values, solve
from thermocline.economics.learning.models import Model
from thermocline.economics.learning.observed import SILENCES
from thermocline.economics.learning.pasts import Past, past_of
from thermocline.economics.learning.terms import Terms
from thermocline.economics.learning.trees import Sample, Tree, grow
from thermocline.economics.sheets import cost_sheet

SIZES: Final = np.array([2**power for power in (16, 18, 20, 22, 24, 26, 29)], np.int64)
"""Bytes for which decisions are worked out. Below the first nothing moves where moves have fees; above the last their
share no longer matters."""
MOST_OBJECTS: Final = 200_000
MOST_ROWS: Final = 2_000_000
"""Objects times days. Of more, a sample of the objects is learned from."""
MOST_GROWN: Final = 200_000
"""Rows that the tree grows from."""
LEAST_SHARE: Final = 1 / 120
"""Of the rows of a silence, in each leaf."""
LEAST_ROWS: Final = 100
"""In each leaf."""
LEAST_GAIN: Final = 5e-5
"""Of the spread of the outcomes, that a split explains."""
PRIOR_DAYS: Final = 1.0
"""Of an object: so much evidence each state has at first, of what is usual after its silence. It is there for states
without any: thirty days made states of few objects alike, and cost 1% to 6% with a thousand objects."""
FEW_DAYS: Final = 1000
"""Of all objects together. A silence with fewer, and fewer than a tenth of the one before, is taken to go on as that
one: in a past of 91 days there are two on which objects can have been silent for 90."""
SEED: Final = 20_261_128
"""Of the samples: the same past, the same model."""


def train(history: History, classes: Sequence[ClassPrices], *, delayed_read: Usd = Usd(0.0)) -> Model:
    """Return what the history teaches about these classes; places in the model are places among them.

    Everything in the history counts as past. Objects are sampled above `MOST_OBJECTS` and `MOST_ROWS`, so time and
    memory are bounded: some seconds, some hundred MiB.
    """
    rng = np.random.default_rng(SEED)
    past = past_of(sampled(history, rng))
    tree = _grown(past, rng)
    chain = Chain(_transitions(past, tree), tree.silences)
    terms = Terms.of(cost_sheet(classes, SIZES, delayed_read=delayed_read), tree.silences)
    return _model(classes, tree, terms, solve(chain, terms))


def sampled(history: History, rng: np.random.Generator, most_objects: int = MOST_OBJECTS) -> History:
    """Return the history of the objects that had been seen, of a sample of them where there are too many."""
    (seen,) = np.nonzero(history.first_day < history.days)
    rows = int((history.days - history.first_day[seen]).sum())
    most = int(min(most_objects, len(seen) * MOST_ROWS / max(rows, MOST_ROWS)))
    if most < len(seen):
        seen = np.sort(rng.choice(seen, most, replace=False))
    number = np.full(history.object_count, -1, np.int32)
    number[seen] = np.arange(len(seen), dtype=np.int32)
    kept = number[history.objects] >= 0
    return History(
        history.origin,
        history.days,
        history.sizes[seen],
        history.first_day[seen],
        number[history.objects[kept]],
        history.read_days[kept],
        history.counts[kept],
    )


def _grown(past: Past, rng: np.random.Generator) -> Tree:
    """Return a tree that grew from as many rows of each silence, as far as there are so many.

    Most rows are of objects that have long been silent. But what becomes of an object is decided in the days after a
    read, and seldom-read ones have few of those: with their natural share they would all be one state.
    """
    most = MOST_GROWN // (len(SILENCES) + 1)
    known = past.exposure > 0
    parts, weights, least = [], [], []
    for silence in range(len(SILENCES) + 1):
        (mine,) = np.nonzero(known & (past.silences == silence))
        if len(mine) > most:
            mine = rng.choice(mine, most, replace=False)
        parts.append(mine)
        total = past.exposure[mine].sum()
        weights.append(past.exposure[mine] / max(total, 1.0))
        least.append(max(LEAST_SHARE, LEAST_ROWS / max(len(mine), 1)))
    rows = np.concatenate(parts)
    sample = Sample(past.features[:, rows], past.silences[rows], past.outcomes[:, rows], np.concatenate(weights))
    return grow(sample, np.array(least), least_gain=LEAST_GAIN)


def _transitions(past: Past, tree: Tree) -> NDArray[np.float64]:
    """Return the probability of each state after each."""
    count = tree.count
    states = tree.reach(past.features, past.silences).astype(np.int64)
    followed = np.zeros(count * count)
    for begin, end in zip(past.begins[:-2], past.begins[1:-1], strict=True):
        pairs = states[begin:end] * count + states[end : 2 * end - begin]
        followed += np.bincount(pairs, minlength=count * count)
    square = followed.reshape(count, count)
    usual = np.zeros(count)
    usual[0] = 1.0
    known = 0.0
    for silence in range(len(SILENCES) + 1):
        (mine,) = np.nonzero(tree.silences == silence)
        pooled = square[mine].sum(axis=0)
        if pooled.sum() > min(FEW_DAYS, known / 10):
            known = pooled.sum()
            usual = pooled / known
        else:
            square[mine] = 0.0
        square[mine] += PRIOR_DAYS * usual
    chance: NDArray[np.float64] = square / square.sum(axis=1, keepdims=True)
    return chance


def _model(classes: Sequence[ClassPrices], tree: Tree, terms: Terms, values: Values) -> Model:
    places = range(len(classes))
    least = [values.going[place].min(axis=0)[:, None, :] + terms.rest[place] for place in places]
    gains = np.concatenate([values.staying[place] - least[place] for place in places], axis=1)
    targets = np.stack([values.going[place].argmin(axis=0) for place in places], axis=1)
    return Model(
        tuple(prices.name for prices in classes),
        SIZES,
        tree,
        np.array(terms.steps),
        targets.astype(np.int8),
        gains.astype(np.float32),
    )
