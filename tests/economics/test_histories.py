"""Accesses in any order and any batches become the same columns."""

import numpy as np
import pytest

from thermocline.domain.errors import InvalidInputError
from thermocline.economics import histories
from thermocline.economics.histories import SECONDS_PER_DAY, HistoryBuilder, history_of

DAY = SECONDS_PER_DAY


def test_reads_are_counted_per_object_and_utc_day() -> None:
    history = history_of([3 * DAY - 1, 3 * DAY, 3 * DAY + 5, 7 * DAY], [0, 0, 0, 1], [10, 20, 5, 7])
    assert (history.origin, history.days, history.object_count) == (2, 6, 2)
    assert history.objects.tolist() == [0, 0, 1]
    assert history.read_days.tolist() == [0, 1, 5]
    assert history.counts.tolist() == [1, 2, 1]
    assert history.sizes.tolist() == [20, 7], "the largest that was seen"
    assert history.first_day.tolist() == [0, 5]
    assert history.offsets.tolist() == [0, 2, 3]


@pytest.mark.parametrize("seed", range(10))
def test_neither_order_nor_batches_matter(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MERGE_AT", 300)
    draws = np.random.default_rng(seed)
    count = 3000
    seconds = draws.uniform(1e9, 1e9 + 200 * DAY, count)
    objects = draws.integers(0, 40, count).astype(np.int32)
    objects[:40] = np.arange(40)
    sizes = draws.integers(0, 10**12, count)
    whole = history_of(seconds, objects, sizes)
    order = draws.permutation(count)
    builder = HistoryBuilder()
    for part in np.array_split(order, 17):
        builder.add(seconds[part], objects[part], sizes[part])
    parts = builder.build()
    assert (whole.origin, whole.days) == (parts.origin, parts.days)
    for name in ("sizes", "first_day", "objects", "read_days", "counts"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert parts.counts.sum() == count
    assert (np.diff(parts.keys) > 0).all()


def test_the_past_knows_nothing_of_later_objects() -> None:
    history = history_of([0, 5 * DAY, 9 * DAY], [0, 1, 1], [100, 200, 300])
    past = history.before(5)
    assert past.days == 5
    assert past.objects.tolist() == [0]
    assert past.sizes.tolist() == [100, 0]
    assert past.first_day.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("days", "split", "first"), [(374, 0.5, 187), (4, 0.5, 2), (1, 0.5, 0), (10, 0, 0), (3, 0.9, 2)]
)
def test_the_split_is_a_day(days: int, split: float, first: int) -> None:
    assert history_of([0, (days - 1) * DAY], [0, 0], [1, 1]).split_day(split) == first


@pytest.mark.parametrize("split", [-0.1, 1, 2, float("nan")])
def test_splits_that_are_none_are_refused(split: float) -> None:
    with pytest.raises(InvalidInputError, match="a split is"):
        history_of([0], [0], [1]).split_day(split)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e15])
def test_times_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(InvalidInputError, match="in seconds since 1970"):
        history_of([seconds], [0], [1])


def test_a_clock_that_jumped_is_told() -> None:
    with pytest.raises(InvalidInputError, match=r"span 138 years, from 1970-01-01 to 2107-.*a clock jumped"):
        history_of([0, 50_250 * DAY], [0, 0], [1, 1])


def test_nothing_is_no_history() -> None:
    with pytest.raises(InvalidInputError, match="no accesses"):
        HistoryBuilder().build()
    with pytest.raises(InvalidInputError, match="not negative"):
        history_of([1], [0], [-1])
