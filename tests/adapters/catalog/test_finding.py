"""Look-ups of one turn share a statement; their answers and errors stay apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.adapters.catalog.runners import FrontRunner
from thermocline.adapters.catalog import finding
from thermocline.adapters.catalog.finding import MOST_IDS, MOST_STATEMENTS, Finder
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.catalog.transactions import Runner, Transaction
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps
from thermocline.testing.contracts.running import in_event_loop

T = TypeVar("T")


class WatchedRunner(FrontRunner):
    """Counts reads, and fails those that a test says."""

    def __init__(self, inner: Runner) -> None:
        super().__init__(inner)
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
        return super().read(function)


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


class HeldRunner(Runner):
    """Answers reads when a test says so."""

    long_reads = 1

    def __init__(self) -> None:
        self.held: list[tuple[Transaction[Any], asyncio.Future[Any]]] = []

    def read(self, function: Transaction[T]) -> Awaitable[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.held.append((function, future))
        return future

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        raise NotImplementedError

    async def aclose(self) -> None:
        return

    def ids(self, number: int) -> list[str]:
        function: Any = self.held[number][0]
        return list(function.keywords["content_ids"])


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@in_event_loop
async def test_while_statements_are_under_way_ids_gather() -> None:
    runner = HeldRunner()
    finder = Finder(runner)
    asked = []
    for number in range(10):
        asked.append(finder.find(ContentId(str(number))))
        await _settle()
    assert [runner.ids(number) for number in range(MOST_STATEMENTS)] == [["0"], ["1"]]
    assert len(runner.held) == MOST_STATEMENTS
    again = finder.find(ContentId("5"))
    asked[7].cancel()
    runner.held[0][1].set_result([])
    await _settle()
    assert runner.ids(2) == ["2", "3", "4", "5", "6", "8", "9"], "nobody waits for 7 any more"
    runner.held[2][1].set_result([])
    runner.held[1][1].set_result([])
    assert await asyncio.gather(again, *(future for future in asked if not future.cancelled())) == [None] * 10
    assert len(runner.held) == MOST_STATEMENTS + 1


@pytest.mark.parametrize("error", [UnavailableError("down"), StorageError("a bug"), ValueError("a bug")])
@in_event_loop
async def test_who_waited_for_a_catalog_that_does_not_answer_waits_no_longer(error: Exception) -> None:
    runner = HeldRunner()
    finder = Finder(runner)
    asked = []
    for number in range(6):
        asked.append(finder.find(ContentId(str(number))))
        await _settle()
    runner.held[0][1].set_exception(error)
    await _settle()
    failed = [future.done() for future in asked]
    if isinstance(error, UnavailableError):
        assert failed == [True, False, True, True, True, True]
    else:
        assert failed == [True, False, False, False, False, False], "only whose statement it was"
        runner.held[2][1].set_result([])
    runner.held[1][1].set_result([])
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert results == [error if one else None for one in failed]
    # All goes on as before.
    last = finder.find(ContentId("last"))
    await _settle()
    runner.held[-1][1].set_result([])
    assert await last is None


@in_event_loop
async def test_a_cancelled_statement_holds_up_nobody() -> None:
    runner = HeldRunner()
    finder = Finder(runner)
    asked = []
    for number in range(4):
        asked.append(finder.find(ContentId(str(number))))
        await _settle()
    for number in (0, 1):
        runner.held[number][1].cancel()
    await _settle()
    runner.held[2][1].set_result([])
    await _settle()
    assert [future.cancelled() for future in asked] == [True, True, False, False]
    assert asked[2].result() is asked[3].result() is None


@in_event_loop
async def test_ids_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MOST_WAITING", 3)
    finder = Finder(HeldRunner())
    asked = [finder.find(ContentId(str(number))) for number in range(3)]
    asked.append(finder.find(ContentId("0")))
    with pytest.raises(BusyError, match="already wait to be looked up"):
        asked.append(finder.find(ContentId("more")))
    for future in asked:
        future.cancel()
