"""Mending: giving a record whose object is missing or damaged a good copy of the same bytes.

1. The stores are listed once for many such records: which other objects of their contents are there (a move leaves
   the old one for its grace; a recovery leaves others).
2. Each is copied to a fresh key under an intent of its own, as a write is, and hashed on the way.
3. **Commit point**: if the bytes are the record's by their SHA-256, and the record is still what it was, it is
   switched to the copy. A crash before leaves an intent that the cleaner takes up.
The bytes are copied, not adopted where they lie: what nothing names, or a deletion names, may be deleted any moment.
The damaged object is left to the sweep.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from thermocline.domain.content import ObjectAttributes, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import Buffer, ContentDigest
from thermocline.domain.errors import ObjectArchivedError, ObjectMissingError, UnsafePathError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.ports.clock import Clock
from thermocline.ports.object_store import Upload
from thermocline.ports.outbox import Outbox
from thermocline.ports.records import Records
from thermocline.ports.recovery import Recovery, Replacement
from thermocline.services.intent_keeping import HeldIntent, IntentKeeper
from thermocline.services.placements import Placement, Placements
from thermocline.services.transferring import Gathering

BATCH = 1000
"""How many records one listing of the stores serves; bounds memory."""
MOST_SOURCES = 20
"""How many other objects of a content are tried, the newest first."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of one damaged record."""

    content_id: ContentId
    object_key: str | None
    """Its object now; None if there is none that is good."""
    detail: str


@dataclass(frozen=True, slots=True)
class _Source:
    placement: Placement
    key: str


class MendingService:
    """Mends what `fsck` finds."""

    def __init__(
        self,
        records: Records,
        recovery: Recovery,
        outbox: Outbox,
        keeper: IntentKeeper,
        placements: Placements,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._records = records
        self._recovery = recovery
        self._outbox = outbox
        self._keeper = keeper
        self._placements = placements
        self._clock = clock
        self._entropy = entropy

    async def revive_dead_letters(self) -> int:
        """Make work that had failed too often due again; how much."""
        return await self._outbox.revive(now=self._clock.now())

    async def mend(self, content_ids: Sequence[ContentId]) -> AsyncGenerator[Mended]:
        """Mend up to `BATCH` contents whose objects are missing or damaged; yield what became of each.

        Must be closed if it is not read to its end. Raises what a store raises.
        """
        found = [await self._records.find(content_id) for content_id in content_ids[:BATCH]]
        damaged = {record.content_id: record for record in found if record is not None}
        sources = await self._sources_of(damaged)
        for record in damaged.values():
            yield await self._mend(record, sources.get(record.content_id, []))

    async def _sources_of(self, damaged: dict[ContentId, Record]) -> dict[ContentId, list[_Source]]:
        sources: dict[ContentId, list[_Source]] = {}
        for placement in self._placements.all() if damaged else ():
            async for page in placement.store.list_pages(f"{self._placements.installation}/{placement.name}/"):
                for info in page:
                    parts = ObjectKey.parse(info.key) if info.finished else None
                    record = damaged.get(parts.content_id) if parts is not None else None
                    if record is None or info.key == record.object_key or info.size < record.size:
                        continue
                    some = sources.setdefault(record.content_id, [])
                    some.append(_Source(placement, info.key))
                    some.sort(key=lambda source: source.key[source.key.rindex("/") :], reverse=True)
                    del some[MOST_SOURCES:]
        return sources

    async def _mend(self, record: Record, sources: Sequence[_Source]) -> Mended:
        archived = False
        for source in sources:
            try:
                head = await source.placement.store.head(source.key)
                if head is None or head.size != record.size:
                    continue
                key = await self._copy(record, source)
            except ObjectArchivedError:
                archived = True
                continue
            except (ObjectMissingError, UnsafePathError, EOFError):
                continue
            if key is not None:
                return Mended(record.content_id, key, f"copied the same bytes from {source.key!r}")
        current = await self._records.find(record.content_id)
        if current is None or current.object_key != record.object_key:
            return Mended(
                record.content_id,
                None if current is None else current.object_key,
                "it was replaced or deleted meanwhile",
            )
        if archived:
            detail = "another object of it is archived: have its store restore it, then run the repair again"
        else:
            detail = (
                "no store has another object with these bytes; put the content again, or delete it with "
                f"'thermocline rm {record.content_id}'"
            )
        return Mended(record.content_id, None, detail)

    async def _copy(self, record: Record, source: _Source) -> str | None:
        """Copy and switch; return the new key, or None if the bytes are others or the record moved on."""
        placement = self._placements.named(record.placement)
        now = self._clock.now()
        token = new_token(now, self._entropy(TOKEN_ENTROPY_BYTES))
        key = str(ObjectKey(self._placements.installation, placement.name, record.content_id, token))
        attributes = ObjectAttributes(
            record.content_id,
            token,
            record.headers.content_type,
            now,
            record.tier,
            sha256=record.digest,
            revision=record.revision,
        )
        intent = await self._keeper.declare(key, placement.name)
        upload: Upload | None = None
        completed = False
        try:
            intent.check()
            upload = await placement.store.begin_upload(
                key, attributes.as_headers(), storage_class=placement.storage_class
            )
            digest = await self._send(intent, upload, source, record)
            if digest.whole() != record.digest:
                return None
            intent.check()
            await upload.complete()
            completed = True
            committed = await self._recovery.commit_replacement(
                Replacement(record, key, digest.chunks()), now=self._clock.now()
            )
        finally:
            if upload is not None and not completed:
                await upload.abort()
            self._keeper.let_go(intent)
        return None if committed is None else key

    async def _send(self, intent: HeldIntent, upload: Upload, source: _Source, record: Record) -> ContentDigest:
        store = self._placements.named(record.placement).store
        digest = ContentDigest()
        async with aclosing(source.placement.store.stream(source.key, 0, record.size)) as blocks:
            gathering = Gathering(_hashed(blocks, digest), store.part_size)
            while part := await gathering.next_part():
                intent.check()
                await upload.write(part)
        return digest


async def _hashed(blocks: AsyncIterator[Buffer], digest: ContentDigest) -> AsyncIterator[Buffer]:
    async for block in blocks:
        await asyncio.to_thread(digest.update, block)
        yield block
