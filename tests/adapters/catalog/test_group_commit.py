"""The runner: groups share a commit and nothing else, waits are bounded, closing is clean."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import bindparam, func, insert, select, text

from tests.adapters.catalog.faulty_connection import Died, faults
from thermocline.adapters.catalog.schema import leases
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.catalog.sqlite_runner import CAPACITY, PATIENCE, SqliteRunner
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.errors import (
    BusyError,
    CommitUnknownError,
    ConfigurationError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.units import Seconds
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import START
from thermocline.testing.contracts.running import in_event_loop

ADD = Statement(insert(leases).values(name=bindparam("name"), holder="", lease_until=0))
COUNT = Statement(select(func.count()).select_from(leases))
MISTAKE = Statement(text("SELECT nothing FROM nowhere"))
SHORT = Seconds(1.0)


@asynccontextmanager
async def running(
    folder: Path, *, capacity: int = CAPACITY, patience: Seconds = PATIENCE, fast: bool = True
) -> AsyncIterator[SqliteRunner]:
    path = folder / "catalog.db"
    if not path.exists():
        fresh_sqlite_catalog(path)
    runner = await SqliteRunner.open(
        SqliteFile(path, unsafe_fast=fast), lambda: START, capacity=capacity, patience=patience
    )
    try:
        yield runner
    finally:
        await runner.aclose()


def add(name: str) -> Callable[[Connection], int]:
    return lambda connection: connection.change(ADD, {"name": name})


def add_then_fail(name: str) -> Callable[[Connection], None]:
    def function(connection: Connection) -> None:
        connection.change(ADD, {"name": name})
        raise LookupError(name)

    return function


async def count(runner: SqliteRunner) -> int:
    rows = await runner.read(lambda connection: connection.all(COUNT, {}))
    return int(rows[0][0])


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class Gate:
    """Keeps the writer busy, so that what comes next forms one group."""

    def __init__(self, runner: SqliteRunner) -> None:
        self._open = threading.Event()
        self._begun = threading.Event()

        def wait(_connection: Connection) -> None:
            self._begun.set()
            assert self._open.wait(30)

        self.done = asyncio.ensure_future(runner.write(wait))

    @classmethod
    async def closed(cls, runner: SqliteRunner) -> "Gate":
        """Return once the writer waits at the gate."""
        gate = cls(runner)
        while not gate._begun.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0)
        return gate

    async def open(self) -> None:
        self._open.set()
        await self.done

    def release(self) -> None:
        self._open.set()


@in_event_loop
async def test_what_waits_shares_one_commit(tmp_path: Path) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            gate = await Gate.closed(runner)
            plan.executed.clear()
            writes = [asyncio.ensure_future(runner.write(add(str(number)))) for number in range(20)]
            await asyncio.gather(gate.open(), *writes)
            assert await count(runner) == 20
            assert [statement.split()[0] for statement in plan.executed] == [
                "COMMIT", "BEGIN", *["INSERT"] * 20, "COMMIT"
            ]  # fmt: skip


@in_event_loop
async def test_a_failure_is_its_callers_alone(tmp_path: Path) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            gate = await Gate.closed(runner)
            plan.executed.clear()
            runs = []

            def refuse(_connection: Connection) -> None:
                runs.append("refused")
                raise LookupError("before any change")

            functions = [add("a"), refuse, add("b"), add_then_fail("c"), add("d"), add("a"), add_then_fail("e")]
            writes = [asyncio.ensure_future(runner.write(function)) for function in functions]
            await gate.open()
            results = await asyncio.gather(*writes, return_exceptions=True)
            kinds = [type(result) for result in results]
            assert kinds == [int, LookupError, int, LookupError, int, StorageError, LookupError]
            assert await count(runner) == 3
            assert len(runs) == 2, "once in the group that was spoiled, once alone"


@in_event_loop
async def test_a_refusal_before_any_change_spoils_no_group(tmp_path: Path) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            gate = await Gate.closed(runner)
            plan.executed.clear()

            def refuse(_connection: Connection) -> None:
                raise LookupError

            writes = [asyncio.ensure_future(runner.write(function)) for function in (add("a"), refuse, add("b"))]
            await gate.open()
            results = await asyncio.gather(*writes, return_exceptions=True)
            assert [isinstance(result, LookupError) for result in results] == [False, True, False]
            assert [statement.split()[0] for statement in plan.executed] == [
                "COMMIT", "BEGIN", "INSERT", "INSERT", "COMMIT"
            ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, UnavailableError),
        (sqlite3.SQLITE_FULL, OutOfSpaceError),
        (sqlite3.SQLITE_READONLY, OutOfSpaceError),
        (sqlite3.SQLITE_IOERR, CommitUnknownError),
        (sqlite3.SQLITE_IOERR | (4 << 8), CommitUnknownError),  # SQLITE_IOERR_FSYNC
    ],
)
@pytest.mark.parametrize("where", ["COMMIT", "BEGIN"])
@in_event_loop
async def test_a_failed_commit_is_told_to_its_whole_group_and_to_no_other(
    tmp_path: Path, code: int, expected: type[UnavailableError], where: str
) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            gate = await Gate.closed(runner)
            await gate.open()
            plan.fail[where] = [code]
            writes = [asyncio.ensure_future(runner.write(add(str(number)))) for number in range(5)]
            results = await asyncio.gather(*writes, return_exceptions=True)
            failed = [result for result in results if isinstance(result, UnavailableError)]
            assert failed
            for result in failed:
                assert isinstance(result, expected if where == "COMMIT" else UnavailableError)
                assert isinstance(result, CommitUnknownError) == (where == "COMMIT" and expected is CommitUnknownError)
                assert isinstance(result.__cause__, sqlite3.Error)
            assert await count(runner) == len(results) - len(failed)
            await runner.write(add("afterwards"))
            assert await count(runner) == len(results) - len(failed) + 1


@in_event_loop
async def test_who_was_refused_hears_why_even_if_the_commit_of_the_others_fails(tmp_path: Path) -> None:
    def refuse(_connection: Connection) -> None:
        raise LookupError

    with faults() as plan:
        async with running(tmp_path) as runner:
            gate = await Gate.closed(runner)
            writes = [asyncio.ensure_future(runner.write(function)) for function in (add("a"), refuse, add("b"))]
            plan.fail["COMMIT"] = [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR]
            gate.release()
            results = await asyncio.gather(gate.done, *writes, return_exceptions=True)
            kinds = [type(result) for result in results]
            assert kinds == [UnavailableError, CommitUnknownError, LookupError, CommitUnknownError]


@in_event_loop
async def test_a_failed_rollback_does_not_stop_the_writer(tmp_path: Path) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            plan.fail["ROLLBACK"] = [sqlite3.SQLITE_IOERR]
            with pytest.raises(LookupError):
                await runner.write(add_then_fail("a"))
            await runner.write(add("b"))
            assert await count(runner) == 1


@in_event_loop
async def test_a_full_disk_is_said_to_be_full_and_recovers(tmp_path: Path) -> None:
    def limit(pages: int) -> Callable[[Connection], None]:
        def function(connection: Connection) -> None:
            connection._raw.execute(f"PRAGMA max_page_count={pages}")

        return function

    async with running(tmp_path) as runner:
        await runner.write(limit(1))
        big = ["x" * 100_000 + str(number) for number in range(4)]
        results = await asyncio.gather(*(runner.write(add(name)) for name in big), return_exceptions=True)
        assert [type(result) for result in results] == [OutOfSpaceError] * 4
        await runner.write(limit(100_000))
        await asyncio.gather(*(runner.write(add(name)) for name in big))
        assert await count(runner) == 4


@in_event_loop
async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        with pytest.raises(OutOfSpaceError, match="read-only"):
            await runner.read(add("a"))


@in_event_loop
async def test_a_mistake_in_a_statement_is_an_error_of_ours(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        for run in (runner.read, runner.write):
            with pytest.raises(StorageError, match="bug of Thermocline") as caught:
                await run(lambda connection: connection.all(MISTAKE, {}))
            assert isinstance(caught.value.__cause__, sqlite3.Error)


@in_event_loop
async def test_too_many_waiting_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path, capacity=4) as runner:
        gate = await Gate.closed(runner)
        writes = [asyncio.ensure_future(runner.write(add(str(number)))) for number in range(3)]
        with pytest.raises(BusyError):
            await runner.write(add("one too many"))
        await asyncio.gather(gate.open(), *writes)
        assert await count(runner) == 3


@in_event_loop
async def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path, patience=SHORT) as runner:
        gate = await Gate.closed(runner)
        late = asyncio.ensure_future(runner.write(add("never begun")))
        with pytest.raises(BusyError):
            await late
        with pytest.raises(CommitUnknownError):
            await gate.done
        gate.release()
    async with running(tmp_path) as runner:
        assert await count(runner) == 0


@in_event_loop
async def test_closing_finishes_what_is_queued_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with running(tmp_path) as runner:
        gate = await Gate.closed(runner)
        writes = [asyncio.ensure_future(runner.write(add(str(number)))) for number in range(100)]
        closing = asyncio.ensure_future(runner.aclose())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="closed"):
            await runner.write(add("too late"))
        gate.release()
        await asyncio.gather(closing, *writes)
        await runner.aclose()
    assert set(threading.enumerate()) == before
    assert files_in(tmp_path) == ["catalog.db"], "the write-ahead log is folded in"
    async with running(tmp_path) as runner:
        assert await count(runner) == 100


def test_several_event_loops_may_share_one_runner(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as runner:
            errors: list[BaseException] = []

            def other_loop(name: str) -> None:
                async def write() -> None:
                    for number in range(30):
                        await asyncio.gather(*(runner.write(add(f"{name}-{number}-{each}")) for each in range(3)))
                        assert await count(runner) > 0

                try:
                    asyncio.run(write())
                except BaseException as exc:  # noqa: BLE001 - told below
                    errors.append(exc)

            threads = [threading.Thread(target=other_loop, args=(str(number),)) for number in range(3)]
            for thread in threads:
                thread.start()
            for number in range(30):
                await runner.write(add(f"main-{number}"))
            while any(thread.is_alive() for thread in threads):
                await count(runner)
            for thread in threads:
                thread.join()
            assert not errors
            assert await count(runner) == 300

    asyncio.run(main())


@in_event_loop
async def test_answers_to_a_loop_that_is_gone_are_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        gate = await Gate.closed(runner)
        unheard: list[Awaitable[int]] = []

        def abandoned() -> None:
            async def submit() -> None:
                unheard.append(runner.write(add("unheard")))

            asyncio.run(submit())

        thread = threading.Thread(target=abandoned)
        thread.start()
        thread.join()
        await gate.open()
        await runner.write(add("heard"))
        assert await count(runner) == 2


@pytest.mark.parametrize(("fast", "synchronous"), [(False, 2), (True, 0)])
@in_event_loop
async def test_commits_wait_for_the_disk_unless_a_test_says_otherwise(
    tmp_path: Path, *, fast: bool, synchronous: int
) -> None:
    pragmas = {"synchronous": synchronous, "journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000}
    async with running(tmp_path, fast=fast) as runner:
        for run in (runner.write, runner.read):
            for name, value in pragmas.items():
                statement = Statement(text(f"PRAGMA {name}"))
                assert await run(partial(Connection.all, statement=statement, parameters={})) == [(value,)]


@in_event_loop
async def test_a_runner_that_cannot_open_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    (tmp_path / "catalog.db").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        async with running(tmp_path):
            pass
    assert set(threading.enumerate()) == before


@in_event_loop
async def test_whatever_happens_in_the_writer_it_answers_and_goes_on(tmp_path: Path) -> None:
    with faults() as plan:
        async with running(tmp_path) as runner:
            plan.die_at = len(plan.executed) + 1
            with pytest.raises(CommitUnknownError) as caught:
                await runner.write(add("a"))
            assert isinstance(caught.value.__cause__, Died)
            plan.die_at = None
            await runner.write(add("b"))
            assert await count(runner) == 1


@in_event_loop
async def test_who_will_not_wait_for_others_does_not_and_who_will_does(tmp_path: Path) -> None:
    async with running(tmp_path) as runner:
        other = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            await asyncio.wait_for(runner.write(add("hasty"), max_wait=Seconds(0.01)), 5)
        patient = asyncio.ensure_future(runner.write(add("patient")))
        done, _ = await asyncio.wait({patient}, timeout=0.2)
        assert not done, "it waits again as long as it is set to"
        other.execute("COMMIT")
        other.close()
        assert await patient == 1
        assert await runner.write(add("hasty"), max_wait=Seconds(0.01)) == 1
        assert await count(runner) == 2
