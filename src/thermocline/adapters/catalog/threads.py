"""Threads for what happens once: opening, looking, upgrading."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Return what `function()` returns, run in a thread of its own: the loop's default executor is nobody's."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None is a T when there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised to the caller
            error = exc
        loop.call_soon_threadsafe(settle, result, error)

    thread = threading.Thread(target=run, name="catalog-opening", daemon=True)
    thread.start()
    try:
        return await done
    finally:
        thread.join()
