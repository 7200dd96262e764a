"""Connections to a catalog in an SQLite file: durable, patient, and checked to be so."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds

SYNCHRONOUS_OFF: Final = 0
SYNCHRONOUS_FULL: Final = 2
OLDEST_SQLITE: Final = (3, 38, 0)
"""RETURNING is from 3.35, `->>` and built-in JSON from 3.38."""

_PAGE_CACHE_KIB: Final = 16 * 1024
_JOURNAL_SIZE_LIMIT: Final = 64 * 1024 * 1024
_CACHED_STATEMENTS: Final = 256


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """Where a catalog lies and how it is opened."""

    path: Path
    busy_timeout: Seconds = Seconds(10.0)
    """How long a statement waits for another process's transaction."""
    unsafe_fast: bool = False
    """Tests only: commits do not wait for the disk, so a power failure loses them and may damage the file."""


def connect(file: SqliteFile, *, reads_only: bool = False) -> sqlite3.Connection:
    """Open one connection in write-ahead mode with `synchronous=FULL`, asserted. Raises `sqlite3.Error`.

    Transactions are begun and ended by hand. The connection may be used by any one thread at a time.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; Thermocline needs {wanted} or newer")
    while True:
        found = _identity(file.path)
        raw = sqlite3.connect(
            file.path,
            timeout=file.busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        opened = found or _identity(file.path)
        try:
            # Waits while another process restores a backup. Then this is the catalog that it put aside, and the
            # names of write-ahead logs belong to the new one: nothing may be done with it.
            raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if _identity(file.path) == opened:
                _prepare(raw, file, reads_only=reads_only)
                return raw
        except BaseException:
            raw.close()
            raise
        raw.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _prepare(raw: sqlite3.Connection, file: SqliteFile, *, reads_only: bool) -> None:
    mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(
            f"catalog {str(file.path)!r}: SQLite cannot use write-ahead mode there (it uses {mode!r}); "
            "put the catalog on a local disk"
        )
    synchronous = SYNCHRONOUS_OFF if file.unsafe_fast else SYNCHRONOUS_FULL
    raw.execute(f"PRAGMA synchronous={synchronous}")
    raw.execute("PRAGMA foreign_keys=ON")
    raw.execute("PRAGMA trusted_schema=OFF")
    raw.execute("PRAGMA temp_store=MEMORY")
    raw.execute(f"PRAGMA cache_size=-{_PAGE_CACHE_KIB}")
    raw.execute(f"PRAGMA journal_size_limit={_JOURNAL_SIZE_LIMIT}")
    if reads_only:
        raw.execute("PRAGMA query_only=ON")
    # An unknown PRAGMA is silently ignored, and durability is not a thing to assume.
    actual = raw.execute("PRAGMA synchronous").fetchone()[0]
    if actual != synchronous:
        raise ConfigurationError(f"SQLite runs with synchronous={actual} instead of {synchronous}; use another build")
