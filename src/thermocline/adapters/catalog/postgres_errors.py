"""PostgreSQL's errors as ours, from a table of SQLSTATEs (postgresql.org/docs/15/errcodes-appendix.html, Nov. 2026).

No message holds a password: libpq's never do, and addresses are shown without it (`postgres_locations`).
"""

from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from thermocline.domain.errors import (
    BusyError,
    CommitUnknownError,
    ConfigurationError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)

_Kind = Callable[[str], StorageError]
_LOCKED: Final = "another process kept rows of the catalog locked for too long; try again"
_STOPS: Final = "the database server is stopping or starting; try again"
_RIGHTS: Final = "the database refuses this user; give it the right to use the catalog's tables"
_GONE: Final = "the database has no such table; run 'thermocline migrate'"

_TABLE: Final[dict[str, tuple[_Kind, str]]] = {
    "40001": (UnavailableError, "other transactions kept changing the same rows; try again"),
    "40P01": (UnavailableError, "transactions waited for each other in a circle; try again"),
    "23505": (UnavailableError, "another process made the same row at the same moment; try again"),
    "42P07": (UnavailableError, "another process made the same table at the same moment; try again"),
    "55P03": (UnavailableError, _LOCKED),
    "57014": (UnavailableError, "the database did not finish the statement in time; try again"),
    "25P03": (UnavailableError, "the transaction stood still for too long and was ended by the database; try again"),
    "25P04": (UnavailableError, "the transaction took too long and was ended by the database; try again"),
    "25006": (OutOfSpaceError, "the database is read-only (a standby?); name the primary server in the catalog's URL"),
    "53100": (OutOfSpaceError, "the disk that holds the database is full; free some space"),
    "53200": (UnavailableError, "the database server ran out of memory; give it more"),
    "53300": (
        BusyError,
        "the database server has too many connections; raise its max_connections or lower [catalog] connections",
    ),
    "53400": (OutOfSpaceError, "the database server reached a limit of its configuration; raise it"),
    "58030": (UnavailableError, "the disk that holds the database failed; look at the database server's log"),
    "57P01": (UnavailableError, _STOPS),
    "57P02": (UnavailableError, "the database server crashed and recovers; try again"),
    "57P03": (UnavailableError, _STOPS),
    "57P04": (UnavailableError, "the database was dropped; restore it, or name another in the catalog's URL"),
    "57P05": (UnavailableError, "the database closed an idle connection; try again"),
    "28000": (UnavailableError, "the database refuses this user; check the user in the catalog's URL and pg_hba.conf"),
    "28P01": (UnavailableError, "the database refuses the password; check the user and password in the catalog's URL"),
    "3D000": (UnavailableError, "the database does not exist; create it, or name another in the catalog's URL"),
    "42501": (UnavailableError, _RIGHTS),
    "42P01": (UnavailableError, _GONE),
    "42703": (UnavailableError, "the database has an older schema; run 'thermocline migrate'"),
    "3F000": (UnavailableError, _GONE),
    "XX001": (UnavailableError, "the database is damaged; keep its files, and restore a backup"),
    "XX002": (UnavailableError, "an index of the database is damaged; rebuild it with REINDEX"),
}
_CLASSES: Final[dict[str, tuple[_Kind, str]]] = {
    "08": (UnavailableError, "the connection to the database broke; try again"),
    "28": (UnavailableError, "the database refuses this user; check the user and password in the catalog's URL"),
    "53": (UnavailableError, "the database server lacks resources; look at its log"),
    "57": (UnavailableError, _STOPS),
    "58": (UnavailableError, "the database server's system failed; look at its log"),
}
_NEEDS_A_CHANGE: Final = frozenset({"28000", "28P01", "3D000", "42501", "42P01", "42703", "3F000", "57P04", "25006"})
"""While running these may pass (somebody mends them); at the start somebody must change something."""
_RUN_AGAIN: Final = frozenset({"40001", "40P01", "23505", "42P07"})
"""What ends well when the transaction is run again: the others have finished by then."""
_NO_SUCH_HOST: Final = ("failed to resolve host", "could not translate host")
_NO_ANSWER: Final = "the database server cannot be reached; check host and port in the catalog's URL, and that it runs"


def translated(error: psycopg.Error) -> StorageError:
    """Return what a failure means to us while running."""
    kind, advice = _meaning_of(error)
    return kind(_told(advice, error))


def translated_at_opening(error: psycopg.Error, shown: str) -> StorageError:
    """Return what a failure to open the catalog at the address `shown` means to us."""
    kind, advice = _meaning_of(error)
    if error.sqlstate in _NEEDS_A_CHANGE or _is_wrong_address(error):
        return ConfigurationError(_told(f"catalog {shown}: {advice}", error))
    return kind(_told(f"catalog {shown}: {advice}", error))


def translated_at_commit(error: psycopg.Error, raw: "psycopg.Connection[tuple[object, ...]]") -> StorageError:
    """Return what a failure of COMMIT means to us: certainly nothing committed, or unknown."""
    # A server that answers with an error, and then goes on in peace, has rolled back.
    if not is_lost(raw) and raw.info.transaction_status is TransactionStatus.IDLE and error.sqlstate is not None:
        return translated(error)
    return CommitUnknownError(
        _told("the connection broke while committing; read to find out whether the change happened", error)
    )


def runs_again(error: psycopg.Error) -> bool:
    """Whether the transaction ends well when it is run again."""
    return error.sqlstate in _RUN_AGAIN


def is_lost(raw: "psycopg.Connection[tuple[object, ...]]") -> bool:
    """Whether the connection cannot be used any more."""
    return raw.closed or raw.pgconn.status != ConnStatus.OK


def _meaning_of(error: psycopg.Error) -> tuple[_Kind, str]:
    code = _code_of(error)
    if code is not None:
        found = _TABLE.get(code) or _CLASSES.get(code[:2])
        return found or (StorageError, "the database refused a statement; this is a bug of Thermocline")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return UnavailableError, _NO_ANSWER if _never_connected(error) else _CLASSES["08"][1]
    return StorageError, "the database's driver refused a statement; this is a bug of Thermocline"


def _code_of(error: psycopg.Error) -> str | None:
    if error.sqlstate is not None:
        return error.sqlstate
    if not _never_connected(error):
        return None
    # Of what a server says before there is a connection libpq hands on the words only.
    text = str(error)
    return next((code for words, code in _WORDS if words in text), None)


_WORDS: Final = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("too many", "53300"),
    ("connection slots", "53300"),
    ("is starting up", "57P03"),
    ("is shutting down", "57P03"),
    ("in recovery mode", "57P03"),
    ("not yet accepting connections", "57P03"),
    ('role "', "28000"),
    ('database "', "3D000"),
)
"""Of messages that come before there is a connection; the first that fits."""


def _never_connected(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.errors.ConnectionTimeout) or any(
        words in str(error) for words in ("connection failed", *_NO_SUCH_HOST)
    )


def _is_wrong_address(error: psycopg.Error) -> bool:
    return _code_of(error) in _NEEDS_A_CHANGE or any(words in str(error) for words in _NO_SUCH_HOST)


def _told(advice: str, error: psycopg.Error) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return f"{advice} ({error.sqlstate or type(error).__name__}: {said})" if said else advice
