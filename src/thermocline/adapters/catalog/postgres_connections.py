"""Connections to a catalog in PostgreSQL: bounded in every wait, durable, and named so that operators find them."""

from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds

OLDEST_POSTGRES: Final = 130_000
"""`pg_current_snapshot` is from 13, and older releases are not maintained any more."""
ENCODING: Final = "UTF8"
APPLICATION: Final = "thermocline"
"""By this name an operator, and whoever wants the catalog for itself, finds our connections."""

LOCK_WAIT: Final = Seconds(10.0)
LONGEST: Final = 1.5
"""How many times as long as for a lock anybody waits for an answer, and the server works on it."""
_CACHED_STATEMENTS: Final = 1000
"""More than there are: a statement that was prepared stays so."""
_PREPARE_AFTER: Final = 2
_CONNECT_WAIT: Final = Seconds(5.0)
_KEEPALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # Sent and not acknowledged for so long (milliseconds): the server's machine is gone.
    "tcp_user_timeout": 15_000,
}

RawConnection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """Where a catalog lies and how it is used."""

    url: str = field(repr=False)
    """With the password: never shown."""
    lock_wait: Seconds = LOCK_WAIT
    """How long a statement waits for another process's transaction."""

    @property
    def shown(self) -> str:
        """The address without password and options, for messages."""
        return shown_address(self.url)


def database_at(url: str, lock_wait: Seconds = LOCK_WAIT) -> PostgresDatabase:
    """Return the database that a catalog URL names. Raises `ConfigurationError`."""
    parsed(url)
    return PostgresDatabase(url, lock_wait)


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """Receives values as they are, not as text to be read."""

    def __init__(self, connection: RawConnection, **options: Any) -> None:
        super().__init__(connection, **options)
        self.format = Format.BINARY


def connect(database: PostgresDatabase, *, reads_only: bool = False) -> RawConnection:
    """Open one connection, on which transactions are begun and ended by hand. Raises `psycopg.Error`.

    It may be used by any one thread at a time. Raises `ConfigurationError` if the database cannot keep a catalog.
    """
    given = parsed(database.url)
    options = {"connect_timeout": str(int(_CONNECT_WAIT))} | _KEEPALIVE
    raw: RawConnection = psycopg.connect(
        make_conninfo(**(options | given | {"application_name": APPLICATION})),
        autocommit=True,
        prepare_threshold=_PREPARE_AFTER,
        cursor_factory=_Cursor,
    )
    try:
        _check(raw, database)
        _prepare(raw, database, reads_only=reads_only)
    except BaseException:
        raw.close()
        raise
    return raw


def parsed(url: str) -> dict[str, Any]:
    """Return the parts of an address. Raises `ConfigurationError` that names no password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            f"the catalog's URL {shown_address(url)} is not understood; write postgresql://user@host:5432/database "
            "with special characters of the password percent-encoded"
        ) from None  # libpq's message quotes what it does not understand, which may be the password
    if not parts.get("dbname"):
        raise ConfigurationError(
            f"the catalog's URL {shown_address(url)} names no database; write postgresql://user@host:5432/database"
        )
    return parts


def shown_address(url: str) -> str:
    """Return an address for messages: no password, and no options, which may hold one."""
    scheme, _, rest = url.partition("://")
    before_options = rest.partition("?")[0]
    # The last one: whoever did not encode an "@" in the password must not see half of it in a log.
    credentials, at, host = before_options.rpartition("@")
    user = credentials.partition(":")[0]
    return repr(f"{scheme}://{user}{at}{host}")


def _check(raw: RawConnection, database: PostgresDatabase) -> None:
    if raw.info.server_version < OLDEST_POSTGRES:
        found, wanted = raw.info.server_version // 10_000, OLDEST_POSTGRES // 10_000
        raise ConfigurationError(
            f"catalog {database.shown}: PostgreSQL {found} is too old; Thermocline needs {wanted} or newer"
        )
    encoding = raw.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        raise ConfigurationError(
            f"catalog {database.shown}: the database's encoding is {encoding}, which cannot keep every content id; "
            "create one with ENCODING 'UTF8' TEMPLATE template0"
        )


def _prepare(raw: RawConnection, database: PostgresDatabase, *, reads_only: bool) -> None:
    # Whole numbers always travel as the same type, so that a statement is prepared once.
    raw.prepared_max = _CACHED_STATEMENTS
    raw.adapters.register_dumper(int, Int8BinaryDumper)
    patience = round(database.lock_wait * 1000)
    raw.execute(
        """
        SELECT set_config('client_encoding', 'UTF8', false),
               set_config('lock_timeout', %(patience)s, false),
               set_config('statement_timeout', %(longest)s, false),
               set_config('idle_in_transaction_session_timeout', %(longest)s, false),
               set_config('default_transaction_isolation', 'read committed', false),
               set_config('default_transaction_read_only', %(reads_only)s, false),
               set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                   WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
        """,
        {
            "patience": str(patience),
            "longest": str(round(LONGEST * patience)),
            "reads_only": "on" if reads_only else "off",
        },
    )
