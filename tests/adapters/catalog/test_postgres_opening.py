"""Making, upgrading and refusing PostgreSQL catalogs: one clear line for each thing that can be wrong."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from thermocline.adapters.catalog.migrating import MIGRATIONS, CatalogStatus
from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, database_at, shown_address
from thermocline.adapters.catalog.postgres_facts import facts_of
from thermocline.adapters.catalog.postgres_migrating import upgrade_database
from thermocline.adapters.catalog.postgres_recovering import begin_recovery, installation_of
from thermocline.adapters.catalog.schema import SCHEMA_VERSION, metadata
from thermocline.adapters.catalog.sql import SqlCatalog, catalog_status, upgrade_catalog
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import CatalogVersionError, ConfigurationError, StorageError, UnavailableError
from thermocline.domain.keys import is_name
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.catalog.steps import Steps
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.testing.servers.processes import free_port

SECRET = "s3cret"  # noqa: S105 - of nobody
COLUMNS = """
    SELECT table_name, column_name, column_default, is_nullable, data_type, collation_name
    FROM information_schema.columns WHERE table_schema = 'public'
"""
NEXT = '''"""The next schema."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("contents", sa.Column("flavour", sa.Text))
'''
server_test = pytest.mark.server


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def next_migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "with %percent" / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions" / "0007_next.py").write_text(NEXT)
    return folder


def open_and_close(url: str) -> None:
    async def do() -> None:
        async with await SqlCatalog.open(url) as catalog:
            await catalog.check()

    asyncio.run(do())


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as raw:
        return raw.execute(statement.encode()).fetchall()


@server_test
def test_a_database_without_a_catalog_is_only_made_one_when_asked(empty: str) -> None:
    assert catalog_status(empty) == CatalogStatus(None, SCHEMA_VERSION)
    with pytest.raises(CatalogVersionError, match="no catalog yet; make it with 'thermocline migrate'"):
        open_and_close(empty)
    assert query(empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    upgraded = upgrade_catalog(empty)
    assert (upgraded.before, upgraded.after, upgraded.backup) == (None, SCHEMA_VERSION, None)
    ((installation, floor),) = query(empty, "SELECT installation_id, revision_floor FROM installation")
    assert is_name(str(installation))
    assert floor == 0
    assert upgrade_catalog(empty).before == SCHEMA_VERSION
    assert query(empty, "SELECT installation_id FROM installation") == [(installation,)]
    open_and_close(empty)


@server_test
def test_the_migrations_make_the_schema(empty: str, postgres: PostgresServer) -> None:
    upgrade_catalog(empty)
    reference = postgres.create_database()
    try:
        engines = [create_engine(url.replace("postgresql", "postgresql+psycopg", 1)) for url in (empty, reference)]
        with engines[0].connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        metadata.create_all(engines[1])
        for engine in engines:
            engine.dispose()
        # What the comparison does not look at: partial indexes, checks, collations, defaults, partitions.
        for statement in (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
            COLUMNS,
            "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table",
        ):
            made, wanted = (
                {row for row in query(url, statement) if "alembic" not in str(row)} for url in (empty, reference)
            )
            assert made == wanted
    finally:
        postgres.drop_database(reference)


@server_test
def test_an_older_and_a_newer_schema_are_refused_unless_they_fit(empty: str, next_migrations: Path) -> None:
    database = database_at(empty)
    upgrade_database(database, newest="0001")
    with pytest.raises(CatalogVersionError, match=r"schema 0001, .* needs 0006; upgrade it with 'thermocline migrate'"):
        open_and_close(empty)
    assert upgrade_catalog(empty).before == "0001"
    upgrade_database(database, newest="0007", migrations=next_migrations)
    open_and_close(empty)  # the next one, which only adds
    assert upgrade_catalog(empty).after == "0007"
    for statement in (
        "UPDATE installation SET compatible_from = '0007'",
        "UPDATE alembic_version SET version_num = '0007'",
    ):
        with psycopg.connect(empty) as raw:
            raw.execute(statement.encode())
        with pytest.raises(CatalogVersionError, match="newer than the 0006 of this program; run a newer Thermocline"):
            open_and_close(empty)
        with pytest.raises(CatalogVersionError):
            upgrade_catalog(empty)


@server_test
def test_a_failed_migration_leaves_the_old_catalog(empty: str, next_migrations: Path) -> None:
    upgrade_catalog(empty)
    broken = next_migrations / "versions" / "0007_next.py"
    broken.write_text(NEXT.replace("flavour", "colour") + "    op.execute('SELECT nothing')\n")
    with pytest.raises(StorageError):
        upgrade_database(database_at(empty), newest="0007", migrations=next_migrations)
    assert catalog_status(empty).current == SCHEMA_VERSION
    assert query(empty, "SELECT 1 FROM information_schema.columns WHERE column_name = 'colour'") == []
    open_and_close(empty)


STARTER = "import sys; from thermocline.adapters.catalog.sql import upgrade_catalog; upgrade_catalog(sys.argv[1])"


@server_test
def test_processes_that_migrate_together_make_one_catalog(empty: str) -> None:
    starters = [subprocess.Popen([sys.executable, "-c", STARTER, empty]) for _ in range(3)]
    for starter in starters:
        with starter:
            assert starter.wait() == 0
    assert query(empty, "SELECT count(*) FROM installation") == [(1,)]


@server_test
def test_a_database_of_something_else_is_refused(empty: str) -> None:
    with psycopg.connect(empty) as raw:
        raw.execute("CREATE TABLE contents (title text)")
    for attempt in (open_and_close, upgrade_catalog, catalog_status):
        with pytest.raises(ConfigurationError, match="tables of something else"):
            attempt(empty)


@server_test
def test_another_encoding_is_refused(postgres: PostgresServer) -> None:
    url = postgres.create_database(encoding="LATIN1")
    try:
        for attempt in (open_and_close, upgrade_catalog):
            with pytest.raises(ConfigurationError, match=r"encoding is LATIN1, .* create one with ENCODING 'UTF8'"):
                attempt(url)
    finally:
        postgres.drop_database(url)


@server_test
def test_each_wrong_address_is_told_in_one_line_without_the_password(postgres: PostgresServer, empty: str) -> None:
    here = f"127.0.0.1:{postgres.port}"
    postgres.execute("CREATE ROLE crowded LOGIN PASSWORD 's3cret' CONNECTION LIMIT 0")
    try:
        wrong: dict[str, tuple[str, type[StorageError]]] = {
            f"postgresql://thermocline:{SECRET}@{here}/postgres": ("refuses the password", ConfigurationError),
            f"postgresql://nobody:{SECRET}@{here}/postgres": ("refuses the password", ConfigurationError),
            f"postgresql://thermocline@{here}/postgres": ("refuses the password", ConfigurationError),
            f"postgresql://crowded:{SECRET}@{here}/postgres": ("too many connections", UnavailableError),
            f"postgresql://thermocline:{SECRET}@no-such-host.invalid/x": ("cannot be reached", ConfigurationError),
            f"postgresql://thermocline:{SECRET}@127.0.0.1:{free_port()}/x": ("cannot be reached", UnavailableError),
            postgres.url("missing"): ("database does not exist", ConfigurationError),
        }
        for url, (words, kind) in wrong.items():
            with pytest.raises(kind, match=words) as caught:
                open_and_close(url)
            _is_one_line_without_secrets(str(caught.value), url)
    finally:
        postgres.execute("DROP ROLE crowded")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host/",
        f"postgresql://user:{SECRET}@host",
        f"postgresql://user:{SECRET}@host/x?bogus=1",
        f"postgresql://user:{SECRET}@host/x?password={SECRET}&bogus=1",
        f"postgresql://user:p%ZZ{SECRET}@host/x",
    ],
)
def test_what_is_no_address_is_refused_without_telling_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write postgresql://user@host:5432/database") as caught:
        database_at(url)
    _is_one_line_without_secrets(str(caught.value), url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@h:1/db", "'postgresql://u@h:1/db'"),
        ("postgresql://u:p@w/d@h/db?password=pw", "'postgresql://u@h/db'"),
        ("postgresql:///db?user=u&password=pw", "'postgresql:///db'"),
        ("postgresql://h1,h2/db", "'postgresql://h1,h2/db'"),
    ],
)
def test_addresses_are_shown_without_passwords(url: str, shown: str) -> None:
    assert shown_address(url) == shown
    assert "pw" not in repr(PostgresDatabase(url))


def _is_one_line_without_secrets(message: str, url: str) -> None:
    assert "\n" not in message
    assert SECRET not in message
    password = re.search(r":([^:@/]+)@", url)
    assert password is None or password[1] not in message


@server_test
@in_event_loop
async def test_a_user_that_may_only_look_is_told_so(postgres: PostgresServer, empty: str) -> None:
    url = fresh_postgres_catalog(postgres)
    name = url.rpartition("/")[2]
    postgres.execute("CREATE ROLE looker LOGIN PASSWORD 'looks'")
    try:
        for statement in (
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker",
            "ALTER ROLE looker SET lc_messages = 'C'",
        ):
            postgres.execute(statement, database=name)
        looker = postgres.url("x").partition("@")[0], "postgresql://looker:looks"
        async with await SqlCatalog.open(url.replace(*looker)) as catalog:
            steps = Steps(catalog, ManualClock())
            assert await steps.find(ContentId("thing")) is None
            with pytest.raises(UnavailableError, match="give it the right"):
                await steps.put(ContentId("thing"))
        with pytest.raises(ConfigurationError, match="give it the right"):
            upgrade_catalog(empty.replace(*looker))
    finally:
        postgres.drop_database(url)
        postgres.execute("DROP ROLE looker")


@server_test
def test_what_there_is_to_know_of_the_server(postgres: PostgresServer) -> None:
    url = fresh_postgres_catalog(postgres)
    try:
        facts = facts_of(database_at(url))
        assert (facts.encoding, facts.schema, facts.is_usable) == ("UTF8", SCHEMA_VERSION, True)
        assert not facts.is_durable, "the tests' server does not wait for the disk"
        assert abs(facts.clock_skew) < 5
        assert facts.connections < facts.most_connections
        assert not facts.is_standby
    finally:
        postgres.drop_database(url)


@server_test
@in_event_loop
async def test_a_catalog_that_came_back_begins_its_recovery(postgres: PostgresServer) -> None:
    url = fresh_postgres_catalog(postgres)
    database = database_at(url)
    try:
        async with await SqlCatalog.open(url) as catalog:
            steps = Steps(catalog, ManualClock())
            committed = await steps.put(ContentId("thing"))
            write = steps.write_of(ContentId("unfinished"))
            await steps.declare(write.object_key)
            with pytest.raises(ConfigurationError, match="open in another process"):
                begin_recovery(database)
            assert not await catalog.recovery.is_recovering()
        begun = begin_recovery(database)
        assert (begun.contents, begun.installation) == (1, installation_of(database))
        with pytest.raises(ConfigurationError, match="knows contents"):
            begin_recovery(database, installation="other")
        async with await SqlCatalog.open(url) as catalog:
            steps = Steps(catalog, ManualClock())
            assert await catalog.recovery.is_recovering()
            assert await catalog.intents.count() == 0
            assert (await steps.put(ContentId("new"))).record.revision > committed.record.revision
            assert (await steps.put(ContentId("thing"))).record.revision > committed.record.revision
    finally:
        postgres.drop_database(url)


@server_test
def test_an_empty_catalog_becomes_that_of_the_stores(postgres: PostgresServer) -> None:
    url = fresh_postgres_catalog(postgres)
    try:
        assert begin_recovery(database_at(url), installation="theirs").installation == "theirs"
        assert installation_of(database_at(url)) == "theirs"
        assert query(url, "SELECT recovering FROM installation") == [(True,)]
    finally:
        postgres.drop_database(url)
