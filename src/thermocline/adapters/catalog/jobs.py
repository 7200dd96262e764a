"""Threads that serve jobs from a bounded queue.

Crossing between an event loop and a thread is what a small transaction costs most, so it is done once for many: jobs
of one turn of a loop are queued together, and their answers wake the loop together.
"""

import asyncio
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from thermocline.adapters.catalog.transactions import Transaction
from thermocline.domain.errors import BusyError, StorageError, UnavailableError
from thermocline.domain.units import Seconds

T = TypeVar("T")


class Job(Generic[T]):
    """One transaction that somebody waits for, its answer, and the loop that the answer goes to."""

    __slots__ = ("_ticket", "error", "function", "future", "is_settled", "latest", "loop", "max_wait", "value")

    def __init__(
        self,
        function: Transaction[T],
        loop: asyncio.AbstractEventLoop,
        latest: float,
        max_wait: Seconds | None = None,
    ) -> None:
        self.function = function
        self.max_wait = max_wait
        """How long it may wait for other processes; None: as long as all others."""
        self.loop = loop
        self.latest = latest
        """The loop's time at which the job is given up."""
        self.future: asyncio.Future[T] = loop.create_future()
        self.is_settled = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self._ticket = [None]

    def take(self) -> bool:
        """Whether the caller is the first: either the thread runs the job, or the timer gives it up."""
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def settle(self) -> None:
        """Answer whoever waits, if anybody still does. Called on the job's loop."""
        self.is_settled = True
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)  # type: ignore[arg-type]  # None is a T when there is no error
        else:
            self.future.set_exception(self.error)


class Server(Protocol):
    """What a thread does with jobs; made, used and closed in that thread."""

    @abstractmethod
    def serve(self, jobs: Sequence[Job[Any]]) -> None:
        """Set `value` or `error` of each job. If it raises, the effect of the jobs is unknown."""

    @abstractmethod
    def close(self) -> None:
        """Release what the server holds."""


