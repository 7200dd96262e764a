"""Admission: everything while there is room; beyond that, what is read once stays out."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.cache_admission import _SAMPLED, PRESSURE, Admission

FULL = 1.0


def test_without_pressure_everything_comes_in() -> None:
    admission = Admission(window=100)
    assert all(admission.admits(f"k{number}", 10**number, pressure=PRESSURE - 0.01) for number in range(9))
    assert admission.refused == 0


def test_what_is_new_stays_out_and_comes_in_when_asked_for_again() -> None:
    admission = Admission()
    assert not admission.admits("a", 100, pressure=FULL)
    assert admission.admits("a", 100, pressure=FULL)
    assert admission.admits("a", 100, pressure=FULL)
    assert admission.refused == 1


def test_questions_without_pressure_count() -> None:
    admission = Admission()
    assert admission.admits("a", 100, pressure=0.0)
    assert admission.admits("a", 100, pressure=FULL)


def test_what_is_large_is_asked_for_more_often() -> None:
    admission = Admission()
    for number in range(5000):
        admission.admits(f"k{number}", 1000, pressure=FULL)
    for size, needed in ((1_000, 2), (7_000, 2), (30_000, 3), (90_000, 4)):
        asked = [admission.admits(f"of {size}", size, pressure=FULL) for _ in range(needed)]
        assert asked == [False] * (needed - 1) + [True]


@given(st.lists(st.sampled_from("abcdefghij"), max_size=300), st.integers(1, 50))
def test_what_was_asked_for_within_the_window_is_never_forgotten(keys: list[str], window: int) -> None:
    admission, last = Admission(window=window), deque[str](maxlen=window)
    for key in keys:
        if last.count(key):
            assert admission.admits(key, 100, pressure=FULL)
        else:
            admission.admits(key, 100, pressure=FULL)
        last.append(key)


def test_a_flood_of_what_is_read_once_is_kept_out_and_forgotten() -> None:
    admission = Admission(window=4096)
    came_in = sum(admission.admits(f"k{number}", 100, pressure=FULL) for number in range(50_000))
    assert came_in < 50_000 * 0.02, "only collisions"
    assert not admission.admits("k1", 100, pressure=FULL), "it was asked for too long ago"


def test_where_most_comes_back_what_is_new_comes_in_but_for_a_sample() -> None:
    admission, dice = Admission(window=4096), random.Random(1)
    new = [0, 0]
    for number in range(4000):
        key = f"k{number}"
        came_in = admission.admits(key, 100, pressure=FULL)
        if number > 2000:
            new[came_in] += 1
        if not came_in and dice.random() < 0.6:
            admission.admits(key, 100, pressure=FULL)
    assert new[False] / sum(new) < 2 / _SAMPLED
    assert new[False] > 0, "or it would never notice that this has changed"


def test_a_window_holds_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Admission(window=0)
