"""Blocking calls (pipes, terminals, slow disks) off the event loop, in a thread that never keeps the process alive.

The default executor's threads are waited for at exit: one that blocks in reading a terminal would turn Ctrl-C
into a hang.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class BlockingThread:
    """Runs calls one after another, in order, in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="thermocline-blocking", daemon=True).start()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return `function(*arguments)`, run in the thread. A cancelled call goes on until it ends by itself."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((done, lambda: function(*arguments)))
        return await done

    async def finish(self) -> None:
        """Return when the calls under way have ended; the thread ends too. Only where they are sure to end."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._calls.put((done, lambda: None))
        self._calls.put(None)
        await asyncio.shield(done)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            done, function = item
            try:
                result, failure = function(), None
            except BaseException as exc:  # noqa: BLE001 - handed to whoever waits
                result, failure = None, exc
            # The loop is closed when the process is ending: then nobody waits any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, done, result, failure)


def _settle(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(result)
    else:
        done.set_exception(failure)
