"""Two tasks at once, in threads: numpy lets go of the interpreter, and memory is that of two."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Lock
from typing import TypeVar

Tell = Callable[[int], None]
"""Is told how many steps are done."""
_Result = TypeVar("_Result")
_Other = TypeVar("_Other")


class _NotWantedAnyMoreError(Exception):
    """Ends a task whose result nobody waits for."""


def side_by_side(
    tasks: Sequence[Callable[[Tell], _Result]], other: Callable[[Tell], _Other], progress: Tell
) -> tuple[list[_Result], _Other]:
    """Return what the tasks return, and the other one: this thread does them from the first on.

    A second thread does the other one, and then helps with those from the last on. `progress` is never called by both
    at once. If a task fails or this thread is interrupted, the second one ends where it next tells a step, no further
    task begins, and what was raised first is raised.
    """
    results: dict[int, _Result] = {}
    waiting, is_over, telling = deque(enumerate(tasks)), Event(), Lock()

    def tell(steps: int) -> None:
        if is_over.is_set():
            raise _NotWantedAnyMoreError
        with telling:
            progress(steps)

    def do(take: Callable[[], tuple[int, Callable[[Tell], _Result]]]) -> None:
        try:
            while waiting and not is_over.is_set():
                try:
                    number, task = take()
                except IndexError:  # the other thread was faster
                    return
                results[number] = task(tell)
        except BaseException:
            is_over.set()
            raise

    def second() -> _Other:
        try:
            done = other(tell)
        except BaseException:
            is_over.set()
            raise
        do(waiting.pop)
        return done

    with ThreadPoolExecutor(1) as pool:
        try:
            beside = pool.submit(second)
            with suppress(_NotWantedAnyMoreError):  # the second one says why
                do(waiting.popleft)
            done = beside.result()
        except BaseException:
            is_over.set()
            raise
    return [results[number] for number in range(len(tasks))], done
