"""Making a PostgreSQL catalog that came back by PostgreSQL's own means ready to be used again.

One transaction, while no process of ours is connected: everything is dropped that only meant something while the
catalog lived, `recovering` is set, and revisions go on above all that were allocated until now (`backing_up` says why).
"""

from dataclasses import dataclass
from typing import Final

import psycopg

from thermocline.adapters.catalog.backing_up import READY_FOR_RECOVERY
from thermocline.adapters.catalog.postgres_connections import APPLICATION, PostgresDatabase, RawConnection, connect
from thermocline.adapters.catalog.postgres_errors import translated_at_opening
from thermocline.adapters.catalog.postgres_migrating import refuse_unfit, status_in
from thermocline.domain.errors import ConfigurationError

_OTHERS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = %s
"""
_RAISE_FLOOR: Final = """
    UPDATE installation SET revision_floor =
        greatest(revision_floor, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A catalog whose recovery has begun."""

    installation: str
    contents: int


def installation_of(database: PostgresDatabase) -> str:
    """Return whose catalog it is. Raises `ConfigurationError`, `UnavailableError`."""
    try:
        with connect(database, reads_only=True) as raw:
            refuse_unfit(status_in(raw, database), database)
            return _installation(raw, database)
    except psycopg.Error as exc:
        raise translated_at_opening(exc, database.shown) from exc


def begin_recovery(database: PostgresDatabase, *, installation: str | None = None) -> Begun:
    """Begin the recovery of the catalog; with `installation` of an empty one, which is that installation's then.

    All or nothing. Raises `ConfigurationError` if any process of ours is connected, or, with `installation`, if the
    catalog knows any content.
    """
    try:
        with connect(database) as raw, raw.transaction():
            refuse_unfit(status_in(raw, database), database)
            _refuse_in_use(raw, database)
            if installation is not None:
                _refuse_known_contents(raw, database)
                raw.execute("UPDATE installation SET installation_id = %s", (installation,))
            for statement in (*READY_FOR_RECOVERY, _RAISE_FLOOR):
                raw.execute(statement.encode())
            row = raw.execute("SELECT count(*) FROM contents WHERE deleted_at IS NULL").fetchone()
            return Begun(_installation(raw, database), int(row[0]) if row else 0)
    except psycopg.Error as exc:
        raise translated_at_opening(exc, database.shown) from exc


def _refuse_in_use(raw: RawConnection, database: PostgresDatabase) -> None:
    row = raw.execute(_OTHERS, (APPLICATION,)).fetchone()
    if row and row[0]:
        raise ConfigurationError(
            f"catalog {database.shown} is open in another process; stop every 'thermocline serve', every worker and "
            "command that uses it, then try again; nothing was changed"
        )


def _refuse_known_contents(raw: RawConnection, database: PostgresDatabase) -> None:
    if raw.execute("SELECT 1 FROM contents LIMIT 1").fetchone() is not None:
        raise ConfigurationError(
            f"catalog {database.shown} knows contents; to rebuild from the stores alone, name an empty database"
        )


def _installation(raw: RawConnection, database: PostgresDatabase) -> str:
    row = raw.execute("SELECT installation_id FROM installation").fetchone()
    if row is None:
        raise ConfigurationError(f"catalog {database.shown} has lost its installation row; restore an older backup")
    return str(row[0])
