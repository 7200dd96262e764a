"""Prefilling: what was just written is put into the cache, like any reader would.

1. Take the leases. 2. Re-read the records. 3. Fill those that still are what was written, under the lease.
Writes that come while one batch is at work form the next, so that under load many share one look into the catalog.
All of it is best effort: what is too much is dropped and counted, and the first reader fills instead.
"""

import asyncio

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes
from thermocline.ports.records import Committed, Records
from thermocline.services.background import Background
from thermocline.services.caching import ContentCache

log = structlog.get_logger(__name__)

MAX_PAYLOAD = Bytes(1024 * 1024)
"""Larger bodies are not kept in memory past the write."""
MAX_WAITING = Bytes(16 * 1024 * 1024)
"""Bytes that wait for their fill at most."""


class Prefiller:
    """Fills the cache after writes, without making them wait."""

    def __init__(self, records: Records, cache: ContentCache, background: Background) -> None:
        self._records = records
        self._cache = cache
        self._background = background
        self._waiting: list[tuple[Committed, bytes]] = []
        self._waiting_bytes = 0
        self._at_work = False
        self.shed = 0

    def offer(self, committed: Committed, payload: bytes) -> None:
        """Take the bytes of a write for a fill, if there is room for them."""
        if len(payload) > MAX_PAYLOAD or self._waiting_bytes + len(payload) > MAX_WAITING:
            self.shed += 1
            return
        self._waiting.append((committed, payload))
        self._waiting_bytes += len(payload)
        if not self._at_work:
            self._at_work = self._background.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                await asyncio.gather(*(self._fill(committed, payload) for committed, payload in batch))
        finally:
            self._at_work = False

    async def _fill(self, committed: Committed, payload: bytes) -> None:
        content_id = committed.record.content_id
        token = await self._cache.begin_fill(content_id)
        if token is None:
            return
        record = None
        try:
            record = await self._records.find(content_id)
        except StorageError as exc:
            log.warning("prefill_failed", error=type(exc).__name__, message=str(exc))
        if record is not None and record.object_key == committed.record.object_key:
            await self._cache.fill(token, record, payload)
        else:
            await self._cache.give_up_fill(content_id, token)
