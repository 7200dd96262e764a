"""Diagnosis: every configured part is tried for real, and what is wrong comes with what to do about it."""

import asyncio
import os
import resource
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.migrating import status_of
from thermocline.adapters.catalog.sqlite_connections import SYNCHRONOUS_FULL, SqliteFile, connect
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.hosts import is_loopback
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp, elapsed
from thermocline.ports.copies import CopiesWithin
from thermocline.services.placements import Placement
from thermocline.wiring.build import open_services
from thermocline.wiring.deciding import placement_prices
from thermocline.wiring.examination import Examination, Health
from thermocline.wiring.examining_cache import examine_cache
from thermocline.wiring.policy import NO_PRICES
from thermocline.wiring.services import Services
from thermocline.wiring.settings import CLOCK_MARGIN, Settings

PROBE = ContentId("doctor-probe")
PROBE_BYTES = b"thermocline doctor"
LITTLE_SPACE = 2**30
NO_SPACE = 64 * 2**20
SAFE_SHARE = 0.8
"""Of the machine's memory, what Thermocline's budgets may claim before other programs suffer."""
DESCRIPTORS_BESIDE_CONNECTIONS = 100
EARLIEST_NOW = Timestamp(1_735_689_600 * MICROS_PER_SECOND)
"""2025-01-01: a clock before this program's first release is wrong."""
LATEST_NOW = Timestamp(4_102_444_800 * MICROS_PER_SECOND)
"""2100-01-01."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


async def diagnose(settings: Settings) -> AsyncIterator[Examination]:
    """Yield the state of each part, one by one. Changes nothing but a probe that it removes again."""
    yield Examination("settings", Health.OK, f"valid; data folder {str(settings.data.absolute())!r}")
    folder = examine_folder(settings.data)
    yield folder
    for examination in examine_memory(settings):
        yield examination
    yield examine_descriptors(settings)
    for examination in examine_prices(settings):
        yield examination
    for examination in await examine_cache(settings.cache):
        yield examination
    if folder.health is Health.FAIL:
        return
    try:
        async with open_services(settings) as services:
            async for examination in _examine_services(settings, services):
                yield examination
    except StorageError as exc:
        yield Examination("store", Health.FAIL, str(exc), "see the message; nothing was changed")


def examine_folder(folder: Path) -> Examination:
    """Return whether files can be made durable in the folder (making it, as every command does), and its free space."""
    part = "data folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as probe:
            probe.write(PROBE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())
            _sync_folder(folder)
    except (FileExistsError, NotADirectoryError):
        remedy = "name a folder with --data or the data setting"
        return Examination(part, Health.FAIL, f"{str(folder)!r} is not a folder", remedy)
    except OSError as exc:
        remedy = "make it writable for this user, free some space, or name another with --data"
        return Examination(part, Health.FAIL, f"{str(folder)!r} cannot be written durably: {exc.strerror}", remedy)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    detail = f"writable, fsync works, {free / 2**30:.1f} GiB free"
    if status.f_files and not status.f_favail:
        return Examination(part, Health.FAIL, f"{detail}, but no free inodes", "delete files or use another disk")
    if free < NO_SPACE:
        return Examination(part, Health.FAIL, detail, "free some space: writes will fail soon")
    if free < LITTLE_SPACE:
        return Examination(part, Health.WARN, detail, "free some space before the disk is full")
    return Examination(part, Health.OK, detail)


def examine_memory(settings: Settings) -> Iterator[Examination]:
    """Yield whether the memory budgets fit the machine."""
    budget = settings.limits.memory + settings.cache.memory
    machine = _memory_of_machine()
    detail = f"budgets of {budget / 2**20:.0f} MiB a process, machine has {machine / 2**20:.0f} MiB"
    if budget > machine * SAFE_SHARE:
        yield Examination("memory", Health.WARN, detail, "lower [limits] memory or [cache] memory")
    else:
        yield Examination("memory", Health.OK, detail)


def examine_descriptors(settings: Settings) -> Examination:
    """Return whether the process may open as many files as it may have connections."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = settings.limits.max_connections + DESCRIPTORS_BESIDE_CONNECTIONS
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        detail = f"{allowed} allowed, {settings.limits.max_connections} connections configured"
        return Examination("open files", Health.WARN, detail, "raise 'ulimit -n' or lower [limits] max_connections")
    return Examination("open files", Health.OK, "enough for all connections")


