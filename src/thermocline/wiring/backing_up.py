"""Backups of the catalog, restoring one, and beginning anew from the stores alone; none of them opens the store."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from thermocline.adapters.catalog.backing_up import BackedUp, Note, back_up
from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.putting_back import PutBack, put_back, put_new, refuse_known_contents
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.clock import SystemClock
from thermocline.domain.errors import ConfigurationError, InstallationMismatchError, StorageError
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp, later
from thermocline.ports.object_store import Owned
from thermocline.wiring.settings import Settings
from thermocline.wiring.stores import open_store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup, and how long every object that it names stays in its store."""

    made: BackedUp
    whole_until: Timestamp
    """Restored before then, every record finds its object; later the newest object of each content is re-adopted."""


async def back_up_catalog(settings: Settings, target: Path | None, *, replace: bool, note: Note) -> Backup:
    """Copy the catalog to `target` (default: a new file in DATA/backups) while others go on using it.

    `note` is told from this event loop how many bytes of how many are copied. Raises `ConfigurationError`,
    `OutOfSpaceError`; when it raises or is cancelled nothing is left.
    """
    clock = SystemClock()
    _refuse_database(settings)
    file = _file(settings)
    path = target or default_target(settings, clock.now())
    made = await _in_thread(lambda tell: back_up(file, path, clock.now, replace=replace, note=tell), note)
    return Backup(made, later(made.taken_at, settings.limits.object_grace))


async def restore_catalog(settings: Settings, backup: Path, *, note: Note) -> PutBack:
    """Put a backup in the catalog's place; the old catalog is kept aside. All or nothing.

    Raises `InstallationMismatchError` if the stores belong to another installation than the backup, and
    `ConfigurationError` if the file is no backup or the catalog is open in any process.
    """
    _refuse_database(settings)
    owners = await _owners(settings)
    file = _file(settings)
    approve = partial(_approve, f"backup {str(backup)!r}", owners)
    return await _in_thread(lambda tell: put_back(file, backup, SystemClock().now, approve=approve, note=tell), note)


async def begin_recovery(settings: Settings) -> PutBack:
    """Begin the recovery of a PostgreSQL catalog that was put back by PostgreSQL's own means.

    Raises `InstallationMismatchError` if the stores belong to another installation, and `ConfigurationError` if any
    process uses the catalog, or if it is a file.
    """
    if not is_postgres(settings.catalog_url()):
        raise ConfigurationError(
            "the catalog is a file; put a backup of it back with 'thermocline backup --restore FILE', which begins the "
            "recovery too"
        )
    from thermocline.adapters.catalog import postgres_recovering
    from thermocline.adapters.catalog.postgres_connections import database_at

    database = database_at(settings.catalog_url(), settings.catalog.busy_timeout)
    installation = await asyncio.to_thread(postgres_recovering.installation_of, database)
    _approve(f"catalog {database.shown}", await _owners(settings), installation)
    begun = await asyncio.to_thread(postgres_recovering.begin_recovery, database)
    return PutBack(begun.installation, begun.contents, None)


async def begin_anew(settings: Settings) -> PutBack:
    """Put an empty catalog of the stores' installation in place, to be filled from the stores.

    Raises `ConfigurationError` if there is a catalog that knows any content, if no store has an owner, or if the
    stores have several.
    """
    in_database = is_postgres(settings.catalog_url())
    if not in_database:
        await asyncio.to_thread(refuse_known_contents, _file(settings))
    owners = await _owners(settings)
    installations = sorted(set(owners.values()))
    if not installations:
        raise ConfigurationError(
            "no object store belongs to an installation yet, so there is nothing to rebuild a catalog from; check "
            "[objects] and --data"
        )
    if len(installations) > 1:
        told = ", ".join(f"{name!r} to {owner!r}" for name, owner in sorted(owners.items()))
        raise InstallationMismatchError(
            f"the object stores belong to different installations ({told}); leave only those of one in the settings"
        )
    if in_database:
        return await asyncio.to_thread(_begin_anew_in_database, settings, installations[0])
    file = _file(settings)
    return await _in_thread(lambda _: put_new(file, installations[0], SystemClock().now), lambda *_: None)


def _begin_anew_in_database(settings: Settings, installation: str) -> PutBack:
    from thermocline.adapters.catalog import postgres_recovering
    from thermocline.adapters.catalog.postgres_connections import database_at
    from thermocline.adapters.catalog.postgres_migrating import upgrade_database

    database = database_at(settings.catalog_url(), settings.catalog.busy_timeout)
    upgrade_database(database)
    begun = postgres_recovering.begin_recovery(database, installation=installation)
    return PutBack(begun.installation, begun.contents, None)


def default_target(settings: Settings, now: Timestamp) -> Path:
    """Return where a backup without a name goes."""
    moment = datetime.fromtimestamp(now / MICROS_PER_SECOND, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return settings.data / "backups" / f"catalog-{moment}.db"


def _refuse_database(settings: Settings) -> None:
    if is_postgres(settings.catalog_url()):
        raise ConfigurationError(
            "the catalog is in PostgreSQL, which makes its backups itself: use pg_dump, or base backups with the "
            "write-ahead log; after putting one back run 'thermocline backup --restored' before anything else"
        )


def _approve(what: str, owners: Mapping[str, str], installation: str) -> None:
    for name, owner in owners.items():
        if owner != installation:
            raise InstallationMismatchError(
                f"{what} is of installation {installation!r}, the object store {name!r} belongs to "
                f"{owner!r}; restore a backup of that installation, or name this one's data folder with --data"
            )


async def _owners(settings: Settings) -> dict[str, str]:
    """Return whose the stores are, those that have an owner; changes nothing."""
    owners = {}
    for name in settings.objects:
        async with AsyncExitStack() as stack:
            store = await open_store(settings, name, stack)
            owner = await store.owner() if isinstance(store, Owned) else None
        if owner is not None:
            owners[name] = owner
    return owners


def _file(settings: Settings) -> SqliteFile:
    return SqliteFile(sqlite_path(settings.catalog_url()), settings.catalog.busy_timeout)


class _Stopped(Exception):  # noqa: N818 - no error: how the thread hears that nobody waits any more
    """The work was cancelled."""


async def _in_thread(work: Callable[[Note], T], note: Note) -> T:
    """Return what `work` returns, run in a thread. When cancelled, tell it to stop and wait until it has tidied up."""
    loop = asyncio.get_running_loop()
    stopped = threading.Event()

    def tell(done: int, total: int) -> None:
        if stopped.is_set():
            raise _Stopped
        loop.call_soon_threadsafe(note, done, total)

    running = asyncio.ensure_future(asyncio.to_thread(work, tell))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        with suppress(_Stopped, StorageError):
            await running
        raise
