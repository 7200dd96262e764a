"""Backups of a catalog in an SQLite file, and making one ready to be used again.

1. One snapshot of the catalog is copied, in small steps, to a temporary name in the target's folder. Writers go on:
   the snapshot is a read transaction, and what they add waits in the write-ahead log.
2. In the copy, in one transaction, everything is dropped that only means something while the catalog lives, and
   `recovering` is set (`READY_FOR_RECOVERY`).
3. The copy is checked and made durable. **Commit point**: it gets its name; then the folder is made durable.
A crash before 3 leaves a temporary file that the next backup into this folder removes; there is never half a backup
under the target's name.

Why intents go: one of an upload that is committed after the backup would make the cleaner delete an acknowledged
object once this backup is restored. Without its intent the object is unknown, and unknown objects are re-adopted.
Why the quarantine goes: what was in it is judged anew. Why the outbox stays: what it names was replaced or deleted
before the backup, so it must not come back as unknown. Rows wait until the recovery is confirmed.
"""

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thermocline.adapters.catalog.migrating import status_of
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.catalog.sqlite_errors import is_disk_failure, translated_at_opening
from thermocline.domain.errors import CatalogVersionError, ConfigurationError, OutOfSpaceError
from thermocline.domain.units import Bytes, Timestamp

STEP_PAGES: Final = 256
"""1 MiB: how much is copied between two looks at whether to go on."""
_PARTIAL: Final = ".thermocline-partial"
_PRIVATE: Final = 0o600
READY_FOR_RECOVERY: Final = (
    "UPDATE installation SET recovering = true",
    *(f"DELETE FROM {table}" for table in ("intents", "leases", "changes", "quarantine", "found_objects", "cursors")),  # noqa: S608 - names of our tables
    *(f"UPDATE {table} SET lease_until = 0, lease_token = NULL" for table in ("outbox", "moves", "restores")),  # noqa: S608 - names of our tables
)
"""In words that both databases understand."""

Note = Callable[[int, int], None]
"""Is told how many of how many bytes are done; what it raises ends the work, and nothing is left of it."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A finished backup."""

    path: Path
    size: Bytes
    taken_at: Timestamp
    """Everything committed before is in it."""
    installation: str
    contents: int


def back_up(
    file: SqliteFile, target: Path, now: Callable[[], Timestamp], *, replace: bool, note: Note = lambda *_: None
) -> BackedUp:
    """Copy the catalog, as it is in one moment, to `target`, while others go on using it; all or nothing.

    An existing target stays unless `replace`. Raises `ConfigurationError`, `OutOfSpaceError`.
    """
    status = status_of(file)
    if status.current is None:
        raise ConfigurationError(f"there is no catalog at {str(file.path)!r}: nothing to back up; check --data")
    refuse_existing(target, replace=replace)
    taken_at = now()
    with temporary_beside(target) as partial:
        copy_catalog(file, partial, note)
        installation, contents = make_ready(partial)
        size = Bytes(partial.stat().st_size)
        note(size, size)  # the last moment to give it up
        publish(partial, target, replace=replace)
    return BackedUp(target, size, taken_at, installation, contents)


def refuse_existing(target: Path, *, replace: bool) -> None:
    """Raise `ConfigurationError` if something is there that must stay, or that no backup can replace."""
    if target.is_dir():
        raise ConfigurationError(f"{str(target)!r} is a folder; name a file for the backup")
    if not replace and os.path.lexists(target):
        raise ConfigurationError(f"{str(target)!r} exists; name another file, or replace it with --force")


