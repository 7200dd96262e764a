"""Look-ups of one turn share a statement; their answers and errors stay apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from thermocline.adapters.catalog.finding import MOST_IDS, Finder
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.catalog.transactions import Runner, Transaction
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps
from thermocline.testing.contracts.running import in_event_loop

T = TypeVar("T")


class WatchedRunner(Runner):
    """Counts reads, and fails those that a test says."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.reads = 0
        self.refuse: Exception | None = None
        self.fail: Exception | None = None

    def read(self, function: Transaction[T]) -> Awaitable[T]:
        self.reads += 1
        if self.refuse is not None:
            raise self.refuse
        if self.fail is not None:
            failed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            failed.set_exception(self.fail)
            return failed
        return self._runner.read(function)

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        return self._runner.write(function, max_wait=max_wait)

    async def aclose(self) -> None:
        await self._runner.aclose()


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Finder, WatchedRunner, Steps]]:
    url = fresh_sqlite_catalog(folder / "catalog.db")
    async with await SqlCatalog.open(url, unsafe_fast=True) as catalog:
        runner = WatchedRunner(catalog._runner)
        yield Finder(runner), runner, Steps(catalog, ManualClock())


@in_event_loop
async def test_one_turn_is_one_statement(tmp_path: Path) -> None:
    async with watched(tmp_path) as (finder, runner, steps):
        ids = [ContentId(f"content/{number}") for number in range(50)]
        for content_id in ids:
            await steps.put(content_id)
        found = await asyncio.gather(*(finder.find(content_id) for content_id in ids * 3))
        assert [record.content_id for record in found if record is not None] == ids * 3
        assert runner.reads == 1
        await finder.find(ids[0])
        assert runner.reads == 2


@in_event_loop
async def test_a_great_many_are_split(tmp_path: Path) -> None:
    async with watched(tmp_path) as (finder, runner, steps):
        await steps.put(ContentId("1"))
        found = await asyncio.gather(*(finder.find(ContentId(str(number))) for number in range(2 * MOST_IDS + 1)))
        assert [number for number, record in enumerate(found) if record is not None] == [1]
        assert runner.reads == 3


@pytest.mark.parametrize("how", ["refuse", "fail"])
@in_event_loop
async def test_an_error_goes_to_everyone_who_asked_then(tmp_path: Path, how: str) -> None:
    async with watched(tmp_path) as (finder, runner, _):
        setattr(runner, how, BusyError("full") if how == "refuse" else UnavailableError("down"))
        asked = [finder.find(ContentId(name)) for name in ("a", "a", "b")]
        asked[0].cancel()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert all(isinstance(result, UnavailableError) for result in results[1:])
        runner.refuse = runner.fail = None
        assert await finder.find(ContentId("a")) is None


@in_event_loop
async def test_a_look_up_sees_what_was_committed_before_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as (finder, _, steps):
        for number in range(30):
            content_id = ContentId(f"{number}")
            nothing, committed = await asyncio.gather(finder.find(content_id), steps.put(content_id))
            assert nothing is None or nothing == committed.record
            assert await finder.find(content_id) == committed.record
