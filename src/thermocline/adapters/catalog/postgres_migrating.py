"""Making and upgrading a catalog's tables in PostgreSQL.

Never by itself: a database that many processes share is upgraded when its operator says so, by `upgrade_database`.
All of it is one transaction that holds an advisory lock, so several at once take turns, and a crash leaves the old
catalog, or no tables.
"""

import secrets
from pathlib import Path
from typing import Final

import psycopg

from thermocline.adapters.catalog.migrating import MIGRATIONS, CatalogStatus, Upgraded, one_migration_at_a_time
from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, RawConnection, connect
from thermocline.adapters.catalog.postgres_errors import translated_at_opening
from thermocline.adapters.catalog.schema import SCHEMA_VERSION, metadata
from thermocline.domain.errors import CatalogVersionError, ConfigurationError

_INSTALLATION_BYTES: Final = 8
_LOCK: Final = 0x7468_6572_6D6F
"""Of everybody who migrates a catalog in this database ("thermo")."""
_TABLES: Final = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
_HAS_COMPATIBLE_FROM: Final = """
    SELECT 1 FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = 'installation' AND column_name = 'compatible_from'
"""


def status_of_database(database: PostgresDatabase, *, newest: str = SCHEMA_VERSION) -> CatalogStatus:
    """Return which schema the catalog has, changing nothing.

    Raises `ConfigurationError` if the database is no catalog or cannot be one, `UnavailableError`.
    """
    try:
        with connect(database, reads_only=True) as raw:
            return status_in(raw, database, newest)
    except psycopg.Error as exc:
        raise translated_at_opening(exc, database.shown) from exc


def refuse_unfit(status: CatalogStatus, database: PostgresDatabase) -> None:
    """Raise `CatalogVersionError`, which says what to do, unless this program can use the catalog as it is."""
    _refuse_newer(status, database)
    if status.current is None:
        raise CatalogVersionError(
            f"the database {database.shown} has no catalog yet; make it with 'thermocline migrate', then start again"
        )
    if not status.is_usable:
        raise CatalogVersionError(
            f"catalog {database.shown} has schema {status.current}, this program needs {status.newest}; upgrade it "
            "with 'thermocline migrate' (after a backup), then start again"
        )


def upgrade_database(
    database: PostgresDatabase, *, newest: str = SCHEMA_VERSION, migrations: Path = MIGRATIONS
) -> Upgraded:
    """Bring the catalog to the schema of this program, making it if there is none; idempotent, all or nothing.

    Safe beside others that do the same. Raises `CatalogVersionError` if the catalog is newer than this program,
    `ConfigurationError` if the database is something else or the user may not make tables.
    """
    try:
        with connect(database) as raw:
            status = status_in(raw, database, newest)
            _refuse_newer(status, database)
            if status.is_usable:
                return Upgraded(status.current, status.current or newest, None)
            # Building an index of a large table takes longer than any statement of the service.
            raw.execute("SET statement_timeout = 0")
            raw.execute("SET lock_timeout = 0")
            raw.autocommit = False
            return _migrate(raw, database, newest=newest, migrations=migrations)
    except psycopg.Error as exc:
        raise translated_at_opening(exc, database.shown) from exc


def _refuse_newer(status: CatalogStatus, database: PostgresDatabase) -> None:
    if status.current is not None and status.current > status.newest and not status.is_usable:
        raise CatalogVersionError(
            f"catalog {database.shown} has schema {status.current}, newer than the {status.newest} of this program; "
            "run a newer Thermocline (see 'thermocline migrate --check')"
        )


def status_in(raw: RawConnection, database: PostgresDatabase, newest: str = SCHEMA_VERSION) -> CatalogStatus:
    """Do what `status_of_database` promises, on a connection."""
    tables = {row[0] for row in raw.execute(_TABLES)}
    ours = tables & {"alembic_version", *metadata.tables}
    if not ours:
        return CatalogStatus(None, newest)
    if not {"alembic_version", "installation"} <= tables:
        raise ConfigurationError(
            f"the database {database.shown} has tables of something else ({', '.join(sorted(ours)[:3])}); name a "
            "database of its own in the catalog's URL"
        )
    row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise ConfigurationError(f"the catalog {database.shown} has lost its version; restore a backup")
    if raw.execute(_HAS_COMPATIBLE_FROM).fetchone() is None:
        return CatalogStatus(row[0], newest)
    word = raw.execute("SELECT compatible_from FROM installation").fetchone()
    return CatalogStatus(row[0], newest, None if word is None else word[0])


def _migrate(raw: RawConnection, database: PostgresDatabase, *, newest: str, migrations: Path) -> Upgraded:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    raw.cursor_factory = psycopg.Cursor
    engine = create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool, use_native_hstore=False)
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with one_migration_at_a_time, engine.begin() as connection:
            raw.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            status = status_in(raw, database, newest)  # another process may have been faster
            _refuse_newer(status, database)
            if not status.is_usable:
                config.attributes["connection"] = connection
                command.upgrade(config, newest)
                _choose_installation(raw)
    except DBAPIError as exc:
        if isinstance(exc.orig, psycopg.Error):
            raise exc.orig from exc
        raise
    finally:
        engine.dispose()
    return Upgraded(status.current, newest, None)


def _choose_installation(raw: RawConnection) -> None:
    raw.execute(
        """
        INSERT INTO installation ("only", installation_id, revision_floor, created_at)
        VALUES (1, %s, 0, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)) ON CONFLICT DO NOTHING
        """,
        (secrets.token_hex(_INSTALLATION_BYTES),),
    )
