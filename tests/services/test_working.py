"""Background work: by one process at a time, until nothing is left, and no failure ends it for good."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.errors import ConfigurationError, UnavailableError
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import JobRun, JobTotals
from thermocline.services.working import ELECTION_LEASE, NOTE_SECONDS, Job, Worker


def worker(store: StorageOrchestrator, run: Callable[[], Awaitable[int]], *, holder: str = "here") -> Worker:
    adapters = store.services.adapters
    jobs = (Job("job", Seconds(10.0), run),)
    catalog = adapters.catalog
    return Worker(jobs, catalog.elections, catalog.job_runs, adapters.clock, holder, dice=random.Random(0))


async def until(machine: Machine, done: Callable[[], bool]) -> None:
    """Let time pass, and as much real time as the hops to the catalog's threads take, until `done`."""
    for _ in range(10_000):
        if done():
            return
        await machine.clock.run_for(1)
        await asyncio.sleep(0.001)
    pytest.fail("it never came to that")


FAILURES: tuple[Any, ...] = (
    UnavailableError("down"),
    ConfigurationError("a placement is missing"),
    RuntimeError("a bug"),
    KeyError("k"),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_job_that_fails_is_counted_and_tried_again(tmp_path: Path, failure: Exception) -> None:
    errors: list[str | None] = []

    async def scenario() -> None:
        machine = Machine(tmp_path)
        ran = 0

        async def fail_once() -> int:
            nonlocal ran
            ran += 1
            if ran == 1:
                raise failure
            return 0

        async with machine.process() as store:
            working = worker(store, fail_once)
            (job,) = working.jobs
            working.start()
            await until(machine, lambda: job.runs == 1)
            assert (ran, job.failures) == (1, 1)
            errors.append(job.last_error)
            await until(machine, lambda: job.runs > 1)
            assert ran > 1
            assert job.failures == 1
            errors.append(job.last_error)
            await working.stop()

    with structlog.testing.capture_logs() as events:
        asyncio.run(scenario())
    assert [event["event"] for event in events] == ["job_failed"]
    assert errors == [f"{type(failure).__name__}: {failure}", None]


def test_a_shared_job_runs_in_every_process_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        both = asyncio.Barrier(2)

        async def meet() -> int:
            await both.wait()
            return 0

        async with machine.process() as store:
            for _ in range(2):
                workers = [worker(store, meet, holder=holder) for holder in ("here", "there")]
                for working in workers:
                    working.jobs[0].is_shared = True
                await asyncio.wait_for(asyncio.gather(*(each.run_once(each.jobs[0]) for each in workers)), 10.0)
                assert [(each.jobs[0].runs, each.jobs[0].is_elsewhere) for each in workers] == [(1, False)] * 2
                for working in workers:
                    await working.stop()

    asyncio.run(scenario())


def test_a_job_runs_until_nothing_is_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        left = [3, 2, 1, 0, 9]

        async def batch() -> int:
            return left.pop(0)

        async with machine.process() as store:
            working = worker(store, batch)
            assert await working.run_once(working.jobs[0]) == 6
            assert left == [9]
            assert working.jobs[0].done == 6

    asyncio.run(scenario())


def test_one_process_at_a_time_and_the_next_when_it_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        ran: list[str] = []

        async with machine.process() as here, machine.process() as there:

            async def at(name: str) -> int:
                ran.append(name)
                return 0

            first = worker(here, lambda: at("here"), holder="here")
            second = worker(there, lambda: at("there"), holder="there")
            assert (await first.run_once(first.jobs[0]), await second.run_once(second.jobs[0])) == (0, 0)
            assert ran == ["here"]
            await first.stop()
            await second.run_once(second.jobs[0])
            assert ran == ["here", "there"], "the first gave its election up"
            await first.run_once(first.jobs[0])
            assert ran == ["here", "there"]
            machine.clock.advance(ELECTION_LEASE)
            await first.run_once(first.jobs[0])
            assert ran == ["here", "there", "here"], "the second was silent for too long"

    asyncio.run(scenario())


def test_stopping_cancels_what_runs_and_needs_no_catalog(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        begun = asyncio.Event()

        async def hang() -> int:
            begun.set()
            await asyncio.Event().wait()
            return 0

        async with machine.process() as store:
            idle = worker(store, hang, holder="idle")
            working = worker(store, hang)
            working.start()
            await until(machine, begun.is_set)

            async def down(name: str, holder: str) -> None:
                raise UnavailableError(f"down: {name} of {holder}")

            store.services.adapters.catalog.elections.resign = down  # type: ignore[method-assign]
            await asyncio.wait_for(working.stop(), 10)

            async def must_not(name: str, holder: str) -> None:
                pytest.fail("it never stood for election")

            store.services.adapters.catalog.elections.resign = must_not  # type: ignore[method-assign]
            await idle.stop()

    asyncio.run(scenario())


def test_other_processes_see_when_a_job_ran_and_how_it_went(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        outcomes: list[int | Exception] = [5, 0, 2, 0, UnavailableError("down"), 1, 0]

        async def run() -> int:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        async with machine.process() as here, machine.process() as there:
            working = worker(here, run)
            (job,) = working.jobs
            runs = there.services.adapters.catalog.job_runs

            async def seen() -> JobTotals:
                return (await runs.all())["job"]

            began = machine.clock.now()
            await working.run_once(job, next_in=Seconds(10))
            assert await seen() == JobTotals("here", began, later(began, Seconds(10)), None, None, 5, 0)
            machine.clock.advance(1)
            await working.run_once(job)
            assert (await seen()).ran_at == began, "not again for a run that went like the last"
            machine.clock.advance(1)
            failed_at = machine.clock.now()
            await working.run_once(job)
            assert await seen() == JobTotals(
                "here", failed_at, None, failed_at, "UnavailableError: down", done=7, failures=1
            )
            machine.clock.advance(1)
            await working.run_once(job)
            shown = await seen()
            assert (shown.last_error, shown.failed_at, shown.done, shown.failures) == (None, failed_at, 8, 1)
            machine.clock.advance(1)
            outcomes[:] = [4, 0]
            await working.run_once(job)
            await working.stop()
            assert (await seen()).done == 12, "what is not noted yet is noted at the end"
            assert (await seen()).ran_at == job.last_run
            await working.stop()
            assert (await seen()).done == 12

    asyncio.run(scenario())


def test_steady_runs_are_noted_now_and_then(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)

        async def nothing() -> int:
            return 0

        async with machine.process() as store:
            working = worker(store, nothing)
            noted: list[JobRun] = []
            note = working.job_runs.note

            async def watch(run: JobRun) -> None:
                noted.append(run)
                await note(run)

            working.job_runs.note = watch  # type: ignore[method-assign]
            for _ in range(90):
                await working.run_once(working.jobs[0])
                machine.clock.advance(1)
            assert len(noted) == 90 / NOTE_SECONDS

    asyncio.run(scenario())


def test_a_catalog_that_takes_no_notes_stops_no_job_and_is_told_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)

        async def one() -> int:
            return next(outcomes)

        outcomes = itertools.cycle([1, 0])
        async with machine.process() as store:
            working = worker(store, one)
            (job,) = working.jobs
            note = working.job_runs.note

            async def down(run: JobRun) -> None:
                raise UnavailableError(run.name)

            working.job_runs.note = down  # type: ignore[method-assign]
            assert await working.run_once(job) == 1
            assert (job.runs, job.failures, job.last_error) == (1, 0, None)
            working.job_runs.note = note  # type: ignore[method-assign]
            await working.run_once(job)
            assert (await working.job_runs.all())["job"].done == 2

    asyncio.run(scenario())


def test_a_run_that_takes_long_stays_elected(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        begun, may_end = asyncio.Event(), asyncio.Event()
        elsewhere = 0

        async def long() -> int:
            begun.set()
            await may_end.wait()
            return 0

        async def short() -> int:
            nonlocal elsewhere
            elsewhere += 1
            return 0

        async with machine.process() as here, machine.process() as there:
            working = worker(here, long, holder="here")
            waiting = worker(there, short, holder="there")
            running = asyncio.ensure_future(working.run_once(working.jobs[0]))
            await begun.wait()
            for _ in range(5):
                await machine.clock.run_for(ELECTION_LEASE / 2)
                # Behind the renewal, which goes through the same writer.
                await here.services.adapters.catalog.elections.win("barrier", "here", lease=ELECTION_LEASE)
                await waiting.run_once(waiting.jobs[0])
                assert waiting.jobs[0].is_elsewhere
            assert (elsewhere, waiting.jobs[0].runs, waiting.jobs[0].last_run) == (0, 0, None)
            may_end.set()
            await running
            machine.clock.advance(ELECTION_LEASE)
            await waiting.run_once(waiting.jobs[0])
            assert (elsewhere, waiting.jobs[0].is_elsewhere) == (1, False)

    asyncio.run(scenario())