def examine_prices(settings: Settings) -> Iterator[Examination]:
    """Yield the placements whose prices nobody knows; nothing where all are known."""
    for name, placement in settings.placements.items():
        if placement_prices(settings, name) is None:
            detail = f"{placement.prices!r} is in no price book: no policy copies from or to the placement {name!r}"
            remedy = (
                f"name a class of the books in [placements.{name}] prices, give [prices.{placement.prices!r}] "
                f"figures of your own, or write {NO_PRICES!r} if it costs nothing"
            )
            yield Examination("prices", Health.WARN, detail, remedy)


async def _examine_services(settings: Settings, services: Services) -> AsyncIterator[Examination]:
    yield await _examine_catalog(settings, services)
    if (recovery := await _examine_recovery(services)) is not None:
        yield recovery
    clocks: set[str] = set()
    for placement in services.placements.all():
        examination, skew = await _examine_placement(services, placement)
        yield examination
        if skew is not None and placement.store_name not in clocks:
            clocks.add(placement.store_name)
            yield _examine_clock(services, placement, skew)
    yield await _examine_access(settings, services)


async def _examine_catalog(settings: Settings, services: Services) -> Examination:
    part = "catalog"
    if is_postgres(settings.catalog_url()):
        return await _examine_database(settings, services)
    try:
        await services.adapters.catalog.check()
        installation = await services.adapters.catalog.installation()
        facts = await asyncio.to_thread(_look_into, sqlite_path(settings.catalog_url()))
    except StorageError as exc:
        return Examination(part, Health.FAIL, str(exc), "see the message; restore a backup if the file is damaged")
    except sqlite3.Error as exc:
        return Examination(part, Health.FAIL, f"it cannot be read: {exc}", "restore it from a backup")
    if facts.damage:
        return Examination(part, Health.FAIL, f"it is damaged: {facts.damage}", "restore it from a backup")
    if facts.synchronous < SYNCHRONOUS_FULL:
        detail = f"SQLite runs with synchronous={facts.synchronous}: a power cut could lose what was acknowledged"
        return Examination(part, Health.FAIL, detail, "use an SQLite build that honours PRAGMA synchronous")
    detail = f"intact, schema {facts.schema}, synchronous=FULL, installation {installation}"
    return Examination(part, Health.OK, detail)


async def _examine_database(settings: Settings, services: Services) -> Examination:
    from thermocline.adapters.catalog.postgres_connections import database_at
    from thermocline.adapters.catalog.postgres_facts import facts_of

    part = "catalog"
    try:
        await services.adapters.catalog.check()
        installation = await services.adapters.catalog.installation()
        facts = await asyncio.to_thread(facts_of, database_at(settings.catalog_url(), settings.catalog.busy_timeout))
    except StorageError as exc:
        return Examination(part, Health.FAIL, str(exc), "see the message")
    detail = f"PostgreSQL {facts.version}, {facts.encoding}, schema {facts.schema}, installation {installation}"
    if not facts.is_durable:
        detail += "; fsync or full_page_writes is off: a power cut could lose what was acknowledged"
        return Examination(part, Health.FAIL, detail, "set both to on in postgresql.conf")
    if abs(facts.clock_skew) > CLOCK_MARGIN:
        detail += f"; this machine's clock and the database's differ by {abs(facts.clock_skew):.0f} s"
        return Examination(part, Health.FAIL, detail, "set the clocks, and keep them right with NTP")
    if facts.connections + settings.catalog.connections > facts.most_connections:
        detail += f"; {facts.connections} of {facts.most_connections} connections are in use"
        return Examination(part, Health.WARN, detail, "raise max_connections or lower [catalog] connections")
    return Examination(part, Health.OK, f"{detail}, its clock agrees to {abs(facts.clock_skew):.1f} s")


async def _examine_recovery(services: Services) -> Examination | None:
    """Return a warning while the catalog is a restored backup; None otherwise, and where it does not answer."""
    try:
        if not await services.recovering.is_recovering():
            return None
    except StorageError:
        return None
    detail = "the catalog is a restored backup: nothing is deleted, nothing expires"
    remedy = "run 'thermocline fsck --repair', look at what it tells, then 'thermocline fsck --sweep --confirm'"
    return Examination("recovery", Health.WARN, detail, remedy)


