"""Stored bytes for copies and comparisons: verified as for readers, but neither cached nor counted as reads."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES, Buffer
from thermocline.domain.errors import (
    ContentArchivedError,
    ContentNotFoundError,
    IntegrityError,
    ObjectArchivedError,
    ObjectMissingError,
)
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.admission import MemoryBudget
from thermocline.services.placements import Placements
from thermocline.services.verifying import anext_or_none, fetch_verified, stream_verified

_STREAMED_CHUNKS = 2


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A content as it was when it was opened: its record, and its bytes."""

    record: Record
    body: bytes | AsyncIterator[Buffer]
    """Bytes where one chunk holds all."""


class StoredBytes:
    """Reads whole contents, each byte verified before it is given out; bounded memory."""

    def __init__(self, records: Records, placements: Placements, memory: MemoryBudget, clock: Clock) -> None:
        self._records = records
        self._placements = placements
        self._memory = memory
        self._clock = clock

    @asynccontextmanager
    async def open(self, record: Record) -> AsyncIterator[StoredContent]:
        """Open the content of this record, or what has replaced it meanwhile.

        Raises `ContentNotFoundError` if it is gone, `ContentArchivedError` if it must be restored first,
        `IntegrityError` if it is damaged.
        """
        if record.size > CHUNK_BYTES:
            record = await self._current(record.content_id)  # pages of records have no chunk digests
        try:
            opened = self._open(record)
            content = await opened.__aenter__()
        except ObjectMissingError:
            current = await self._current(record.content_id)
            if current.object_key == record.object_key:
                raise _missing(record) from None
            opened = self._open(current)
            try:
                content = await opened.__aenter__()
            except ObjectMissingError:
                raise _missing(current) from None
        try:
            yield content
        finally:
            await opened.__aexit__(None, None, None)

    async def digest(self, record: Record) -> bytes:
        """Return the SHA-256 of the bytes as they are stored now."""
        digest = hashlib.sha256()
        async with self.open(record) as content:
            if isinstance(content.body, bytes):
                digest.update(content.body)
            else:
                async for piece in content.body:
                    digest.update(piece)
        return digest.digest()

    @asynccontextmanager
    async def _open(self, record: Record) -> AsyncIterator[StoredContent]:
        store = self._placements.named(record.placement).store
        async with self._memory.grant(min(record.size, _STREAMED_CHUNKS * CHUNK_BYTES)):
            if record.size <= CHUNK_BYTES:
                with _telling_of_archives(record):
                    whole = await fetch_verified(store, record)
                yield StoredContent(record, whole)
                return
            async with aclosing(stream_verified(store, record, 0, record.size)) as chunks:
                with _telling_of_archives(record):
                    first = await anext_or_none(chunks)
                yield StoredContent(record, _from(first, chunks))

    async def _current(self, content_id: ContentId) -> Record:
        record = await self._records.find(content_id)
        if record is None or not record.is_alive(self._clock.now()):
            raise ContentNotFoundError(content_id)
        return record


@contextmanager
def _telling_of_archives(record: Record) -> Iterator[None]:
    try:
        yield
    except ObjectArchivedError as exc:
        raise ContentArchivedError(record.content_id, eta=None) from exc


async def _from(first: Buffer | None, rest: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    if first is not None:
        yield first
    async for chunk in rest:
        yield chunk


def _missing(record: Record) -> IntegrityError:
    return IntegrityError(record.content_id, object_key=record.object_key, detail="its object is missing")
