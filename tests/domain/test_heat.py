"""Decayed rates: only added to, whatever the order, and the same whenever somebody looks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.heat import (
    DAY_MICROS,
    HEAT_DAYS,
    LARGEST_EXPONENT,
    AccessDay,
    AccessSummary,
    day_of,
    day_weights,
    needs_rescaling,
    rates,
    rescaling,
    weights,
)
from thermocline.domain.units import Timestamp

SINCE = Timestamp(1_700_000_000_000_000)
LONGEST_DAYS = LARGEST_EXPONENT * HEAT_DAYS[0]


def after(days: float, since: Timestamp = SINCE) -> Timestamp:
    return Timestamp(since + round(days * DAY_MICROS))


def sums_of(reads: list[tuple[float, int]], since: Timestamp = SINCE) -> list[float]:
    """What flushes of `(days after SINCE, reads)` add up to."""
    sums = [0.0] * len(HEAT_DAYS)
    for days, count in reads:
        for index, weight in enumerate(weights(after(days), since)):
            sums[index] += count * weight
    return sums


moments = st.floats(0, 1000, allow_nan=False)
flushes = st.lists(st.tuples(moments, st.integers(1, 10**6)), max_size=20)


@given(flushes, st.randoms(use_true_random=False))
def test_the_order_of_flushes_changes_nothing(reads: list[tuple[float, int]], dice: object) -> None:
    shuffled = list(reads)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' random.Random
    assert sums_of(shuffled) == pytest.approx(sums_of(reads), rel=1e-9)


@given(flushes, flushes)
def test_flushes_of_two_processes_add_up(one: list[tuple[float, int]], other: list[tuple[float, int]]) -> None:
    both = [mine + theirs for mine, theirs in zip(sums_of(one), sums_of(other), strict=True)]
    assert both == pytest.approx(sums_of(one + other), rel=1e-9)


@given(st.tuples(moments, st.integers(1, 10**6)), st.floats(0, 500))
def test_a_rate_is_what_decaying_from_the_read_on_gives(read: tuple[float, int], later: float) -> None:
    days, count = read
    found = rates(sums_of([read]), after(days + later), SINCE)
    assert found == pytest.approx([count * math.exp(-later / horizon) / horizon for horizon in HEAT_DAYS], rel=1e-6)


@pytest.mark.parametrize("per_day", [0.1, 1, 1000])
def test_steady_reads_show_their_rate(per_day: float) -> None:
    step = max(1 / per_day, 0.1)
    each = per_day * step
    sums = [0.0] * len(HEAT_DAYS)
    steps = round(10 * 80 / step)
    for number in range(1, steps + 1):
        for index, weight in enumerate(weights(after(number * step), SINCE)):
            sums[index] += each * weight
    found = rates(sums, after(steps * step), SINCE)
    for horizon, rate in zip(HEAT_DAYS, found, strict=True):
        if horizon <= 80:
            # Steps count as if all reads came at their end: off by half a step.
            assert rate == pytest.approx(per_day, rel=0.01 + step / horizon), horizon


@given(flushes, st.floats(0, LONGEST_DAYS), st.floats(0, 1000))
def test_rescaling_changes_no_rate(reads: list[tuple[float, int]], at: float, later: float) -> None:
    moment = after(max([at, *(days for days, _ in reads)]))
    before = rates(sums_of(reads), after(later, moment), SINCE)
    scaled = [total * factor for total, factor in zip(sums_of(reads), rescaling(moment, SINCE), strict=True)]
    assert rates(scaled, after(later, moment), moment) == pytest.approx(before, rel=1e-6, abs=1e-200)


@given(st.floats(0, 40_000))
def test_weights_are_rescaled_before_they_overflow(days: float) -> None:
    moment = after(days)
    assert needs_rescaling(moment, SINCE) is (days > LONGEST_DAYS)
    if not needs_rescaling(moment, SINCE):
        assert all(math.isfinite(10**18 * weight) for weight in weights(moment, SINCE))
    assert all(0 <= factor <= 1 for factor in rescaling(moment, SINCE))
    assert weights(moment, moment) == (1.0,) * len(HEAT_DAYS)


@given(st.floats(0, 40_000))
def test_a_clock_that_was_set_back_weighs_as_at_the_start(days: float) -> None:
    earlier = after(-days)
    assert weights(earlier, SINCE) == (1.0,) * len(HEAT_DAYS)
    assert rescaling(earlier, SINCE) == (1.0,) * len(HEAT_DAYS)
    assert not needs_rescaling(earlier, SINCE)
    assert rates([1.0] * len(HEAT_DAYS), earlier, SINCE) == tuple(1 / horizon for horizon in HEAT_DAYS)


@pytest.mark.parametrize(
    ("moment", "day"), [(0, 0), (DAY_MICROS - 1, 0), (DAY_MICROS, 1), (1_767_225_600_000_000, 20_454)]
)
def test_days_begin_at_midnight_in_utc(moment: int, day: int) -> None:
    assert day_of(Timestamp(moment)) == day


def test_a_summary_as_json() -> None:
    summary = AccessSummary(7, 3, Timestamp(0), (0.1234567, 2.0, 3.0, 4.0), (AccessDay(20_454, 4, 2, 1),))
    assert summary.as_dict() == {
        "reads_total": 7,
        "storage_reads": 3,
        "last_read_at": "1970-01-01T00:00:00.000000Z",
        "reads_per_day": {"5d": 0.123457, "20d": 2.0, "80d": 3.0, "320d": 4.0},
        "days": [{"day": "2026-01-01", "cache": 4, "storage": 2, "edge": 1}],
    }


@given(st.lists(st.integers(0, 1000), unique=True, min_size=1, max_size=20), st.floats(0, 0.999), st.integers(0, 500))
def test_a_day_with_storage_reads_is_weighed_at_its_start(days: list[int], begun: float, later: int) -> None:
    first = day_of(SINCE) + 1
    since = Timestamp(first * DAY_MICROS + round(begun * DAY_MICROS))  # in the middle of the first day
    added = [day_weights(first + day, since) for day in days]
    end = max(days) + 1 + later
    now = Timestamp((first + end) * DAY_MICROS)
    sums = [sum(each) for each in zip(*added, strict=True)]
    expected = [sum(math.exp((day - end) / horizon) for day in days) / horizon for horizon in HEAT_DAYS]
    assert rates(sums, now, since) == pytest.approx(expected, rel=1e-9)


def test_a_clock_that_was_set_back_makes_no_weight_of_a_day_vanish() -> None:
    for back in (1, 2, 10_000):
        smallest = [math.exp(-1 / horizon) for horizon in HEAT_DAYS]
        assert list(day_weights(day_of(SINCE) - back, SINCE)) == pytest.approx(smallest)