@dataclass(frozen=True, slots=True)
class _CatalogFacts:
    damage: str | None
    synchronous: int
    schema: str | None


def _look_into(path: Path) -> _CatalogFacts:
    file = SqliteFile(path)
    with closing(connect(file, reads_only=True)) as raw:
        verdict = "; ".join(str(row[0]) for row in raw.execute("PRAGMA quick_check(3)"))
        (synchronous,) = raw.execute("PRAGMA synchronous").fetchone()
    return _CatalogFacts(None if verdict == "ok" else verdict, synchronous, status_of(file).current)


async def _examine_placement(services: Services, placement: Placement) -> tuple[Examination, float | None]:
    """Write, look up, read and delete a probe; also return how far the store's clock is ahead of ours."""
    part = f"placement {placement.name}"
    now = services.adapters.clock.now()
    token, other = (new_token(now, secrets.token_bytes(TOKEN_ENTROPY_BYTES)) for _ in range(2))
    key, copied = (
        str(ObjectKey(services.placements.installation, placement.name, PROBE, each)) for each in (token, other)
    )
    store: object = placement.store
    tried = ["put", "head"]
    try:
        attributes = {"content-id": PROBE, "token": token}
        await placement.store.put(key, PROBE_BYTES, attributes, storage_class=placement.storage_class)
        head = await placement.store.head(key)
        # What must be restored before it is read is not: restores cost money.
        restorable = placement.restores is not None
        read = PROBE_BYTES
        if not restorable:
            tried.append("fetch")
            read = await placement.store.fetch(key, 0, len(PROBE_BYTES))
            if isinstance(store, CopiesWithin):
                tried.append("copy")
                await store.copy(key, copied, attributes, storage_class=placement.storage_class)
        failures = await placement.store.delete([key, copied])
        gone = await placement.store.head(key) is None
    except (StorageError, EOFError) as exc:
        remedy = f"check [objects.{placement.store_name}] and that the store is reachable and writable"
        return Examination(part, Health.FAIL, str(exc), remedy), None
    if head is None or read != PROBE_BYTES or failures or not gone:
        detail = "the store does not keep, show or delete what was just written to it"
        return Examination(part, Health.FAIL, detail, f"do not use [objects.{placement.store_name}] like this"), None
    detail = f"object store {placement.store_name!r} is ours; {', '.join(tried)} and delete work"
    return Examination(part, Health.OK, detail), elapsed(now, head.modified_at)


def _examine_clock(services: Services, placement: Placement, skew: float) -> Examination:
    now = services.adapters.clock.now()
    remedy = "set the clock, and keep it right with NTP"
    if not EARLIEST_NOW <= now <= LATEST_NOW:
        return Examination("clock", Health.FAIL, "this machine's clock is years off", remedy)
    if abs(skew) > CLOCK_MARGIN:
        detail = f"this machine and object store {placement.store_name!r} differ by {abs(skew):.0f} s"
        return Examination("clock", Health.FAIL, detail, remedy)
    return Examination("clock", Health.OK, f"agrees with object store {placement.store_name!r} to {abs(skew):.1f} s")


async def _examine_access(settings: Settings, services: Services) -> Examination:
    host = settings.http.host
    try:
        if await services.authorizing.is_open():
            detail = f"no token exists; the service listens on {host}"
            if is_loopback(host):
                return Examination("access", Health.OK, f"{detail}, open to whoever is on this machine")
            return Examination(
                "access",
                Health.FAIL,
                f"{detail}, which it refuses without a token",
                "run 'thermocline token create --scope read,write', or listen on 127.0.0.1",
            )
        tokens = await services.authorizing.all()
    except StorageError as exc:
        return Examination("access", Health.FAIL, str(exc), "see the catalog above")
    valid = sum(token.is_valid(services.adapters.clock.now()) for token in tokens)
    if not valid:
        remedy = "run 'thermocline token create --scope read,write'"
        return Examination("access", Health.WARN, "every token is expired or revoked: nobody gets in", remedy)
    return Examination("access", Health.OK, f"{valid} valid tokens; only public content is readable without one")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _memory_of_machine() -> int:
    """Return the memory that this process can have: the machine's, or less if its control group says so."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in _CGROUP_LIMITS:
        try:
            machine = min(machine, int(limit.read_text()))
        except (OSError, ValueError):
            continue
    return machine
