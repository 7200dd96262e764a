"""Backups: one moment of a catalog in use, whole or not there at all."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from thermocline.adapters.catalog.backing_up import STEP_PAGES, back_up
from thermocline.adapters.catalog.migrating import status_of
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.catalog.sqlite_connections import SqliteFile, connect
from thermocline.domain.errors import ConfigurationError, OutOfSpaceError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import Cursor, OutboxKind
from thermocline.testing.catalog import INSTALLATION, fresh_sqlite_catalog
from thermocline.testing.clock import START, ManualClock
from thermocline.testing.contracts.catalog.steps import PLACEMENT, Steps, new_key, some_id

CONTENT_COUNT = 40


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    path = tmp_path / "catalog.db"
    fresh_sqlite_catalog(path)
    return SqliteFile(path, unsafe_fast=True)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "b.db"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(statement).fetchall()


def fill(file: SqliteFile, count: int = CONTENT_COUNT) -> None:
    """Contents, and a row of everything that only means something while a catalog lives."""

    async def run() -> None:
        clock = ManualClock()
        url = f"sqlite:///{file.path}"
        async with await SqlCatalog.open(url, database_clock=clock.now, unsafe_fast=True) as catalog:
            steps = Steps(catalog, clock)
            ids = [some_id() for _ in range(count)]
            for content_id in ids:
                await steps.put(content_id, metadata={"text": "x" * 3000})
            await steps.put(ids[0])
            await steps.delete(ids[1])
            await steps.declare(new_key(some_id()))
            await catalog.sweeps.quarantine_unnamed([new_key(some_id())], placement=PLACEMENT, delete_at=Timestamp(1))
            await catalog.elections.win("job", "holder", lease=Seconds(60.0))
            await catalog.cursors.save("scrub", Cursor("x", Timestamp(1)))
            await steps.take(OutboxKind.DELETE_OBJECT)

    asyncio.run(run())


def take(file: SqliteFile, target: Path, *, replace: bool = False) -> None:
    made = back_up(file, target, lambda: START, replace=replace)
    assert (made.path, made.taken_at, made.installation) == (target, START, INSTALLATION)
    assert made.size == target.stat().st_size


def test_a_backup_is_the_catalog_made_ready_for_recovery(file: SqliteFile, target: Path) -> None:
    fill(file)
    take(file, target)
    assert status_of(SqliteFile(target)) == status_of(file)
    for table in ("contents", "outbox", "tokens", "ledger"):
        columns = ", ".join(
            str(row[1]) for row in query(target, f"PRAGMA table_info({table})") if not str(row[1]).startswith("lease_")
        )
        statement = f"SELECT {columns} FROM {table} ORDER BY 1"  # noqa: S608 - names of our tables
        assert query(target, statement) == query(file.path, statement)
    for table in ("intents", "leases", "changes", "quarantine", "found_objects", "cursors"):
        assert query(target, f"SELECT count(*) FROM {table}") == [(0,)], table  # noqa: S608 - names of our tables
    assert query(target, "SELECT count(*) FROM outbox WHERE lease_until <> 0 OR lease_token IS NOT NULL") == [(0,)]
    assert query(target, "SELECT recovering FROM installation") == [(1,)]
    assert query(target, "PRAGMA journal_mode") == [("delete",)], "all of it in one file"
    assert names_in(target.parent) == [target.name]
    assert target.stat().st_mode & 0o777 == 0o600
    # The catalog itself is as it was.
    assert query(file.path, "SELECT recovering FROM installation") == [(0,)]
    assert query(file.path, "SELECT count(*) FROM intents") == [(1,)]
    assert query(file.path, "SELECT count(*) FROM outbox WHERE lease_until <> 0") == [(2,)]


def test_a_backup_is_of_one_moment_while_others_write(file: SqliteFile, target: Path) -> None:
    """Each step of the copy is followed by a commit: it neither begins anew nor sees any of them."""
    fill(file, 600)
    before = query(file.path, "SELECT content_id, version FROM contents ORDER BY 1")
    steps: list[int] = []
    with closing(connect(file)) as writer:

        def write(done: int, total: int) -> None:
            steps.append(done)
            assert len(steps) <= total / (STEP_PAGES * 4096) + 3, "it began anew"
            writer.execute("UPDATE contents SET version = version + 1")
            writer.execute("DELETE FROM outbox")

        back_up(file, target, lambda: START, replace=False, note=write)
    assert len(steps) > 3
    assert query(target, "SELECT content_id, version FROM contents ORDER BY 1") == before
    assert query(target, "SELECT count(*) FROM outbox") != [(0,)]


def test_an_existing_file_stays(file: SqliteFile, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match="--force"):
        take(file, target)
    assert target.read_bytes() == b"precious"
    take(file, target, replace=True)
    assert status_of(SqliteFile(target)).is_usable
    with pytest.raises(ConfigurationError, match="is a folder"):
        take(file, target.parent, replace=True)


def test_a_file_that_appears_meanwhile_stays(file: SqliteFile, target: Path) -> None:
    def take_the_name(*_: int) -> None:
        target.write_text("theirs")

    with pytest.raises(ConfigurationError, match="made by somebody else"):
        back_up(file, target, lambda: START, replace=False, note=take_the_name)
    assert target.read_text() == "theirs"
    assert names_in(target.parent) == [target.name]


def test_a_backup_that_is_given_up_leaves_nothing(file: SqliteFile, target: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(file, target, lambda: START, replace=False, note=stop)
    assert names_in(target.parent) == []


def test_there_is_nothing_to_back_up(tmp_path: Path, target: Path) -> None:
    with pytest.raises(ConfigurationError, match="no catalog"):
        back_up(SqliteFile(tmp_path / "none.db"), target, lambda: START, replace=False)
    assert not target.parent.exists()


def test_a_damaged_catalog_makes_no_backup(file: SqliteFile, target: Path) -> None:
    fill(file, 300)
    raw = bytearray(file.path.read_bytes())
    raw[400_000:500_000] = b"\xa5" * 100_000
    file.path.write_bytes(raw)
    with pytest.raises(ConfigurationError, match="damaged"):
        take(file, target)
    assert names_in(target.parent) == []


def test_what_dead_processes_left_is_removed_and_what_others_work_on_stays(file: SqliteFile, target: Path) -> None:
    target.parent.mkdir()
    dead = target.with_name(".x.db.0123456789abcdef.thermocline-partial")
    foreign = target.with_name(".download.partial")
    for path in (dead, dead.with_name(dead.name + "-journal"), foreign):
        path.write_bytes(b"half")
    reached, go_on = threading.Event(), threading.Event()

    def wait(*_: int) -> None:
        reached.set()
        go_on.wait(10)

    other = target.with_name("other.db")
    beside = threading.Thread(target=lambda: back_up(file, other, lambda: START, replace=False, note=wait))
    beside.start()
    try:
        assert reached.wait(10)
        take(file, target)
        assert len(list(target.parent.glob("*.thermocline-partial"))) == 1
    finally:
        go_on.set()
        beside.join()
    assert names_in(target.parent) == [foreign.name, target.name, other.name]


@pytest.mark.server
def test_a_full_disk_leaves_no_half_backup(file: SqliteFile, small_disk: Path) -> None:
    fill(file, 120)
    ballast, target = small_disk / "ballast", small_disk / "b.db"
    ballast.write_bytes(bytes(1_700_000))
    with pytest.raises(OutOfSpaceError, match="free some space") as told:
        take(file, target)
    assert str(small_disk) in str(told.value)
    assert names_in(small_disk) == ["ballast"]
    fill(file, 5)  # the catalog itself never noticed
    ballast.unlink()
    take(file, target)
    assert names_in(small_disk) == ["b.db"]
