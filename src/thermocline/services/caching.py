"""Caching of contents: what may be cached, for how long, and how nothing stale is ever gained.

A miss takes a lease *before* it reads the record; a fill is stored only while its lease stands; a change
removes both. So a fill that raced a change is refused, whatever the order of their steps
(`tests/models/cache_fence.py`). A cache failure never fails a read or a write: it is counted.
"""

import asyncio
from collections.abc import Callable

import structlog

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.cache import CacheEntry, MemoryLevel
from thermocline.ports.clock import Clock
from thermocline.services.placements import Placements

log = structlog.get_logger(__name__)

LEASE_SECONDS = Seconds(60.0)
TOMBSTONE_SECONDS = Seconds(120.0)
"""Longer than any fill: a tombstone must outlive every read that began before it."""


class ContentCache:
    """The cache of contents' bytes, keyed by content id."""

    def __init__(
        self,
        memory: MemoryLevel,
        placements: Placements,
        clock: Clock,
        *,
        max_size: Bytes,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._memory = memory
        self._placements = placements
        self._clock = clock
        self._entropy = entropy
        self.max_size = max_size
        self.failures = 0
        self.flights: dict[str, asyncio.Task[CacheEntry]] = {}
        """Reads under way that others may join. A change takes its flight out: whoever reads after the change was
        acknowledged must not be given what was read before it."""

    def peek(self, content_id: str) -> CacheEntry | None:
        """Return the cached content, not expired, or None. Synchronous: the hot read path."""
        entry = self._memory.peek("content:" + content_id)
        if entry is not None and entry.expires_at is not None and self._clock.now() >= entry.expires_at:
            return None
        return entry

    async def begin_fill(self, content_id: ContentId) -> str | None:
        """Take the lease that a later `fill` needs; None if another holds it or the cache does not answer.

        Must be called before the record is read.
        """
        token = self._entropy(TOKEN_ENTROPY_BYTES).hex()
        try:
            return token if await self._memory.lease(_key(content_id), token, ttl=LEASE_SECONDS) else None
        except StorageError as exc:
            self._note_failure("cache_lease_failed", exc)
            return None

    async def fill(self, token: str, record: Record, payload: bytes) -> CacheEntry:
        """Offer verified bytes of `record` to the cache; return them as an entry, stored or not.

        `token` must come from a `begin_fill` that preceded the reading of `record`.
        """
        entry = self.entry_of(record, payload)
        ttl = self.lifetime(record)
        try:
            if ttl > 0 and self.is_cacheable(record):
                await self._memory.fill(_key(record.content_id), token, entry, ttl=ttl)
            else:
                await self._memory.release(_key(record.content_id), token)
        except StorageError as exc:
            self._note_failure("cache_fill_failed", exc)
        return entry

    async def give_up_fill(self, content_id: ContentId, token: str) -> None:
        """Release a lease that will not be used."""
        try:
            await self._memory.release(_key(content_id), token)
        except StorageError as exc:
            self._note_failure("cache_release_failed", exc)

    async def invalidate(self, content_id: ContentId, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether the cache answered.

        Never raises `StorageError`.
        """
        self.flights.pop(content_id, None)
        try:
            await self._memory.tombstone({_key(content_id): version}, ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_invalidation_failed", exc)
            return False
        return True

    async def clear(self) -> None:
        """Forget everything: changes may have been missed."""
        self.flights.clear()
        await self._memory.clear()

    def is_cacheable(self, record: Record) -> bool:
        """Whether content of this size and tier is cached at all."""
        return record.size <= self.max_size and self._placements.rules(record.tier).cache_ttl > 0

    def lifetime(self, record: Record) -> Seconds:
        """Return how long the content may stay cached from now; never beyond its own end."""
        ttl = self._placements.rules(record.tier).cache_ttl
        if record.expires_at is not None:
            ttl = Seconds(min(ttl, elapsed(self._clock.now(), record.expires_at)))
        return ttl

    def entry_of(self, record: Record, payload: bytes) -> CacheEntry:
        """Return the entry that represents `record` with these bytes."""
        return CacheEntry(
            payload=payload,
            version=record.version,
            revision=record.revision,
            visibility=record.visibility,
            expires_at=record.expires_at,
            cached_at=self._clock.now(),
            modified_at=record.modified_at,
            digest=record.digest,
            headers=record.headers,
            tier=record.tier.value,
        )

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self.failures += 1
        log.warning(event, error=type(exc).__name__, message=str(exc))


def _key(content_id: str) -> str:
    return "content:" + content_id
