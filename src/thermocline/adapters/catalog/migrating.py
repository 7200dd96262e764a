"""Making and upgrading a catalog's tables.

1. The version is read; if it is this program's, nothing else happens (and Alembic is not even imported).
2. An existing catalog is copied to a backup file beside it.
   A catalog of the next schema is used as it is if it says that programs of this one may (`compatible_from`):
   migrations that only add leave that word alone, so versions N and N-1 run beside each other.
3. One exclusive transaction: read the version again (another process may have been faster), run the migrations,
   choose the installation id if there is none, write the version. A crash leaves the old catalog, or no tables.
"""

import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from thermocline.adapters.catalog.schema import SCHEMA_VERSION
from thermocline.adapters.catalog.sqlite_connections import SqliteFile, connect
from thermocline.adapters.catalog.sqlite_errors import translated_at_opening
from thermocline.domain.errors import CatalogVersionError, ConfigurationError
from thermocline.domain.units import Timestamp

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_INSTALLATION_BYTES: Final = 8
# Alembic's `op` and `context` are the process's: two threads would run their statements on each other's connection.
one_migration_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """Which schema a catalog has."""

    current: str | None
    """None: there is no catalog yet."""
    newest: str
    """The one that this program needs."""
    compatible_from: str | None = None
    """The oldest schema whose programs may use this catalog, by its own word."""

    @property
    def is_usable(self) -> bool:
        """Whether the catalog can be used as it is: it fits, or it is newer and says that this program may."""
        return self.current == self.newest or self.is_newer_but_compatible

    @property
    def is_newer_but_compatible(self) -> bool:
        """Whether the next version upgraded it in a way that this one can live with; none sees further than that."""
        if self.current is None or self.compatible_from is None or self.compatible_from > self.newest:
            return False
        return int(self.current) == int(self.newest) + 1


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did."""

    before: str | None
    after: str
    backup: Path | None
    """The copy of the catalog as it was; None if there was nothing to keep or to do."""


def status_of(file: SqliteFile, *, newest: str = SCHEMA_VERSION) -> CatalogStatus:
    """Return which schema the catalog has, changing nothing. Raises `ConfigurationError` if it is no catalog."""
    if not file.path.exists() or file.path.stat().st_size == 0:
        return CatalogStatus(None, newest)
    try:
        # A plain connection: whatever this file is, looking must not change it.
        with closing(sqlite3.connect(file.path, timeout=file.busy_timeout, isolation_level=None)) as raw:
            return _status_in(raw, file.path, newest)
    except sqlite3.Error as exc:
        raise translated_at_opening(exc, str(file.path)) from exc


def upgrade_file(
    file: SqliteFile,
    database_clock: Callable[[], Timestamp],
    *,
    newest: str = SCHEMA_VERSION,
    migrations: Path = MIGRATIONS,
    keep_backup: bool = True,
) -> Upgraded:
    """Bring the catalog to the schema of this program, making it if there is none; idempotent.

    The catalog as it was is kept beside it, unless `keep_backup` is False: it is itself a copy.
    Safe beside other processes that do the same. Raises `CatalogVersionError` if the catalog is newer than this
    program, `ConfigurationError` if the file is something else; then nothing was changed.
    """
    status = status_of(file, newest=newest)
    _refuse_newer(status, file.path)
    if status.is_usable:
        return Upgraded(status.current, status.current or newest, None)
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        backup = None if status.current is None or not keep_backup else _back_up(file, status.current, database_clock())
        with one_migration_at_a_time, closing(connect(file)) as raw:
            _migrate(raw, file.path, database_clock, newest=newest, migrations=migrations)
    except sqlite3.Error as exc:
        raise translated_at_opening(exc, str(file.path)) from exc
    except OSError as exc:
        raise ConfigurationError(f"the folder of catalog {str(file.path)!r} cannot be made: {exc}") from exc
    return Upgraded(status.current, newest, backup)


def _refuse_newer(status: CatalogStatus, path: Path) -> None:
    if status.current is not None and status.current > status.newest and not status.is_usable:
        raise CatalogVersionError(
            f"catalog {str(path)!r} has schema {status.current}, newer than the {status.newest} of this program; "
            "run a newer Thermocline, or restore the backup made before the upgrade"
        )


def _status_in(raw: sqlite3.Connection, path: Path, newest: str) -> CatalogStatus:
    tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return CatalogStatus(None, newest)
    if not {"alembic_version", "installation"} <= tables:
        raise ConfigurationError(
            f"{str(path)!r} is an SQLite database, but not a catalog; choose another file in the catalog's URL"
        )
    version: str = raw.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    columns = {row[1] for row in raw.execute("PRAGMA table_info(installation)")}
    if "compatible_from" not in columns:
        return CatalogStatus(version, newest)
    row = raw.execute("SELECT compatible_from FROM installation").fetchone()
    return CatalogStatus(version, newest, None if row is None else row[0])


def _back_up(file: SqliteFile, version: str, now: Timestamp) -> Path:
    backup = file.path.with_name(f"{file.path.name}.{version}.{now}.backup")
    with closing(connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    return backup


def _migrate(
    raw: sqlite3.Connection, path: Path, database_clock: Callable[[], Timestamp], *, newest: str, migrations: Path
) -> None:
    raw.execute("BEGIN EXCLUSIVE")
    try:
        status = _status_in(raw, path, newest)
        _refuse_newer(status, path)
        if not status.is_usable:
            _run_migrations(raw, path, newest=newest, migrations=migrations)
            _choose_installation(raw, database_clock())
        raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


def _run_migrations(raw: sqlite3.Connection, path: Path, *, newest: str, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    # Typed as what it stands for: SQLAlchemy asks no more of it than it has.
    participant = cast("sqlite3.Connection", _Participant(raw))
    engine = create_engine("sqlite://", creator=lambda: participant, poolclass=StaticPool)
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, newest)
    except DBAPIError as exc:
        if isinstance(exc.orig, sqlite3.Error):
            raise translated_at_opening(exc.orig, str(path)) from exc
        raise
    finally:
        engine.dispose()


class _Participant:
    """A connection that takes part in the transaction around it and cannot end it, whatever SQLAlchemy asks.

    A real one would be committed by as little as setting its isolation level.
    """

    isolation_level = None

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.cursor = raw.cursor
        self.execute = raw.execute
        self.create_function = raw.create_function

    def commit(self) -> None:
        """Leave the transaction open."""

    def rollback(self) -> None:
        """Leave the transaction open."""

    def close(self) -> None:
        """Leave the connection open."""


def _choose_installation(raw: sqlite3.Connection, now: Timestamp) -> None:
    raw.execute(
        "INSERT OR IGNORE INTO installation (only, installation_id, revision_floor, created_at) VALUES (1, ?, 0, ?)",
        (secrets.token_hex(_INSTALLATION_BYTES), now),
    )
