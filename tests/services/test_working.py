"""Background work: by one process at a time, until nothing is left, and no failure ends it for good."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.errors import ConfigurationError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.services.working import ELECTION_LEASE, Job, Worker


def worker(store: StorageOrchestrator, run: Callable[[], Awaitable[int]], *, holder: str = "here") -> Worker:
    adapters = store.services.adapters
    jobs = (Job("job", Seconds(10.0), run),)
    return Worker(jobs, adapters.catalog.elections, adapters.clock, holder, dice=random.Random(0))


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
