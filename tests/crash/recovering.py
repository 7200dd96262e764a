"""Steps of recoveries: a machine whose catalog is backed up, lost and restored, while its stores live on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.machine import Machine, settle
from thermocline import StorageOrchestrator
from thermocline.adapters.catalog.backing_up import back_up
from thermocline.adapters.catalog.putting_back import put_back, put_new
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.domain.adoption import Outcome
from thermocline.domain.content import ObjectAttributes
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError, StorageError
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds
from thermocline.services.share_leases import SHARE_LEASE
from thermocline.testing.catalog import INSTALLATION

MOMENT = Seconds(1.0)
"""Apart by this, two changes are in order for everybody."""


def file_of(machine: Machine) -> SqliteFile:
    return SqliteFile(machine.database, unsafe_fast=True)


def take_backup(machine: Machine, name: str = "backup.db") -> Path:
    """Back the catalog up, also while processes use it."""
    target = machine.database.with_name(name)
    back_up(file_of(machine), target, machine.clock.now, replace=True)
    machine.clock.advance(MOMENT)
    return target


def restore_backup(machine: Machine, backup: Path) -> None:
    """Put the backup back; no process may have the catalog open."""
    put_back(file_of(machine), backup, machine.clock.now, approve=lambda _: None)
    machine.clock.advance(MOMENT)


def lose_everything(machine: Machine) -> None:
    """Lose the catalog, and begin anew from the stores alone."""
    machine.database.unlink()
    put_new(file_of(machine), INSTALLATION, machine.clock.now)
    machine.clock.advance(MOMENT)


async def adopt_all(store: StorageOrchestrator) -> list[Outcome]:
    return [outcome async for outcome in store.services.adopting.adopt()]


async def confirm_and_settle(store: StorageOrchestrator, machine: Machine) -> None:
    """Confirm, and let time pass until everything that nothing names is gone."""
    machine.clock.advance(SHARE_LEASE)  # a process that died in a sweep has it no more
    await store.services.sweep.run(confirmed=True)
    await settle(store, machine.clock)


async def put_object(
    machine: Machine,
    content_id: str,
    body: bytes,
    *,
    placement: str = "standard",
    sha256: bytes | None = None,
    revision: int | None = None,
) -> str:
    """Put an object that nothing names, as a move or a sender that died leaves one; return its key."""
    now = machine.clock.now()
    token = new_token(now, machine.random.randbytes(10))
    key = str(ObjectKey(INSTALLATION, placement, ContentId(content_id), token))
    attributes = ObjectAttributes(
        ContentId(content_id), token, "text/plain", now, StorageTier.COLD, sha256=sha256, revision=revision
    )
    await machine.objects.put(key, body, attributes.as_headers())
    return key


def alter_object(machine: Machine, key: str, **fields: Any) -> None:
    """Change an object behind the store's back: its `data`, `modified_at` or `attributes`."""
    objects = machine.objects._contents.objects
    objects[key] = replace(objects[key], **fields)


async def keys_in(machine: Machine) -> set[str]:
    return {info.key async for page in machine.objects.list_pages("") for info in page}


async def shown_by(store: StorageOrchestrator, content_id: str) -> bytes | None:
    """Return what a read shows; None if there is nothing, or nothing that can be read."""
    try:
        return await store.retrieve_content(content_id)
    except (ContentNotFoundError, StorageError):
        return None