@contextlib.contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """Make an empty private file in the target's folder; it is gone after the block, unless it was published.

    Such files of processes that died are removed too.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}{_PARTIAL}")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    except OSError as exc:
        raise _unwritable(target, exc) from exc
    try:
        with contextlib.suppress(OSError):  # where there are no locks, nothing is ever taken for abandoned
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # says that somebody is at work on it
        try:
            yield partial
        finally:
            _remove(partial)
    finally:
        os.close(descriptor)


def copy_catalog(file: SqliteFile, partial: Path, note: Note) -> None:
    """Copy one snapshot of the catalog into the empty file `partial`, which then is a catalog in a single file."""
    page = 0

    def after_step(_status: int, remaining: int, total: int) -> None:
        note((total - remaining) * page, total * page)

    try:
        with closing(_connect_to_copy(file)) as source, closing(_connect_alone(partial)) as target:
            (page,) = source.execute("PRAGMA page_size").fetchone()
            # The copy would begin anew whenever somebody commits, if it were not of one snapshot.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(target, pages=STEP_PAGES, progress=after_step, sleep=0)
            source.execute("ROLLBACK")
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as exc:
        raise _explained(exc, file.path, partial) from exc


def make_ready(partial: Path) -> tuple[str, int]:
    """Make the copy what a restored catalog must be, check it whole; return its installation and how many contents.

    Raises `ConfigurationError` if it is damaged.
    """
    try:
        with closing(_connect_alone(partial)) as raw:
            raw.execute("BEGIN IMMEDIATE")
            for statement in READY_FOR_RECOVERY:
                raw.execute(statement)
            raw.execute("COMMIT")
            verdict = "; ".join(str(row[0]) for row in raw.execute("PRAGMA quick_check(3)"))
            if verdict != "ok":
                raise ConfigurationError(
                    f"the catalog is damaged ({verdict}), so is its copy; nothing was kept of it; restore an older "
                    "backup or run 'thermocline fsck --rebuild-catalog'"
                )
            row = raw.execute("SELECT installation_id FROM installation").fetchone()
            if row is None:
                raise ConfigurationError("the catalog has lost its installation row; restore an older backup")
            (contents,) = raw.execute("SELECT count(*) FROM contents WHERE deleted_at IS NULL").fetchone()
    except sqlite3.Error as exc:
        raise _explained(exc, partial, partial) from exc
    return str(row[0]), int(contents)


def publish(partial: Path, target: Path, *, replace: bool) -> None:
    """Make the file durable and give it its name, atomically. Raises `ConfigurationError` if that is taken."""
    try:
        sync(partial)
        if replace:
            partial.replace(target)
        else:
            _name_exclusively(partial, target)
        sync(target.parent)
    except OSError as exc:
        raise _unwritable(target, exc) from exc


def sync(path: Path) -> None:
    """Make a file or a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_usable(file: SqliteFile) -> None:
    """Raise `ConfigurationError` unless the file is a catalog that this program can bring to its own schema."""
    if not file.path.is_file():
        raise ConfigurationError(f"there is no file {str(file.path)!r}; name a backup that 'thermocline backup' made")
    status = status_of(file)
    if status.current is None:
        raise ConfigurationError(f"{str(file.path)!r} is an empty file, not a backup of a catalog")
    if status.current > status.newest and not status.is_usable:
        raise CatalogVersionError(
            f"backup {str(file.path)!r} has schema {status.current}, newer than the {status.newest} of this program; "
            "restore it with a newer Thermocline"
        )


def _name_exclusively(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError as exc:
        raise ConfigurationError(
            f"{str(target)!r} was made by somebody else meanwhile; name another file, or replace it with --force"
        ) from exc
    except OSError:
        # No hard links here: not exclusive to the last microsecond, all else stays as promised.
        refuse_existing(target, replace=False)
        partial.replace(target)


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files whose maker is gone: nobody holds their lock."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        try:
            descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(partial)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _remove(partial: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _connect_to_copy(file: SqliteFile) -> sqlite3.Connection:
    # A plain connection, as `status_of` has: a backup that is copied back stays as it is.
    return sqlite3.connect(file.path, timeout=file.busy_timeout, isolation_level=None)


def _connect_alone(partial: Path) -> sqlite3.Connection:
    """Connect to a file that nobody else uses: with a rollback journal, all of it lies in one file."""
    raw = sqlite3.connect(partial, isolation_level=None)
    raw.execute("PRAGMA synchronous=FULL")
    return raw


def _explained(exc: sqlite3.Error, catalog: Path, partial: Path) -> Exception:
    # Only the copy is written to: where there is no room, it is the copy's.
    return _no_room(partial, str(exc)) if is_disk_failure(exc) else translated_at_opening(exc, str(catalog))


def _unwritable(target: Path, exc: OSError) -> Exception:
    return _no_room(target, exc.strerror or str(exc))


def _no_room(target: Path, reason: str) -> OutOfSpaceError:
    return OutOfSpaceError(
        f"folder {str(target.parent)!r} cannot take the copy of the catalog ({reason}); nothing was left there; "
        "free some space, or name a file on another disk"
    )
