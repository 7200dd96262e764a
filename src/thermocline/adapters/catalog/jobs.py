"""Threads that serve jobs from a bounded queue, waking each event loop once for many answers."""

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from thermocline.adapters.catalog.transactions import Transaction
from thermocline.domain.errors import BusyError, StorageError, UnavailableError
from thermocline.domain.units import Seconds

T = TypeVar("T")


class Job(Generic[T]):
    """One transaction that somebody waits for, its answer, and the loop that the answer goes to."""

    __slots__ = ("_ticket", "error", "function", "future", "loop", "timer", "value")

    def __init__(self, function: Transaction[T], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
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
        if self.timer is not None:
            self.timer.cancel()
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


class JobThreads:
    """Serves jobs in order of arrival, each thread up to `batch` at once; closing finishes what is queued.

    Raises `BusyError` when `capacity` jobs wait, or when one was not begun within `patience`; a job begun but not
    answered within `patience` is answered with `late_error`, and its effect is unknown.
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
        self._queue: SimpleQueue[Job[Any] | asyncio.Future[None]] = SimpleQueue()
        """Jobs, and at the end for each thread the future by which it says goodbye."""
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

    def submit(self, function: Transaction[T]) -> asyncio.Future[T]:
        """Queue a job and return its answer to come. Raises `BusyError`."""
        if self._refusing:
            raise UnavailableError("the catalog is closed")
        if self._queue.qsize() >= self._capacity:
            raise BusyError(f"{self._capacity} requests already wait for the catalog; try again")
        loop = asyncio.get_running_loop()
        job = Job(function, loop)
        job.timer = loop.call_later(self._patience, self._give_up, job)
        self._queue.put(job)
        return job.future

    def refuse(self) -> None:
        """Take no more jobs."""
        self._refusing = True

    async def aclose(self) -> None:
        """Finish what is queued and join the threads. Idempotent."""
        self.refuse()
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        threads = [thread for thread in self._threads if thread.ident is not None]
        goodbyes = [loop.create_future() for _ in threads]
        for goodbye in goodbyes:
            self._queue.put(goodbye)
        await asyncio.gather(*goodbyes)
        for thread in threads:
            thread.join()
        self._refuse_the_rest()

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
                job = self._queue.get(block=not jobs)
            except Empty:
                break
            if isinstance(job, asyncio.Future):
                return jobs, job
            if job.take():
                jobs.append(job)
        return jobs, None

    def _refuse_the_rest(self) -> None:
        """Answer jobs that another loop queued in the moment of closing."""
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(job, Job) and job.take():
                job.error = UnavailableError("the catalog is closed")
                _answer([job])


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