class _Counter:
    """Where one event loop hands in its jobs; touched in that loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hand_in: Callable[[list[Job[Any]]], None]) -> None:
        self.loop = loop
        self.unsettled: deque[Job[Any]] = deque()
        """Jobs in order of arrival; settled ones leave when they come to the front."""
        self._hand_in = hand_in
        self._of_this_turn: list[Job[Any]] = []
        self.timer: asyncio.TimerHandle | None = None

    def add(self, job: Job[Any]) -> None:
        """Take a job, to be handed in with all others of this turn of the loop."""
        if not self._of_this_turn:
            self.loop.call_soon(self.flush)
        self._of_this_turn.append(job)
        self.unsettled.append(job)

    def flush(self) -> None:
        """Hand in what was taken since the last time."""
        jobs, self._of_this_turn = self._of_this_turn, []
        if jobs:
            self._hand_in(jobs)

    def forget_settled(self) -> None:
        """Let settled jobs go, as far as they are at the front."""
        unsettled = self.unsettled
        while unsettled and unsettled[0].is_settled:
            unsettled.popleft()


class JobThreads:
    """Serves jobs in order of arrival, each thread about `batch` at once; closing finishes what is queued.

    Raises `BusyError` when `capacity` jobs of one event loop are unanswered, or when one was not begun within
    `patience`; a job begun but not answered within `patience` is answered with `late_error`, and its effect is unknown.
    """

    def __init__(
        self,
        open_server: Callable[[], Server],
        *,
        name: str,
        threads: int,
        batch: int,
        capacity: int,
        patience: Seconds,
        late_error: Callable[[str], StorageError],
    ) -> None:
        self._open_server = open_server
        self._name = name
        self._batch = batch
        self._capacity = capacity
        self._patience = patience
        self._late_error = late_error
        self._queue: SimpleQueue[list[Job[Any]] | asyncio.Future[None]] = SimpleQueue()
        """Jobs, and at the end for each thread the future by which it says goodbye."""
        self._counters: WeakKeyDictionary[asyncio.AbstractEventLoop, _Counter] = WeakKeyDictionary()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{index}", daemon=True) for index in range(threads)
        ]
        self._starting: list[asyncio.Future[None]] = []
        self._refusing = False
        self._closed = False

    async def start(self) -> None:
        """Start the threads; raises what `open_server` raises in any of them."""
        loop = asyncio.get_running_loop()
        started = [loop.create_future() for _ in self._threads]
        self._starting = list(started)
        for thread in self._threads:
            thread.start()
        results = await asyncio.gather(*started, return_exceptions=True)
        for result in results:
            if result is not None:
                await self.aclose()
                raise result

    def submit(self, function: Transaction[T], max_wait: Seconds | None = None) -> asyncio.Future[T]:
        """Queue a job and return its answer to come. Raises `BusyError`."""
        if self._refusing:
            raise UnavailableError("the catalog is closed")
        loop = asyncio.get_running_loop()
        counter = self._counters.get(loop)
        if counter is None:
            counter = self._counters[loop] = _Counter(loop, self._hand_in)
        counter.forget_settled()
        if len(counter.unsettled) >= self._capacity:
            raise BusyError(f"{self._capacity} requests already wait for the catalog; try again")
        job = Job(function, loop, loop.time() + self._patience, max_wait)
        counter.add(job)
        if counter.timer is None:
            counter.timer = loop.call_at(job.latest, self._give_up_late_ones, counter)
        return job.future

    def _hand_in(self, jobs: list[Job[Any]]) -> None:
        if self._closed:
            self._refuse_closed(jobs)
        elif self._batch > 1:
            self._queue.put(jobs)
        else:  # several threads share them
            for job in jobs:
                self._queue.put([job])

    def refuse(self) -> None:
        """Take no more jobs."""
        self._refusing = True

    async def aclose(self) -> None:
        """Finish what is queued and join the threads. Idempotent."""
        self.refuse()
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        counter = self._counters.get(loop)
        if counter is not None:
            counter.flush()
        self._closed = True
        threads = [thread for thread in self._threads if thread.ident is not None]
        goodbyes = [loop.create_future() for _ in threads]
        for goodbye in goodbyes:
            self._queue.put(goodbye)
        await asyncio.gather(*goodbyes)
        for thread in threads:
            thread.join()
        self._refuse_the_rest()

    def _give_up_late_ones(self, counter: _Counter) -> None:
        """Give up what is overdue, and look again when the next job would be."""
        now = counter.loop.time()
        for job in list(counter.unsettled):
            if job.latest > now:
                break
            if not job.is_settled:
                self._give_up(job)
        counter.forget_settled()
        counter.timer = None
        if counter.unsettled:
            counter.timer = counter.loop.call_at(counter.unsettled[0].latest, self._give_up_late_ones, counter)

    def _give_up(self, job: Job[Any]) -> None:
        if job.take():
            job.error = BusyError(f"the catalog did not begin the request within {self._patience:g} s; try again")
        else:
            job.error = self._late_error(f"the catalog did not answer within {self._patience:g} s")
        job.settle()

    def _run(self) -> None:
        started = self._starting.pop()
        server: Server | None = None
        try:
            server = self._open_server()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, `start` raises it
            _post(started.get_loop(), _refuse, started, exc)
        else:
            _post(started.get_loop(), _accept, started)
        goodbye: asyncio.Future[None] | None = None
        while goodbye is None:
            jobs, goodbye = self._next_jobs()
            if jobs and server is not None:
                self._serve(server, jobs)
        if server is not None:
            server.close()
        _post(goodbye.get_loop(), _accept, goodbye)

    def _serve(self, server: Server, jobs: Sequence[Job[Any]]) -> None:
        try:
            server.serve(jobs)
        except BaseException as exc:  # noqa: BLE001 - the thread must outlive it, and nobody may wait for nothing
            for job in jobs:
                job.error = self._late_error(f"the catalog failed in the middle: {exc!r}")
                job.error.__cause__ = exc
        _answer(jobs)

    def _next_jobs(self) -> tuple[list[Job[Any]], asyncio.Future[None] | None]:
        """Wait for jobs; return them, and the goodbye if these are the last."""
        jobs: list[Job[Any]] = []
        while len(jobs) < self._batch:
            try:
                # Wait for the first only: the rest are those that came while the last group was at work.
                queued = self._queue.get(block=not jobs)
            except Empty:
                break
            if isinstance(queued, asyncio.Future):
                return jobs, queued
            jobs += [job for job in queued if job.take()]
        return jobs, None

    def _refuse_the_rest(self) -> None:
        """Answer jobs that another loop queued in the moment of closing."""
        while True:
            try:
                queued = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(queued, list):
                self._refuse_closed(queued)

    def _refuse_closed(self, jobs: Sequence[Job[Any]]) -> None:
        refused = [job for job in jobs if job.take()]
        for job in refused:
            job.error = UnavailableError("the catalog is closed")
        if refused:
            _answer(refused)


def _answer(jobs: Sequence[Job[Any]]) -> None:
    first = jobs[0].loop
    if all(job.loop is first for job in jobs):
        _post(first, _settle_all, jobs)
        return
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, group in by_loop.items():
        _post(loop, _settle_all, group)


def _settle_all(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.settle()


def _accept(started: asyncio.Future[None]) -> None:
    if not started.done():
        started.set_result(None)


def _refuse(started: asyncio.Future[None], error: BaseException) -> None:
    if not started.done():
        started.set_exception(error)


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
