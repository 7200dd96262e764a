"""SQLite's errors as ours, from a table of its result codes (https://www.sqlite.org/rescode.html, November 2026)."""

import sqlite3
from collections.abc import Callable
from typing import Final

from thermocline.domain.errors import (
    CommitUnknownError,
    ConfigurationError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)

_PRIMARY = 0xFF
"""The lower byte of an extended result code is the primary one."""

_TABLE: Final[dict[int, tuple[Callable[[str], StorageError], str]]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, "another process kept the catalog locked for too long; try again"),
    sqlite3.SQLITE_LOCKED: (UnavailableError, "the catalog is locked; try again"),
    sqlite3.SQLITE_PROTOCOL: (UnavailableError, "the catalog is locked; try again"),
    sqlite3.SQLITE_INTERRUPT: (UnavailableError, "the catalog interrupted the statement; try again"),
    sqlite3.SQLITE_NOMEM: (UnavailableError, "the catalog ran out of memory; give the process more"),
    sqlite3.SQLITE_FULL: (OutOfSpaceError, "the disk that holds the catalog is full or over quota; free some space"),
    sqlite3.SQLITE_READONLY: (
        OutOfSpaceError,
        "the catalog is read-only; give this user the right to write to the file and its folder",
    ),
    sqlite3.SQLITE_IOERR: (UnavailableError, "the disk that holds the catalog failed; look at the system's log"),
    sqlite3.SQLITE_CANTOPEN: (
        UnavailableError,
        "the catalog cannot be opened; check that its folder exists and that this user may write to it",
    ),
    sqlite3.SQLITE_PERM: (UnavailableError, "the catalog cannot be opened; give this user the right to write to it"),
    sqlite3.SQLITE_AUTH: (UnavailableError, "the catalog cannot be opened; give this user the right to write to it"),
    sqlite3.SQLITE_CORRUPT: (
        UnavailableError,
        "the catalog is damaged; stop the service, keep the file, and restore a backup or rebuild from the stores",
    ),
    sqlite3.SQLITE_NOTADB: (
        UnavailableError,
        "the catalog's file is not an SQLite database; check the catalog's URL, or restore a backup",
    ),
}
_NEEDS_A_CHANGE: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
"""While running these may pass (a disk is mounted again); at the start somebody must change something."""
_DEFINITE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})
"""Failures of COMMIT before its last page is written. After others, recovery may still find the commit."""

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CANNOT_WRITE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})


def translated(error: sqlite3.Error) -> StorageError:
    """Return what a statement's failure means to us."""
    code = _code_of(error)
    kind, advice = _TABLE.get(code, (StorageError, "the catalog refused a statement; this is a bug of Thermocline"))
    return kind(f"{advice} ({_name_of(error)}: {error})")


def translated_at_opening(error: sqlite3.Error, path: str) -> StorageError:
    """Return what a failure to open the catalog means to us."""
    code = _code_of(error)
    if code in _NEEDS_A_CHANGE:
        return ConfigurationError(f"catalog {path!r}: {_TABLE[code][1]} ({_name_of(error)}: {error})")
    return translated(error)


def translated_at_commit(error: sqlite3.Error) -> StorageError:
    """Return what a failure of COMMIT means to us: certainly nothing committed, or unknown."""
    if _code_of(error) in _DEFINITE:
        return translated(error)
    return CommitUnknownError(
        f"the catalog failed while committing; read to find out whether the change happened "
        f"({_name_of(error)}: {error})"
    )


def is_disk_failure(error: sqlite3.Error) -> bool:
    """Whether the file could not be written: no room, over a quota or a limit, read-only, a failing disk."""
    return _code_of(error) in _CANNOT_WRITE


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not, or not any more, a database."""
    return _code_of(error) in _DAMAGE


def _code_of(error: sqlite3.Error) -> int:
    # Errors of the Python module itself (a closed connection, a wrong parameter) have no code.
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def _name_of(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
