"""Periodic work: elected, jittered, visible, and stopped cleanly."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.ports.clock import Clock
from thermocline.ports.elections import Elections

log = structlog.get_logger(__name__)

JITTER = 0.2
ELECTION_LEASE = Seconds(60.0)


@dataclass(slots=True)
class Job:
    """One piece of periodic work. `run` does a batch and returns how much; it is called again until that is 0."""

    name: str
    every: Seconds
    run: Callable[[], Awaitable[int]]
    runs: int = 0
    done: int = 0
    failures: int = 0
    last_run: Timestamp | None = None
    next_run: Timestamp | None = None
    last_error: str | None = None


@dataclass
class Worker:
    """Runs jobs until stopped, each by one process at a time. A job that fails is logged and tried again."""

    jobs: Sequence[Job]
    elections: Elections
    clock: Clock
    holder: str
    dice: random.Random = field(default_factory=random.Random)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)

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
            if job.last_run is None:
                continue  # never stood for election: a process that only reads must not wait for the catalog's writer
            try:
                await self.elections.resign(job.name, self.holder)
            except StorageError as exc:
                log.warning("resignation_failed", job=job.name, error=str(exc))

    async def run_once(self, job: Job) -> int:
        """Run one job until it finds nothing more, if this process is elected; return how much was done."""
        done = 0
        job.last_run = self.clock.now()
        try:
            while await self.elections.win(job.name, self.holder, lease=ELECTION_LEASE):
                step = await job.run()
                done += step
                if not step:
                    break
        except Exception as exc:
            job.failures += 1
            job.last_error = f"{type(exc).__name__}: {exc}"
            log.warning("job_failed", job=job.name, error=job.last_error, exc_info=not isinstance(exc, StorageError))
        else:
            job.last_error = None
        job.runs += 1
        job.done += done
        return done

    async def _repeat(self, job: Job) -> None:
        while True:
            delay = Seconds(job.every * (1 + JITTER * self.dice.uniform(-1, 1)))
            job.next_run = later(self.clock.now(), delay)
            await self.clock.sleep(delay)
            await self.run_once(job)
