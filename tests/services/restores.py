"""What tests of restores share."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.machine import SETTINGS, Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.restores import RestoreStage
from thermocline.services.reading import ReadingService

HOUR, DAY = 3600.0, 86400.0


READABLE, REQUESTED, ARCHIVED = RestoreStage.READABLE, RestoreStage.REQUESTED, RestoreStage.ARCHIVED


SIZE = 10**6


BODY = bytes(SIZE)


def machine(folder: Path, **restore: Any) -> Machine:
    """A machine whose `[restore]` settings are these."""
    given = SETTINGS.model_dump(mode="json", exclude_unset=True)
    given["restore"] = {**given["restore"], **restore}
    return Machine(folder, settings=Settings.model_validate(given))


def requests(machine: Machine) -> tuple[int, Any]:
    """How many restores were charged, and how much."""
    with closing(sqlite3.connect(machine.database)) as raw:
        count, spent = raw.execute("SELECT sum(requests), sum(spent_usd) FROM restore_days").fetchone()
    return count or 0, spent or 0.0


def reading(store: StorageOrchestrator) -> ReadingService:
    return store.services.reading


async def put(store: StorageOrchestrator, body: bytes = b"body", content_id: str = "a") -> str:
    return (await store.store_content(content_id, body, initial_tier="archive")).object_key


async def stage(store: StorageOrchestrator, content_id: str = "a") -> RestoreStage:
    restore = (await store.stat(content_id)).restore
    assert restore is not None
    return restore.stage


async def at_rest(here: Machine, task: "asyncio.Task[Any]") -> None:
    """Return once the task waits for the clock, as the renewal of intents does since the first upload, or is done."""
    while here.clock.sleeping < 2 and not task.done():  # noqa: ASYNC110 - the catalog works in a thread of its own
        await asyncio.sleep(0.0005)


async def pass_time(here: Machine, task: "asyncio.Task[Any]", seconds: float, *, step: float = 60.0) -> None:
    """Let time pass in steps, the task at rest before each and after the last, or until it is done."""
    end = here.clock.monotonic() + seconds
    while True:
        await at_rest(here, task)
        left = end - here.clock.monotonic()
        if left <= 0 or task.done():
            return
        here.clock.advance(min(left, step))
        await asyncio.sleep(0.0005)  # the catalog works in a thread of its own


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await asyncio.wait_for(scenario(), 30)

    asyncio.run(all_of_it())
