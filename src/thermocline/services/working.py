"""Periodic work: elected, jittered, visible, and stopped cleanly."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.domain.work import JobRun
from thermocline.ports.clock import Clock
from thermocline.ports.elections import Elections
from thermocline.ports.job_runs import JobRuns

log = structlog.get_logger(__name__)

JITTER = 0.2
ELECTION_LEASE = Seconds(60.0)
RENEWAL_SECONDS = Seconds(20.0)
"""How often a run that takes long extends its election."""
NOTE_SECONDS = Seconds(30.0)
"""How often the catalog is told of runs that went as the one before: jobs run up to once a second."""


@dataclass(slots=True)
class Job:
    """One piece of periodic work. `run` does a batch and returns how much; it is called again until that is 0.

    The counts are those of this process.
    """

    name: str
    every: Seconds
    run: Callable[[], Awaitable[int]]
    is_shared: bool = False
    """Whether every process runs it, without an election: the work is divided within it."""
    runs: int = 0
    done: int = 0
    failures: int = 0
    last_run: Timestamp | None = None
    last_success: Timestamp | None = None
    next_run: Timestamp | None = None
    last_error: str | None = None
    is_elsewhere: bool = False
    """Whether, the last time it was due, another process was elected."""
    stood: bool = False
    """Whether this process ever stood for election."""
    noted: JobRun | None = None
    """What the catalog knows of this process's runs, as sums since the start."""


@dataclass
class Worker:
    """Runs jobs until stopped, each by one process at a time unless it is shared.

    A job that fails is logged and tried again.
    """

    jobs: Sequence[Job]
    elections: Elections
    job_runs: JobRuns
    clock: Clock
    holder: str
    dice: random.Random = field(default_factory=random.Random)
    on_run: Callable[[Job, int], None] | None = None
    """Called after each run of this process, with how much it did."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    @property
    def is_running(self) -> bool:
        """Whether this process does the background work."""
        return bool(self._tasks)

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.get_running_loop().create_task(self._repeat(job)) for job in self.jobs]

    async def stop(self) -> None:
        """Cancel what is running (every job is safe to lose anywhere) and give up the elections won."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        for job in self.jobs:
            if not job.stood:
                continue  # a process that only reads must not wait for the catalog's writer
            try:
                await self._note(job, next_at=None)
                await self.elections.resign(job.name, self.holder)
            except StorageError as exc:
                log.warning("resignation_failed", job=job.name, error=str(exc))

    async def run_once(self, job: Job, *, next_in: Seconds | None = None) -> int:
        """Run one job until it finds nothing more, if this process is elected; return how much was done."""
        began, done, job.stood = self.clock.now(), 0, True
        is_elected, error = False, None
        try:
            while job.is_shared or await self.elections.win(job.name, self.holder, lease=ELECTION_LEASE):
                is_elected = True
                async with self._staying_elected(job):
                    step = await job.run()
                done += step
                if not step:
                    break
        except Exception as exc:
            job.failures += 1
            error = f"{type(exc).__name__}: {exc}"
            log.warning("job_failed", job=job.name, error=error, exc_info=not isinstance(exc, StorageError))
        job.is_elsewhere = not is_elected and error is None
        if job.is_elsewhere:
            return 0
        changed, job.last_error = job.last_error != error, error
        job.runs += 1
        job.done += done
        job.last_run = began
        job.last_success = began if error is None else job.last_success
        if changed or job.noted is None or began >= later(job.noted.ran_at, NOTE_SECONDS):
            with suppress(StorageError):  # whatever is not noted now is noted after a later run
                await self._note(job, next_at=None if next_in is None else later(self.clock.now(), next_in))
        if self.on_run is not None:
            self.on_run(job, done)
        return done

    async def _note(self, job: Job, *, next_at: Timestamp | None) -> None:
        before, ran_at = job.noted, job.last_run
        if ran_at is None or (before is not None and before.ran_at == ran_at):
            return
        failures = job.failures - (before.failures if before else 0)
        told = JobRun(
            name=job.name,
            holder=self.holder,
            ran_at=ran_at,
            next_at=next_at,
            failed_at=ran_at if failures else None,
            last_error=job.last_error,
            done=job.done - (before.done if before else 0),
            failures=failures,
        )
        sums = replace(told, done=job.done, failures=job.failures)
        await self.job_runs.note(told)
        job.noted = sums

    @asynccontextmanager
    async def _staying_elected(self, job: Job) -> AsyncIterator[None]:
        """Extend the election, if there is one, as long as the block takes."""
        if job.is_shared:
            yield
            return
        renewing = asyncio.get_running_loop().create_task(self._renew(job))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew(self, job: Job) -> None:
        while True:
            await self.clock.sleep(RENEWAL_SECONDS)
            with suppress(StorageError):  # two at once are wasteful, not wrong
                await self.elections.win(job.name, self.holder, lease=ELECTION_LEASE)

    async def _repeat(self, job: Job) -> None:
        delay = self._jittered(job.every)
        while True:
            job.next_run = later(self.clock.now(), delay)
            await self.clock.sleep(delay)
            delay = self._jittered(job.every)
            await self.run_once(job, next_in=delay)

    def _jittered(self, every: Seconds) -> Seconds:
        return Seconds(every * (1 + JITTER * self.dice.uniform(-1, 1)))
