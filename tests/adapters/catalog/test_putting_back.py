"""Putting a catalog back: never under anybody's feet, never half, and what was there is kept."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapters.catalog.test_backing_up import fill, names_in, query
from thermocline.adapters.catalog.backing_up import back_up
from thermocline.adapters.catalog.putting_back import PutBack, put_back, put_new
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.catalog.sqlite_connections import SqliteFile, connect
from thermocline.domain.errors import CatalogVersionError, ConfigurationError, InstallationMismatchError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.testing.catalog import INSTALLATION, fresh_sqlite_catalog
from thermocline.testing.clock import START

LATER = Timestamp(2 * START)


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    path = tmp_path / "data" / "catalog.db"
    path.parent.mkdir()
    fresh_sqlite_catalog(path)
    return SqliteFile(path, Seconds(10.0), unsafe_fast=True)


@pytest.fixture
def backup(file: SqliteFile, tmp_path: Path) -> Path:
    """A backup of 40 contents; the catalog has one more and lost one since then."""
    fill(file)
    made = back_up(file, tmp_path / "backup.db", lambda: START, replace=False)
    fill(file, 2)
    return made.path


def restore(file: SqliteFile, backup: Path, *, owner: str = INSTALLATION) -> PutBack:
    def approve(installation: str) -> None:
        if installation != owner:
            raise InstallationMismatchError(installation)

    return put_back(file, backup, lambda: LATER, approve=approve)


def count(path: Path) -> int:
    return int(str(query(path, "SELECT count(*) FROM contents WHERE deleted_at IS NULL")[0][0]))


def opens(file: SqliteFile) -> int:
    """Open the catalog as a process does; how many contents it has."""

    async def run() -> int:
        async with await SqlCatalog.open(f"sqlite:///{file.path}", unsafe_fast=True) as catalog:
            assert await catalog.recovery.is_recovering()
            return len(await catalog.records.page(prefix="", tier=None, after="", limit=1000, now=START))

    return asyncio.run(run())


def test_the_backup_takes_the_place_and_the_old_catalog_is_kept(file: SqliteFile, backup: Path) -> None:
    before = count(file.path)
    done = restore(file, backup)
    assert (done.installation, done.contents) == (INSTALLATION, count(backup)) == (INSTALLATION, 39)
    assert done.aside is not None
    assert count(done.aside) == before == 40
    assert names_in(file.path.parent) == ["catalog.db", done.aside.name]
    assert opens(file) == 39
    assert query(file.path, "SELECT revision_floor FROM installation") == [(LATER,)]


def test_what_is_restored_is_under_the_rules_whatever_it_was(file: SqliteFile, tmp_path: Path) -> None:
    """A plain copy of a catalog, with its write-ahead log, becomes a backup by being restored."""
    plain = tmp_path / "plain.db"
    with closing(connect(file)) as raw:
        raw.execute("INSERT INTO leases VALUES ('job', 'x', 1)")
        shutil.copy(file.path, plain)
        shutil.copy(file.path.with_name("catalog.db-wal"), plain.with_name("plain.db-wal"))
        assert query(plain, "SELECT count(*) FROM leases") == [(1,)]
    restore(file, plain)
    assert query(file.path, "SELECT recovering FROM installation") == [(1,)]
    assert query(file.path, "SELECT count(*) FROM leases") == [(0,)]


def test_where_the_catalog_is_lost_there_is_nothing_to_keep(file: SqliteFile, backup: Path) -> None:
    with closing(connect(file)) as raw:
        raw.execute("DELETE FROM contents")
        file.path.unlink()
        assert file.path.with_name("catalog.db-wal").exists()
    # The log of a catalog that is gone must not be played into the new one.
    file.path.with_name("catalog.db-wal").write_bytes(b"stale")
    assert restore(file, backup).aside is None
    assert not file.path.with_name("catalog.db-wal").exists()
    assert opens(file) == 39


def test_a_damaged_catalog_is_kept_too(file: SqliteFile, backup: Path) -> None:
    file.path.write_bytes(b"\xa5" * 100_000)
    file.path.with_name("catalog.db-wal").write_bytes(b"log")
    done = restore(file, backup)
    assert done.aside is not None
    assert done.aside.read_bytes() == b"\xa5" * 100_000
    assert names_in(file.path.parent) == ["catalog.db", done.aside.name]
    assert opens(file) == 39


def test_nothing_happens_while_the_catalog_is_open(file: SqliteFile, backup: Path) -> None:
    before = file.path.read_bytes()
    with closing(connect(file, reads_only=True)) as reader:
        reader.execute("SELECT 1 FROM installation").fetchone()
        with pytest.raises(ConfigurationError, match="open in another process"):
            restore(file, backup)
        assert reader.execute("SELECT count(*) FROM contents").fetchone() == (42,)
    assert names_in(file.path.parent) == ["catalog.db"]
    assert count(file.path) == 40
    assert len(before) == file.path.stat().st_size


HOLDER = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute(sys.argv[2]).fetchone()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.server
@pytest.mark.parametrize("damaged", [False, True])
def test_nothing_happens_while_another_process_has_it_open(file: SqliteFile, backup: Path, damaged: bool) -> None:
    with closing(connect(file)):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(file.path), "SELECT count(*) FROM contents"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
    if damaged:
        with file.path.open("r+b") as raw:
            raw.write(b"\xa5" * 4096)
    with pytest.raises(ConfigurationError, match="open in another process"):
        restore(file, backup)
    holder.communicate()
    assert restore(file, backup).aside is not None
    assert opens(file) == 39


def test_a_process_that_waited_opens_the_new_catalog(file: SqliteFile, backup: Path) -> None:
    """It found the old file locked; the old file is not the catalog any more when it gets to it."""
    opened: list[tuple[object, ...]] = []

    def open_late() -> None:
        with closing(connect(file)) as raw:
            opened.append(raw.execute("SELECT recovering FROM installation").fetchone())

    late = threading.Thread(target=open_late)
    import thermocline.adapters.catalog.putting_back as module

    whole = module._keep

    def keep(place: Path, aside: Path) -> bool:
        late.start()
        late.join(0.3)
        assert late.is_alive(), "it did not wait for the lock"
        return whole(place, aside)

    module._keep = keep
    try:
        done = restore(file, backup)
    finally:
        module._keep = whole
        late.join(10)
    assert opened == [(1,)]
    assert done.aside is not None
    assert query(done.aside, "SELECT recovering FROM installation") == [(0,)]
    assert not done.aside.with_name(done.aside.name + "-wal").exists()


def test_what_is_no_backup_is_refused(file: SqliteFile, backup: Path, tmp_path: Path) -> None:
    empty, text, other = tmp_path / "empty", tmp_path / "text", tmp_path / "other.db"
    empty.touch()
    text.write_text("no database" * 100)
    with closing(sqlite3.connect(other)) as raw:
        raw.execute("CREATE TABLE t (x)")
    for path, reason in (
        (tmp_path / "none", "there is no file"),
        (tmp_path, "there is no file"),
        (empty, "an empty file"),
        (text, "not an SQLite database"),
        (other, "not a catalog"),
        (file.path, "the catalog in use"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            restore(file, path)
    with closing(sqlite3.connect(backup, isolation_level=None)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.execute("UPDATE installation SET compatible_from = '9999'")
    with pytest.raises(CatalogVersionError, match="newer"):
        restore(file, backup)
    assert names_in(file.path.parent) == ["catalog.db"]
    assert count(file.path) == 40


def test_a_backup_of_another_installation_is_refused(file: SqliteFile, backup: Path) -> None:
    with pytest.raises(InstallationMismatchError):
        restore(file, backup, owner="other")
    assert names_in(file.path.parent) == ["catalog.db"]
    assert count(file.path) == 40


def test_a_damaged_backup_is_refused(file: SqliteFile, backup: Path) -> None:
    raw = bytearray(backup.read_bytes())
    raw[150_000:200_000] = b"\xa5" * 50_000
    backup.write_bytes(raw)
    with pytest.raises(ConfigurationError, match="damaged"):
        restore(file, backup)
    assert names_in(file.path.parent) == ["catalog.db"]


def test_a_new_catalog_takes_the_place_of_none_and_of_an_empty_one(file: SqliteFile) -> None:
    done = put_new(file, "theirs", lambda: LATER)
    assert done.aside is not None
    file.path.unlink()
    assert put_new(file, "theirs", lambda: LATER).aside is None
    assert query(file.path, "SELECT installation_id, recovering, revision_floor FROM installation") == [
        ("theirs", 1, LATER)
    ]
    assert opens(file) == 0
    file.path.write_bytes(b"")
    assert put_new(file, "theirs", lambda: Timestamp(LATER + 1)).aside is not None


def test_a_catalog_that_knows_anything_stays(file: SqliteFile, tmp_path: Path) -> None:
    fill(file, 2)
    for path in (file.path, tmp_path / "text", tmp_path / "other.db"):
        if path.suffix != ".db":
            path.write_text("no database" * 100)
        elif not path.exists():
            with closing(sqlite3.connect(path)) as raw:
                raw.execute("CREATE TABLE t (x)")
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="move it away"):
            put_new(SqliteFile(path), "theirs", lambda: LATER)
        assert path.read_bytes() == before
