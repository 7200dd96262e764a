"""Caching of contents: what may be cached, for how long, and how nothing stale is ever gained.

A miss takes a lease *before* it reads the record; a fill is stored only while its lease stands; a change
removes both. So a fill that raced a change is refused, whatever the order of their steps
(`tests/models/cache_fence.py`). A cache failure never fails a read or a write: it is counted.

Memory may lie over a cache that processes share (`sharing`). Each level has its lease and its own fence. Then memory
shows a value for a bounded time only, until the shared cache, asked for its version alone, says that it is current.
"""

import asyncio
from collections.abc import Callable

import structlog

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.cache import AgingLevel, CacheEntry
from thermocline.ports.clock import Clock
from thermocline.ports.held import HotLevel
from thermocline.services.loaded import Loaded
from thermocline.services.placements import Placements
from thermocline.services.sharing import CONTENT, SharedContents, key_of
from thermocline.services.tracking import ReadKind

log = structlog.get_logger(__name__)

LEASE_SECONDS = Seconds(60.0)
TOMBSTONE_SECONDS = Seconds(120.0)
"""Longer than any fill: a tombstone must outlive every read that began before it."""


class ContentCache:
    """The cache of contents' bytes, keyed by content id: memory, over a shared cache if there is one.

    With a shared cache, `memory` must be an `AgingLevel`.
    """

    def __init__(
        self,
        memory: HotLevel,
        placements: Placements,
        clock: Clock,
        *,
        max_size: Bytes,
        entropy: Callable[[int], bytes],
        shared: SharedContents | None = None,
        memory_max_size: Bytes | None = None,
    ) -> None:
        self._memory = memory
        self.held = memory.held_values(CONTENT)
        """The contents in memory, for hits that cost nothing but themselves."""
        self._placements = placements
        self._clock = clock
        self._entropy = entropy
        self._aging = memory if isinstance(memory, AgingLevel) else None
        self.shared = shared
        self.max_size = max_size
        self._memory_max_size = max_size if memory_max_size is None else memory_max_size
        self._memory_failures = 0
        self._lookups: dict[str, list[asyncio.Future[Loaded | None]]] = {}
        self.flights: dict[str, asyncio.Task[Loaded]] = {}
        """Reads under way that others may join. A change takes its flight out: whoever reads after the change was
        acknowledged must not be given what was read before it."""

    @property
    def failures(self) -> int:
        """Calls that no cache answered."""
        return self._memory_failures + (self.shared.failures if self.shared is not None else 0)

    def peek(self, content_id: str) -> CacheEntry | None:
        """Return the content in memory, not expired, or None; not counted as a read."""
        value = self.held.meet(content_id)
        return None if value is None else value.entry

    async def begin_fill(self, content_id: ContentId) -> str | None:
        """Take the leases that a later `fill` needs; None if others hold them, or no cache answers.

        Must be called before the record is read.
        """
        token = self.new_token()
        leased = await self.lease_memory(content_id, token)
        if self.shared is not None:
            leased = await self.shared.lease(content_id, token) or leased
        return token if leased else None

    def new_token(self) -> str:
        """Return a token for one attempt to fill."""
        return self._entropy(TOKEN_ENTROPY_BYTES).hex()

    async def lease_memory(self, content_id: ContentId, token: str) -> bool:
        """Take the lease of memory alone; whether it was free."""
        try:
            return await self._memory.lease(key_of(content_id), token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_lease_failed", exc)
            return False

    async def look(self, content_id: ContentId) -> Loaded | None:
        """Return what memory held back, if it is current, or what the shared cache holds; None if neither has it.

        Look-ups of one content at one time are one. Without a shared cache there is nothing to look at.
        """
        if self.shared is None:
            return None
        followers = self._lookups.get(content_id)
        if followers is not None:
            following: asyncio.Future[Loaded | None] = asyncio.get_running_loop().create_future()
            followers.append(following)
            return await following
        followers = self._lookups[content_id] = []
        found = None
        try:
            found = await self._look(self.shared, content_id)
        finally:
            # A change takes its look-up out: what was found may be older, and must not be kept.
            unchanged = self._lookups.get(content_id) is followers
            if unchanged:
                del self._lookups[content_id]
            # A leader that was cancelled tells a miss: whoever goes on to storage meets the value again.
            for follower in followers:
                if not follower.done():
                    follower.set_result(found)
        if unchanged and found is not None and found.kind is ReadKind.REDIS:
            await self._keep(content_id, found.entry)
        return found

    async def _look(self, shared: SharedContents, content_id: ContentId) -> Loaded | None:
        key = key_of(content_id)
        held = None if self._aging is None else self._aging.held(key)
        if held is not None and self._aging is not None:
            if await shared.is_current(content_id, held.version) and self._aging.confirm(key, held):
                return Loaded(held, ReadKind.MEMORY)
            await self._memory.tombstone({key: held.version}, ttl=TOMBSTONE_SECONDS)
        entry = await shared.find(content_id)
        return None if entry is None else Loaded(entry, ReadKind.REDIS)

    async def _keep(self, content_id: ContentId, entry: CacheEntry) -> None:
        """Offer memory what the shared cache holds, in the very moment in which no change has come since it was asked.

        A change that comes after that takes the lease.
        """
        if len(entry.payload) > self._memory_max_size:
            return
        token = self.new_token()
        if await self.lease_memory(content_id, token):
            await self.keep(content_id, token, entry)

    async def keep(self, content_id: ContentId, token: str, entry: CacheEntry) -> None:
        """Offer memory what the shared cache holds, under a lease that was taken before that was asked."""
        ttl = self._placements.rules(StorageTier(entry.tier)).cache_ttl
        try:
            if ttl > 0:
                await self._memory.fill(key_of(content_id), token, entry, ttl=ttl)
            else:
                await self._memory.release(key_of(content_id), token)
        except StorageError as exc:
            self._note_failure("cache_fill_failed", exc)

    async def fill(
        self,
        token: str,
        record: Record,
        payload: bytes,
        *,
        shared: bool = True,
        fetch_cost: Seconds = Seconds(0.0),
    ) -> CacheEntry:
        """Offer verified bytes of `record` to every level; return them as an entry, stored or not.

        `token` must come from a `begin_fill` that preceded the reading of `record`; a level that does not hold it
        refuses. `shared`: whether the shared cache's lease was taken too.
        """
        entry = self.entry_of(record, payload, fetch_cost=fetch_cost)
        ttl = self.lifetime(record)
        if ttl <= 0 or not self.is_cacheable(record):
            await self.give_up_fill(record.content_id, token, shared=shared)
            return entry
        try:
            await self._memory.fill(key_of(record.content_id), token, entry, ttl=ttl)
        except StorageError as exc:
            self._note_failure("cache_fill_failed", exc)
        if shared and self.shared is not None:
            await self.shared.fill(record.content_id, token, entry, ttl=ttl)
        return entry

    async def give_up_fill(self, content_id: ContentId, token: str, *, shared: bool = True) -> None:
        """Release the leases that will not be used."""
        try:
            await self._memory.release(key_of(content_id), token)
        except StorageError as exc:
            self._note_failure("cache_release_failed", exc)
        if shared and self.shared is not None:
            await self.shared.release(content_id, token)

    async def invalidate(self, content_id: ContentId, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether every level answered.

        Never raises `StorageError`.
        """
        answered = await self._invalidate_memory(content_id, version)
        if self.shared is not None:
            answered = await self.shared.invalidate(content_id, version) and answered
            # Reads that began meanwhile may have met what was evicted just now.
            self._part_reads(content_id)
        return answered

    async def hear(self, content_id: ContentId, version: int) -> None:
        """Take in that somebody committed `version`: memory gains nothing older. Whoever committed it told the others.

        What is cached of this very version is right.
        """
        if self._aging is None or self.shared is None:
            await self._invalidate_memory(content_id, version - 1)
            return
        # The shared cache may still hold what is older, until the writer evicts it: memory must refuse that.
        held = self._aging.held(key_of(content_id))
        if held is None or held.version < version:
            await self._invalidate_memory(content_id, version)

    async def _invalidate_memory(self, content_id: ContentId, version: int) -> bool:
        self._part_reads(content_id)
        try:
            await self._memory.tombstone({key_of(content_id): version}, ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_invalidation_failed", exc)
            return False
        return True

    def _part_reads(self, content_id: ContentId) -> None:
        """Let nobody join the reads under way: what they bring may be older than what is acknowledged next."""
        self.flights.pop(content_id, None)
        self._lookups.pop(content_id, None)

    async def clear(self) -> None:
        """Empty this process's memory: changes may have been missed."""
        self.flights.clear()
        self._lookups.clear()
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

    def entry_of(self, record: Record, payload: bytes, *, fetch_cost: Seconds = Seconds(0.0)) -> CacheEntry:
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
            fetch_cost=fetch_cost,
        )

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self._memory_failures += 1
        log.warning(event, error=type(exc).__name__, message=str(exc))
