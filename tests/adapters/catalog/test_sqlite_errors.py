"""SQLite's result codes become our errors, with advice."""

import sqlite3

import pytest

from tests.adapters.catalog.faulty_connection import error_of
from thermocline.adapters.catalog.sqlite_errors import translated, translated_at_commit, translated_at_opening
from thermocline.domain.errors import (
    CommitUnknownError,
    ConfigurationError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("code", "running", "opening", "committing", "advice"),
    [
        (sqlite3.SQLITE_BUSY, UnavailableError, UnavailableError, UnavailableError, "try again"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, UnavailableError, UnavailableError, UnavailableError, "try again"),
        (sqlite3.SQLITE_LOCKED, UnavailableError, UnavailableError, UnavailableError, "try again"),
        (sqlite3.SQLITE_FULL, OutOfSpaceError, OutOfSpaceError, OutOfSpaceError, "free some space"),
        (sqlite3.SQLITE_READONLY, OutOfSpaceError, ConfigurationError, OutOfSpaceError, "right to write"),
        (sqlite3.SQLITE_READONLY_DBMOVED, OutOfSpaceError, ConfigurationError, OutOfSpaceError, "right to write"),
        (sqlite3.SQLITE_IOERR_FSYNC, UnavailableError, UnavailableError, CommitUnknownError, "system's log"),
        (sqlite3.SQLITE_CANTOPEN, UnavailableError, ConfigurationError, CommitUnknownError, "folder exists"),
        (sqlite3.SQLITE_PERM, UnavailableError, ConfigurationError, CommitUnknownError, "right to write"),
        (sqlite3.SQLITE_CORRUPT, UnavailableError, ConfigurationError, CommitUnknownError, "restore a backup"),
        (sqlite3.SQLITE_NOTADB, UnavailableError, ConfigurationError, CommitUnknownError, "restore a backup"),
        (sqlite3.SQLITE_NOMEM, UnavailableError, UnavailableError, CommitUnknownError, "memory"),
        (sqlite3.SQLITE_CONSTRAINT, StorageError, StorageError, CommitUnknownError, "bug of Thermocline"),
    ],
)
def test_each_code_means_what_the_table_says(
    code: int,
    running: type[StorageError],
    opening: type[StorageError],
    committing: type[StorageError],
    advice: str,
) -> None:
    error = error_of(code)
    assert type(translated(error)) is running
    assert advice in str(translated(error))
    assert str(error) in str(translated(error))
    assert type(translated_at_opening(error, "/data/catalog.db")) is opening
    if opening is ConfigurationError:
        assert "/data/catalog.db" in str(translated_at_opening(error, "/data/catalog.db"))
    assert type(translated_at_commit(error)) is committing


def test_errors_of_the_driver_itself_are_ours_too() -> None:
    error = sqlite3.ProgrammingError("Cannot operate on a closed database.")
    assert type(translated(error)) is StorageError
    assert "ProgrammingError" in str(translated(error))
