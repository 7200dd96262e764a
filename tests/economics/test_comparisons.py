"""The optimum is solved beside the replays: what is told of progress, and what an interruption leaves behind."""

import threading

import numpy as np
import pytest

from tests.economics.naive import random_history
from thermocline.economics.comparisons import Question, compare, steps_of
from thermocline.economics.histories import History
from thermocline.economics.price_books import chosen, default_classes, shipped

POLICIES = ("stay", "age", "idle")


def _history() -> History:
    return random_history(np.random.default_rng(7), objects=5000, days=40, share=0.05)


def _question(*policies: str, periods: int = 0) -> Question:
    return Question(chosen(shipped(), default_classes("s3")), policies, shipped(), periods=periods)


@pytest.mark.parametrize("periods", [0, 4])
def test_progress_is_told_of_every_step_and_never_by_two_at_once(periods: int) -> None:
    history, question, told = _history(), _question(*POLICIES, periods=periods), 0
    first_of_optimum, beside_it = threading.Event(), threading.Event()

    def tell(steps: int) -> None:
        nonlocal told
        if threading.current_thread() is threading.main_thread():
            beside_it.set()
        elif not first_of_optimum.is_set():
            first_of_optimum.set()
            beside_it.clear()
            assert not beside_it.wait(0.3), "two threads tell at once"
        told += steps

    compare(history, question, progress=tell)
    assert told == steps_of(question, history)


@pytest.mark.parametrize("after", [1, 30, 60, 119])
def test_an_interruption_ends_both_and_leaves_no_thread(after: int) -> None:
    before, calls = threading.active_count(), 0

    def interrupted(_: int) -> None:
        nonlocal calls
        if threading.current_thread() is threading.main_thread():
            calls += 1
            if calls == after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(_history(), _question(*POLICIES), progress=interrupted)
    assert calls == after
    assert threading.active_count() == before


def test_what_fails_in_the_optimum_fails_the_comparison() -> None:
    def failing(_: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compare(_history(), _question("stay"), progress=failing)
