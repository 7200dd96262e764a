"""Two threads do tasks from both ends: all are done once, progress is told one at a time, and failures end both."""

import signal
import threading
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from tests.economics.naive import random_history
from thermocline.economics.comparisons import Question, compare, steps_of
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.side_by_side import Tell, side_by_side

PATIENCE = 10.0


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _steps(count: int, result: str) -> Callable[[Tell], str]:
    def task(tell: Tell) -> str:
        for _ in range(count):
            tell(1)
        return result

    return task


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_tasks(count: int) -> None:
    told: list[int] = []
    results, other = side_by_side([_steps(3, str(each)) for each in range(count)], _steps(5, "other"), told.append)
    assert (results, other) == ([str(each) for each in range(count)], "other")
    assert sum(told) == 3 * count + 5


def test_the_second_thread_helps_from_the_last_task_on() -> None:
    helped = threading.Event()
    threads: dict[str, bool] = {}

    def first(_: Tell) -> None:
        assert helped.wait(PATIENCE), "nobody did the last task"

    def last(_: Tell) -> None:
        threads["last"] = _is_main()
        helped.set()

    side_by_side([first, last], lambda _: None, lambda _: None)
    assert threads == {"last": False}


def test_progress_is_never_told_by_two_at_once() -> None:
    second_tells, main_tells = threading.Event(), threading.Event()

    def progress(_: int) -> None:
        if _is_main():
            main_tells.set()
        else:
            second_tells.set()
            assert not main_tells.wait(0.3), "two tell at once"

    def main_task(tell: Tell) -> None:
        assert second_tells.wait(PATIENCE)
        tell(1)

    side_by_side([main_task], lambda tell: tell(1), progress)
    assert main_tells.is_set()


def _forever(tell: Tell) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        tell(1)
    pytest.fail("nothing ended it")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_failure_here_ends_the_second_one_and_begins_no_further_task(error: type[BaseException]) -> None:
    before = threading.active_count()
    later: list[Tell] = []

    def fails(_: Tell) -> None:
        raise error

    with pytest.raises(error):
        side_by_side([fails, later.append, later.append], _forever, lambda _: None)
    assert not later
    assert threading.active_count() == before


def test_a_failure_of_the_second_one_ends_this_one_and_is_what_is_raised() -> None:
    def fails(_: Tell) -> None:
        raise ZeroDivisionError

    for tasks, other in (([_forever], fails), ([_forever, fails], lambda _: None)):
        with pytest.raises(ZeroDivisionError):
            side_by_side(tasks, other, lambda _: None)


def test_an_interruption_while_only_the_second_one_works_ends_it() -> None:
    before, has_done_its_own = threading.active_count(), threading.Event()

    def interrupts(tell: Tell) -> None:
        assert has_done_its_own.wait(PATIENCE)
        signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGINT)
        _forever(tell)

    with pytest.raises(KeyboardInterrupt):
        side_by_side([lambda _: has_done_its_own.set()], interrupts, lambda _: None)
    assert threading.active_count() == before


@pytest.mark.parametrize("periods", [0, 4])
def test_a_comparison_tells_every_step(periods: int) -> None:
    history = random_history(np.random.default_rng(7), objects=5000, days=40, share=0.05)
    question = Question(chosen(shipped(), default_classes("s3")), ("stay", "age", "idle"), shipped(), periods=periods)
    told: list[int] = []
    outcomes = compare(history, question, progress=told.append).outcomes
    assert sum(told) == steps_of(question, history)
    assert tuple(outcomes) == question.policies
