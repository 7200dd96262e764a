"""Checking (`fsck`): every record against its object, every object against the catalog. Changes nothing."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.content import Record
from thermocline.domain.errors import ContentNotFoundError, IntegrityError, ObjectArchivedError, ObjectMissingError
from thermocline.domain.keys import ObjectKey
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import ObjectStore
from thermocline.ports.outbox import Outbox
from thermocline.ports.sweeps import Sweeps
from thermocline.services.listing import MAX_PAGE, ListingService
from thermocline.services.looking_up import not_listed
from thermocline.services.placements import Placement, Placements
from thermocline.services.reading import ReadingService
from thermocline.services.verifying import stream_verified

CONCURRENCY = 8


class Damage(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    """A record's object is gone."""
    DAMAGED = "damaged"
    """A record's object does not hold the bytes that were stored."""
    ORPHAN = "orphan"
    """Nothing names an object; the sweep will remove it once it is old enough."""
    DEAD_LETTER = "dead_letter"
    """Work that failed too often to be tried again by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    damage: Damage
    content_id: str | None
    object_key: str | None
    detail: str


@dataclass(slots=True)
class CheckProgress:
    """How far a check has come."""

    contents: int = 0
    read_bytes: Bytes = Bytes(0)
    objects: int = 0
    findings: int = 0


class CheckingService:
    """Finds what is wrong; findings of contents that change meanwhile are confirmed before they are told."""

    def __init__(
        self,
        listing: ListingService,
        reading: ReadingService,
        placements: Placements,
        outbox: Outbox,
        sweeps: Sweeps,
    ) -> None:
        self._listing = listing
        self._reading = reading
        self._placements = placements
        self._outbox = outbox
        self._sweeps = sweeps

    async def check(
        self, *, read_bytes: bool = True, progress: Callable[[CheckProgress], None] = lambda _: None
    ) -> AsyncIterator[Finding]:
        """Yield what is wrong. With `read_bytes` every object is read and verified, else only looked up.

        What is archived is only looked up, too: reading it takes a restore, which costs money. Where the store lists
        ranges, looking up takes a few requests for a thousand objects, and one more for each that seems wrong.
        """
        state = CheckProgress()
        async with aclosing(self._findings(state, read_bytes=read_bytes, progress=progress)) as findings:
            async for finding in findings:
                state.findings += 1
                yield finding
        progress(state)

    async def _findings(
        self, state: CheckProgress, *, read_bytes: bool, progress: Callable[[CheckProgress], None]
    ) -> AsyncGenerator[Finding]:
        async for records in self._batches(CONCURRENCY if read_bytes else MAX_PAGE):
            left = records if read_bytes else await not_listed(self._placements, records)
            state.contents += len(records) - len(left)
            for start in range(0, len(left), CONCURRENCY):
                for finding in await self._check_records(
                    left[start : start + CONCURRENCY], state, read_bytes=read_bytes
                ):
                    yield finding
                progress(state)
            progress(state)
        for placement in self._placements.all():
            async for finding in self._orphans(placement, state):
                yield finding
            progress(state)
        for work in await self._outbox.state():
            if work.dead:
                yield Finding(Damage.DEAD_LETTER, None, None, f"{work.dead} rows of kind {work.kind} failed too often")

    async def _batches(self, size: int) -> AsyncIterator[list[Record]]:
        batch: list[Record] = []
        async for record in self._listing.all():
            batch.append(record)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _check_records(self, records: list[Record], state: CheckProgress, *, read_bytes: bool) -> list[Finding]:
        results = await asyncio.gather(
            *(self._check_record(record, state, read_bytes=read_bytes) for record in records)
        )
        state.contents += len(records)
        return [finding for finding in results if finding is not None]

    async def _check_record(self, listed: Record, state: CheckProgress, *, read_bytes: bool) -> Finding | None:
        try:
            record = await self._reading.stat(listed.content_id)  # with its chunk digests
            try:
                await self._verify(record, state, read_bytes=read_bytes)
            except (IntegrityError, ObjectMissingError) as exc:
                current = await self._reading.stat(listed.content_id)
                if current.object_key != record.object_key:
                    return None  # it was replaced meanwhile
                damage = Damage.MISSING if isinstance(exc, ObjectMissingError) else Damage.DAMAGED
                return Finding(damage, record.content_id, record.object_key, str(exc))
        except ContentNotFoundError:
            return None
        return None

    async def _verify(self, record: Record, state: CheckProgress, *, read_bytes: bool) -> None:
        store = self._placements.named(record.placement).store
        if read_bytes and record.size:
            try:
                await self._read(store, record)
            except ObjectArchivedError:
                await self._look_up(store, record)
                return
            state.read_bytes = Bytes(state.read_bytes + record.size)
            return
        await self._look_up(store, record)

    async def _read(self, store: ObjectStore, record: Record) -> None:
        # Chunk digests find damage; the whole digest finds what was made to pass them, too.
        whole = hashlib.sha256()
        async with aclosing(stream_verified(store, record, 0, record.size)) as chunks:
            async for chunk in chunks:
                if record.chunk_digests:
                    await asyncio.to_thread(whole.update, chunk)
        if record.chunk_digests and whole.digest() != record.digest:
            detail = "its bytes are not those that were stored"
            raise IntegrityError(record.content_id, object_key=record.object_key, detail=detail)

    async def _look_up(self, store: ObjectStore, record: Record) -> None:
        head = await store.head(record.object_key)
        if head is None:
            raise ObjectMissingError(record.object_key)
        if head.size != record.size:
            detail = f"it has {head.size} bytes instead of {record.size}"
            raise IntegrityError(record.content_id, object_key=record.object_key, detail=detail)

    async def _orphans(self, placement: Placement, state: CheckProgress) -> AsyncIterator[Finding]:
        prefix = f"{self._placements.installation}/{placement.name}/"
        async for page in placement.store.list_pages(prefix):
            state.objects += len(page)
            keys = [info.key for info in page if ObjectKey.parse(info.key)]
            for key in await self._sweeps.unnamed(keys) if keys else ():
                parsed = ObjectKey.parse(key)
                yield Finding(Damage.ORPHAN, parsed.content_id if parsed else None, key, "nothing names this object")
