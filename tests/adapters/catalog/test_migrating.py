"""Making, upgrading and refusing catalogs."""

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from thermocline.adapters.catalog import migrating
from thermocline.adapters.catalog.migrating import MIGRATIONS, CatalogStatus, status_of, upgrade_file
from thermocline.adapters.catalog.schema import SCHEMA_VERSION, metadata
from thermocline.adapters.catalog.sql import SqlCatalog, catalog_status, upgrade_catalog
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import CatalogVersionError, ConfigurationError, StorageError
from thermocline.domain.heat import AccessCount, day_of
from thermocline.domain.keys import is_name
from thermocline.domain.units import Seconds
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import START, ManualClock
from thermocline.testing.contracts.catalog.steps import Steps
from thermocline.testing.contracts.running import in_event_loop

NEXT = '''"""The next schema."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("contents", sa.Column("flavour", sa.Text))
    op.execute("UPDATE contents SET flavour = 'none'")
'''
BROKEN = NEXT.replace("SET flavour", "SET colour")


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "catalog.db", unsafe_fast=True)


@pytest.fixture
def next_migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "with %percent" / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions" / "0007_next.py").write_text(NEXT)
    return folder


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(statement).fetchall()


def test_the_newest_migration_is_the_schemas_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_the_migrations_make_the_schema(file: SqliteFile) -> None:
    upgrade_file(file, lambda: START)
    engine = create_engine(f"sqlite:///{file.path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    # What the comparison does not look at: partial indexes, rowids, checks.
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as raw:
        reference = create_engine("sqlite://", creator=lambda: raw)
        metadata.create_all(reference)
        made = {name: _normal(sql) for name, sql in raw.execute("SELECT name, sql FROM sqlite_master")}
    migrated = {name: _normal(sql) for name, sql in query(file.path, "SELECT name, sql FROM sqlite_master")}
    assert {name: sql for name, sql in migrated.items() if "alembic" not in str(name)} == made


_OUTER_COMMA = re.compile(r",(?![^(]*\))")


def _normal(sql: object) -> list[str]:
    """Return the parts of a definition: the order of constraints means nothing."""
    if "INDEX" in str(sql):
        return [str(sql)]
    name, _, body = " ".join(str(sql).split()).partition("(")
    body, _, options = body.rpartition(")")
    return [name, options.strip(), *sorted(part.strip() for part in _OUTER_COMMA.split(body))]


def test_a_fresh_catalog_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "catalog.db"
    url = f"sqlite:///{path}"
    assert catalog_status(url) == CatalogStatus(None, SCHEMA_VERSION)
    assert not path.exists()
    upgraded = upgrade_catalog(url)
    assert (upgraded.before, upgraded.after, upgraded.backup) == (None, SCHEMA_VERSION, None)
    assert catalog_status(url).is_usable
    ((installation, floor),) = query(path, "SELECT installation_id, revision_floor FROM installation")
    assert is_name(str(installation))
    assert floor == 0
    assert upgrade_catalog(url).before == SCHEMA_VERSION
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.db"]


def test_two_installations_have_different_ids(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        upgrade_catalog(f"sqlite:///{tmp_path / name}")
        ids |= set(query(tmp_path / name, "SELECT installation_id FROM installation"))
    assert len(ids) == 2


def test_an_up_to_date_catalog_opens_without_alembic(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fresh_sqlite_catalog(file.path)
    for name in [name for name in sys.modules if name.split(".")[0] == "alembic"]:
        monkeypatch.setitem(sys.modules, name, None)

    async def open_and_close() -> None:
        async with await SqlCatalog.open(url) as catalog:
            await catalog.check()

    asyncio.run(open_and_close())


STARTER = "import sys; from thermocline.adapters.catalog.sql import upgrade_catalog; upgrade_catalog(sys.argv[1])"


@pytest.mark.thorough
def test_processes_that_start_together_make_one_catalog(file: SqliteFile) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", STARTER, f"sqlite:///{file.path}"]) for _ in range(3)]
    for starter in starters:
        with starter:
            assert starter.wait() == 0
    assert query(file.path, "SELECT count(*) FROM installation") == [(1,)]
    assert status_of(file).is_usable


def test_threads_that_start_together_make_one_catalog(file: SqliteFile) -> None:
    barrier, errors = threading.Barrier(4), []

    def start() -> None:
        barrier.wait()
        try:
            upgrade_file(file, lambda: START)
        except BaseException as exc:  # noqa: BLE001 - told below
            errors.append(exc)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert query(file.path, "SELECT count(*) FROM installation") == [(1,)]
    assert status_of(file).is_usable


def test_an_older_catalog_is_upgraded_after_a_backup(file: SqliteFile, next_migrations: Path) -> None:
    fresh_sqlite_catalog(file.path)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.execute("INSERT INTO contents (content_id, revision, version, deleted_at, held) VALUES ('a', 1, 1, 1, 0)")
    before = query(file.path, "SELECT * FROM contents")
    upgraded = upgrade_file(file, lambda: START, newest="0007", migrations=next_migrations)
    assert (upgraded.before, upgraded.after) == ("0006", "0007")
    assert query(file.path, "SELECT flavour FROM contents") == [("none",)]
    assert upgraded.backup is not None
    assert query(upgraded.backup, "SELECT * FROM contents") == before
    assert status_of(SqliteFile(upgraded.backup)).current == "0006"


def test_a_migration_that_fails_changes_nothing(file: SqliteFile, next_migrations: Path) -> None:
    fresh_sqlite_catalog(file.path)
    before = query(file.path, "SELECT name, sql FROM sqlite_master")
    (next_migrations / "versions" / "0007_next.py").write_text(BROKEN)
    with pytest.raises(StorageError, match="colour"):
        upgrade_file(file, lambda: START, newest="0007", migrations=next_migrations)
    assert query(file.path, "SELECT name, sql FROM sqlite_master") == before
    assert status_of(file).is_usable


def test_death_before_the_installation_is_chosen_leaves_no_tables(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrating, "_choose_installation", die)
    with pytest.raises(KeyboardInterrupt):
        upgrade_file(file, lambda: START)
    assert query(file.path, "SELECT name FROM sqlite_master") == []
    monkeypatch.undo()
    assert upgrade_file(file, lambda: START).before is None


@in_event_loop
async def test_a_newer_catalog_is_refused_untouched(file: SqliteFile) -> None:
    url = fresh_sqlite_catalog(file.path)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    before = file.path.read_bytes()
    with pytest.raises(CatalogVersionError, match=r"schema 0999, newer than the 0006 .* newer Thermocline"):
        await SqlCatalog.open(url)
    with pytest.raises(CatalogVersionError):
        upgrade_catalog(url)
    assert catalog_status(url) == CatalogStatus("0999", SCHEMA_VERSION, "0002")
    assert file.path.read_bytes() == before
    assert [entry.name for entry in file.path.parent.iterdir()] == ["catalog.db"]


def test_the_next_catalog_is_refused_if_it_says_so(file: SqliteFile, next_migrations: Path) -> None:
    fresh_sqlite_catalog(file.path)
    upgrade_file(file, lambda: START, newest="0007", migrations=next_migrations)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.execute("UPDATE installation SET compatible_from = '0007'")
    with pytest.raises(CatalogVersionError):
        upgrade_file(file, lambda: START)


@in_event_loop
async def test_what_is_no_catalog_is_refused_untouched(file: SqliteFile) -> None:
    url = f"sqlite:///{file.path}"
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.execute("CREATE TABLE guests (name TEXT)")
    for content, message in (
        (file.path.read_bytes(), "is an SQLite database, but not a catalog"),
        (b"This is somebody's letter, not a database." * 100, "not an SQLite database"),
        (fresh_damaged(file.path), "damaged"),
    ):
        file.path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=message):
            await SqlCatalog.open(url)
        assert "guests" not in message
        assert len(file.path.read_bytes()) == len(content)


def fresh_damaged(path: Path) -> bytes:
    """Return a catalog whose pages, except the first bytes, were overwritten."""
    fresh_sqlite_catalog(path)
    content = path.read_bytes()
    return content[:100] + b"\xff" * (len(content) - 100)


def test_an_empty_file_becomes_a_catalog(file: SqliteFile) -> None:
    file.path.touch()
    upgrade_file(file, lambda: START)
    assert status_of(file).is_usable


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        upgrade_catalog(f"sqlite:///{tmp_path / 'file' / 'catalog.db'}")


def test_a_faster_process_may_have_upgraded_meanwhile(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh_sqlite_catalog(file.path)
    statuses = [CatalogStatus(None, SCHEMA_VERSION)]
    monkeypatch.setattr(migrating, "status_of", lambda *_args, **_named: statuses.pop())
    before = query(file.path, "SELECT installation_id FROM installation")
    assert upgrade_file(file, lambda: START).after == SCHEMA_VERSION
    assert query(file.path, "SELECT installation_id FROM installation") == before


FIRST = """
INSERT INTO contents (content_id, revision, version, placement, object_key, digest, size, content_type, tier,
    tier_since, visibility, created_at, modified_at, held, metadata)
VALUES ('a', 7, 9, 'standard', 'k', x'00', 4, 'text/plain', 'hot', 5, 'public', 5, 6, 0, '{}')
"""


def test_the_first_schema_is_upgraded_with_all_that_is_in_it(file: SqliteFile) -> None:
    first = replace_migrations(file.path.parent / "first", only="0001_first.py")
    upgrade_file(file, lambda: START, newest="0001", migrations=first)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.execute(FIRST)
    upgraded = upgrade_file(file, lambda: START)
    assert (upgraded.before, upgraded.after) == ("0001", SCHEMA_VERSION)
    assert query(file.path, "SELECT revision, version, tier, pinned, reads_total, heat_5d FROM contents") == [
        (7, 9, "hot", 0, 0, 0.0)
    ]
    assert query(file.path, "SELECT compatible_from, recovering FROM installation") == [("0002", 0)]


THIRD = """
UPDATE contents SET reads_total = 9, storage_reads = 6, last_read_at = 5, heat_5d = 9.0;
INSERT INTO moves (content_id, tier, reason, by_policy, planned_at, due_at, attempts, lease_until)
VALUES ('a', 'cold', 'rarely read', 1, 5, 5, 0, 0);
INSERT INTO ledger (content_id, moved_at, from_tier, to_tier, from_placement, to_placement, size, by_policy, reason)
VALUES ('a', 6, 'warm', 'hot', 'standard', 'standard', 4, 1, 'often read');
"""


@in_event_loop
async def test_reads_moves_and_the_ledger_of_the_third_schema_go_on_after_the_upgrade(file: SqliteFile) -> None:
    third = replace_migrations(file.path.parent / "third", only="0003_adopted.py")
    upgrade_file(file, lambda: START, newest="0003", migrations=third)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as raw:
        raw.executescript(FIRST + ";" + THIRD)
    assert upgrade_file(file, lambda: START).before == "0003"
    async with await SqlCatalog.open(f"sqlite:///{file.path}") as catalog:
        clock = ManualClock()
        content_id = ContentId("a")
        (claim,) = await catalog.moves.claim(now=clock.now(), lease=Seconds(60), limit=9)
        assert (claim.plan.reason, claim.plan.forecast) == ("rarely read", None)
        (entry,) = await catalog.moves.ledger(content_id=content_id, limit=9)
        assert (entry.reason, entry.forecast, entry.storage_reads) == ("often read", None, None)
        await catalog.accesses.add([AccessCount(content_id, cache=0, storage=1)], now=clock.now())
        (realised,) = await catalog.savings.realised(now=clock.now(), limit=9)
        assert (realised.until, realised.storage_reads_since) == (clock.now(), None)
    columns = "storage_reads, storage_days, last_storage_day, recent_storage_days"
    assert query(file.path, f"SELECT {columns} FROM contents") == [(7, 1, day_of(clock.now()), 1)]  # noqa: S608 - ours


def replace_migrations(folder: Path, *, only: str) -> Path:
    """Return migrations as they were when `only` was the newest."""
    shutil.copytree(MIGRATIONS, folder)
    for path in (folder / "versions").glob("*.py"):
        if path.name > only:
            path.unlink()
    return folder


def test_a_newer_catalog_that_only_added_is_used_by_older_programs(file: SqliteFile, next_migrations: Path) -> None:
    """Versions N and N-1 beside each other: one that was already open, and one that opens afterwards."""
    url = fresh_sqlite_catalog(file.path)

    async def both() -> None:
        async with await SqlCatalog.open(url) as before:
            assert await before.records.find(ContentId("a")) is None
            upgrade_file(file, lambda: START, newest="0007", migrations=next_migrations)
            async with await SqlCatalog.open(url) as after:
                steps = Steps(before, ManualClock()), Steps(after, ManualClock())
                for number, step in enumerate(steps):
                    await step.put(ContentId("a"), b"body %d" % number)
                for step in steps:
                    assert (await step.existing(ContentId("a"))).size == 6
                await steps[0].delete(ContentId("a"))
                assert await steps[1].find(ContentId("a")) is None

    asyncio.run(both())
    assert status_of(file).is_newer_but_compatible
    upgraded = upgrade_file(file, lambda: START)
    assert (upgraded.before, upgraded.after, upgraded.backup) == ("0007", "0007", None)
