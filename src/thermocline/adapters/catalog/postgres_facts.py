"""What there is to know about a catalog's PostgreSQL server, for whoever examines it."""

import time
from dataclasses import dataclass
from typing import Final

import psycopg

from thermocline.adapters.catalog.postgres_connections import PostgresDatabase, connect
from thermocline.adapters.catalog.postgres_errors import translated_at_opening
from thermocline.adapters.catalog.postgres_migrating import status_in
from thermocline.domain.units import Seconds

_FACTS: Final = """
    SELECT current_setting('server_version'), current_setting('server_encoding'),
           current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
           current_setting('synchronous_commit'),
           CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
           pg_is_in_recovery()
"""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """How a catalog's server is set up."""

    version: str
    encoding: str
    schema: str | None
    """The newest migration that was made; None: there is no catalog."""
    is_usable: bool
    """Whether this program can use that schema."""
    is_durable: bool
    """Whether what is acknowledged outlives a power cut of the server."""
    clock_skew: Seconds
    """How far the server's clock is ahead of ours."""
    most_connections: int
    connections: int
    """Open now, of all programs."""
    is_standby: bool


def facts_of(database: PostgresDatabase) -> DatabaseFacts:
    """Return them, changing nothing. Blocks. Raises `ConfigurationError`, `UnavailableError`."""
    try:
        with connect(database, reads_only=True) as raw:
            before = time.time()
            row = raw.execute(_FACTS).fetchone()
            after = time.time()
            assert row is not None, "a SELECT without FROM yields one row"  # noqa: S101
            status = status_in(raw, database)
    except psycopg.Error as exc:
        raise translated_at_opening(exc, database.shown) from exc
    return DatabaseFacts(
        version=row[0],
        encoding=row[1],
        schema=status.current,
        is_usable=status.is_usable,
        # With `synchronous_commit = off` we switch it on for ourselves.
        is_durable=bool(row[2]) and bool(row[3]),
        clock_skew=Seconds(row[5] - (before + after) / 2),
        most_connections=row[6],
        connections=row[7],
        is_standby=row[8],
    )
