"""Putting a catalog in the place of another: a backup, or one made anew.

1. The new catalog is made whole under a temporary name beside its place (`backing_up`).
2. The present catalog, if there is one, is locked against everybody: that fails while any process has it open. Its
   write-ahead log is folded into it.
3. It gets a second name, under which it is kept. **Commit point**: one rename puts the new catalog in its place.
A crash before 3 leaves the present catalog as it was, in between with a second name. A process that waited for the
lock meanwhile finds that its file is not the catalog any more and opens the new one (`sqlite_connections`).
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from thermocline.adapters.catalog.backing_up import (
    Note,
    check_usable,
    copy_catalog,
    make_ready,
    publish,
    sync,
    temporary_beside,
)
from thermocline.adapters.catalog.migrating import upgrade_file
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.catalog.sqlite_errors import is_damage, translated_at_opening
from thermocline.domain.errors import ConfigurationError, OutOfSpaceError
from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp

_LOCK_WAIT: Final = Seconds(1.0)
_LOCK_BYTES: Final = (0x40000000, 512)
"""Where SQLite's locks lie in a file, whatever else is in it (https://www.sqlite.org/fileformat.html, 1.8)."""
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class PutBack:
    """A catalog that was put in its place."""

    installation: str
    contents: int
    aside: Path | None
    """Where the catalog that was there before is kept; None if there was none."""


def put_back(
    file: SqliteFile,
    backup: Path,
    now: Callable[[], Timestamp],
    *,
    approve: Callable[[str], None],
    note: Note = lambda *_: None,
) -> PutBack:
    """Put a copy of `backup` in the catalog's place, with `recovering` set; the old catalog is kept aside.

    `approve` is given the backup's installation and raises if it is the wrong one. All or nothing. Raises
    `ConfigurationError` if the file is no backup, if the catalog is open anywhere, or if there is no room.
    """
    source = SqliteFile(backup, file.busy_timeout)
    check_usable(source)
    if file.path.exists() and file.path.samefile(backup):
        raise ConfigurationError(f"{str(backup)!r} is the catalog in use, not a backup of it")
    with temporary_beside(file.path) as partial:
        copy_catalog(source, partial, note)
        upgrade_file(SqliteFile(partial), now, keep_backup=False)
        installation, contents = _make_single(partial, now())
        approve(installation)
        note(1, 1)  # the last moment to give it up
        aside = _switch(file.path, partial, now())
    return PutBack(installation, contents, aside)


def put_new(file: SqliteFile, installation: str, now: Callable[[], Timestamp]) -> PutBack:
    """Put an empty catalog of `installation` in the catalog's place, with `recovering` set.

    A catalog that knows any content stays: raises `ConfigurationError`.
    """
    refuse_known_contents(file)
    with temporary_beside(file.path) as partial:
        upgrade_file(SqliteFile(partial), now, keep_backup=False)
        with closing(sqlite3.connect(partial, isolation_level=None)) as raw:
            raw.execute("UPDATE installation SET installation_id = ?", (installation,))
        _make_single(partial, now())
        aside = _switch(file.path, partial, now())
    return PutBack(installation, 0, aside)


def refuse_known_contents(file: SqliteFile) -> None:
    """Raise `ConfigurationError` if there is a catalog that knows any content, also a deleted one, or is damaged."""
    away = f"to rebuild from the stores alone, move it away with its -wal and -shm: mv {file.path}* ELSEWHERE"
    if not file.path.exists() or not file.path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(file.path, timeout=file.busy_timeout, isolation_level=None)) as raw:
            tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "contents" not in tables:
                raise ConfigurationError(f"{str(file.path)!r} is an SQLite database, but not a catalog; {away}")
            count = raw.execute("SELECT count(*) FROM contents").fetchone()[0] if tables else 0
    except sqlite3.Error as exc:
        raise ConfigurationError(f"catalog {str(file.path)!r} cannot be read ({exc}); {away}") from exc
    if count:
        raise ConfigurationError(f"catalog {str(file.path)!r} knows {count} contents; {away}")


def _make_single(partial: Path, now: Timestamp) -> tuple[str, int]:
    """Make the copy ready, in a single file. Revisions go on above everything that was allocated until now."""
    with closing(sqlite3.connect(partial, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("UPDATE installation SET revision_floor = max(revision_floor, ?)", (now,))
    return make_ready(partial)


def _switch(place: Path, partial: Path, now: Timestamp) -> Path | None:
    moment = datetime.fromtimestamp(now / MICROS_PER_SECOND, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = place.with_name(f"{place.name}.replaced-{moment}")
    try:
        with _locked(place):
            kept = _keep(place, aside)
            publish(partial, place, replace=True)
    except OSError as exc:
        raise OutOfSpaceError(f"catalog {str(place)!r} cannot be replaced: {exc.strerror or exc}") from exc
    return aside if kept else None


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Keep everybody from the catalog during the block. Raises `ConfigurationError` if somebody has it open."""
    if not place.exists():
        yield
        return
    with closing(sqlite3.connect(place, timeout=_LOCK_WAIT, isolation_level=None)) as raw:
        try:
            # Leaving write-ahead mode takes a lock that every open connection to the file withholds.
            raw.execute("PRAGMA journal_mode=DELETE")
            raw.execute("BEGIN EXCLUSIVE")
            mode = raw.execute("PRAGMA journal_mode").fetchone()[0]
            if mode == "delete":  # nobody has come in between and gone back
                yield
                return
        except sqlite3.Error as exc:
            if is_damage(exc):
                mode = "damaged"
            elif getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                mode = "busy"
            else:
                raise translated_at_opening(exc, str(place)) from exc
    if mode != "damaged":
        raise _in_use(place)
    # SQLite refuses to lock what it cannot read: its locks are taken without it.
    with place.open("r+b") as damaged:
        try:
            fcntl.lockf(damaged, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES[1], _LOCK_BYTES[0])
        except OSError as exc:
            raise _in_use(place) from exc
        yield


def _in_use(place: Path) -> ConfigurationError:
    return ConfigurationError(
        f"catalog {str(place)!r} is open in another process; stop 'thermocline serve' and every other command on "
        "this data folder, then try again; nothing was changed"
    )


def _keep(place: Path, aside: Path) -> bool:
    """Give the present catalog its second name, and its logs that could not be folded in a new one."""
    for suffix in _SIDE_FILES:
        # A log that stays beside the new catalog would be played into it.
        with contextlib.suppress(FileNotFoundError):
            place.with_name(place.name + suffix).replace(aside.with_name(aside.name + suffix))
    try:
        os.link(place, aside)
    except FileNotFoundError:
        return False
    except OSError:
        place.replace(aside)  # no hard links here
    sync(place.parent)
    return True
