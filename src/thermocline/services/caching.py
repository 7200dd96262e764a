"""Caching of contents: what may be cached, for how long, and which reads under way others may join.

Leases and fences are those of the levels (`cache_levels`). A cache failure never fails a read or a write: it is
counted.
"""

import asyncio
from collections.abc import Callable

from thermocline.domain.cache_types import CONTENT, content_key
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.glob import glob_matcher
from thermocline.domain.units import Bytes, Seconds, elapsed, later
from thermocline.ports.cache import CacheEntry
from thermocline.ports.clock import Clock
from thermocline.services.absences import Absences
from thermocline.services.cache_levels import CacheLevels, Found, Level
from thermocline.services.loaded import Loaded, loaded_from
from thermocline.services.placements import Placements
from thermocline.services.sharing import SharedCache


class ContentCache:
    """The cache of contents' bytes, by content id."""

    def __init__(
        self, levels: CacheLevels, placements: Placements, clock: Clock, *, max_size: Bytes, negative_ttl: Seconds
    ) -> None:
        self.levels = levels
        self.held = levels.memory.held_values(CONTENT)
        """The contents in memory, for hits that cost nothing but themselves."""
        self._placements = placements
        self._clock = clock
        self.max_size = max_size
        self.absences = Absences(clock, ttl=negative_ttl)
        """What is not there."""
        self.hidden = Absences(clock, ttl=negative_ttl)
        """What is not there for strangers: private content too."""
        self.flights: dict[str, asyncio.Task[Loaded]] = {}
        """Reads under way that others may join. A change takes its flight out: whoever reads after the change was
        acknowledged must not be given what was read before it."""
        self.too_large = 0
        """Contents that were not cached for their size."""
        self.stale_served = 0
        """Values given out although they may be fresh no longer."""
        self.memory_bytes = 0
        """What reads were served from memory beside its hits: with others' reads, or after it was confirmed."""
        self.shared_bytes = 0
        """What reads were served from the shared cache."""
        self.on_found: Callable[[ContentId, CacheEntry], None] | None = None
        """Hears of each value that the shared cache served."""

    @property
    def shared(self) -> SharedCache | None:
        """The cache that processes share, if there is one."""
        return self.levels.shared

    @property
    def failures(self) -> int:
        """Calls that no cache answered."""
        return self.levels.failures

    def peek(self, content_id: str) -> CacheEntry | None:
        """Return the content in memory, not expired, or None; not counted as a read."""
        value = self.held.meet(content_id)
        return None if value is None else value.entry

    async def find(self, content_id: ContentId) -> Found | None:
        """Return what memory held back, if it is current, or what the shared cache holds; None if neither has it."""
        found = await self.levels.look(content_key(content_id))
        if found is not None and found.level is Level.SHARED and self.on_found is not None:
            self.on_found(content_id, found.entry)
        return found

    async def stale(self, content_id: ContentId) -> Loaded | None:
        """Return what is cached, fresh or not, up to the age that is allowed: for when storage fails."""
        found = await self.levels.stale(content_key(content_id))
        if found is None:
            return None
        self.stale_served += 1
        return loaded_from(found)

    async def held_bytes(self, record: Record) -> bytes | None:
        """Return the bytes of this very record if memory has them, fresh or not."""
        entry = await self.levels.held(content_key(record.content_id))
        if entry is None or entry.revision != record.revision or entry.digest != record.digest:
            return None
        return entry.payload

    def new_token(self) -> str:
        """Return a token for one attempt to fill."""
        return self.levels.new_token()

    async def begin_fill(self, content_id: ContentId) -> str | None:
        """Take the leases that a later `fill` needs; None if others hold them, or no cache answers.

        Must be called before the record is read.
        """
        return await self.levels.begin_fill(content_key(content_id))

    async def begin_refresh(self, content_id: ContentId) -> str | None:
        """Take the places beside the cached content that a later `fill` needs; None if another refreshes it."""
        return await self.levels.begin_refresh(content_key(content_id))

    async def lease_memory(self, content_id: ContentId, token: str) -> bool:
        """Take the lease of memory alone; whether it was free."""
        return await self.levels.lease_memory(content_key(content_id), token)

    async def keep(self, content_id: ContentId, token: str, entry: CacheEntry) -> None:
        """Offer memory what the shared cache holds, under a lease that was taken before that was asked."""
        await self.levels.keep(content_key(content_id), token, entry)

    async def fill(
        self,
        token: str,
        record: Record,
        payload: bytes,
        *,
        shared: bool = True,
        fetch_cost: Seconds = Seconds(0.0),
        ttl: Seconds | None = None,
        by_miss: bool = False,
    ) -> CacheEntry:
        """Offer verified bytes of `record` to every level; return them as an entry, stored or not.

        `token` must come from a `begin_fill` that preceded the reading of `record`; a level that does not hold it
        refuses. `shared`: whether the shared cache's lease was taken too. `ttl` goes before the tier's lifetime.
        `by_miss`: whether a reader's miss brought it, see `CacheLevels.fill`.
        """
        entry = self.entry_of(record, payload, fetch_cost=fetch_cost, ttl=ttl)
        await self.offer(token, record, entry, shared=shared, ttl=ttl, by_miss=by_miss)
        return entry

    async def offer(
        self,
        token: str,
        record: Record,
        entry: CacheEntry,
        *,
        shared: bool = True,
        ttl: Seconds | None = None,
        by_miss: bool = False,
    ) -> bool:
        """Do what `fill` does with an entry of the record; whether any level stored it."""
        if entry.fresh_until is None or not self.is_cacheable(record, ttl=ttl):
            if record.size > self.max_size:
                self.too_large += 1
            await self.give_up_fill(record.content_id, token, shared=shared)
            return False
        key = content_key(record.content_id)
        return await self.levels.fill(key, token, entry, shared=shared, by_miss=by_miss)

    async def give_up_fill(self, content_id: ContentId, token: str, *, shared: bool = True) -> None:
        """Release the leases that will not be used."""
        await self.levels.give_up_fill(content_key(content_id), token, shared=shared)

    async def invalidate(self, content_id: ContentId, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether every level answered.

        Never raises `StorageError`.
        """
        self._forget_absence(content_id)
        self.flights.pop(content_id, None)
        answered = await self.levels.invalidate(content_key(content_id), version)
        # Reads that began meanwhile may have met what was evicted just now.
        self.flights.pop(content_id, None)
        return answered

    async def hear(self, content_id: ContentId, version: int) -> None:
        """Take in that somebody committed `version`: memory gains nothing older. Whoever committed it told the others.

        What is cached of this very version is right.
        """
        self._forget_absence(content_id)
        if await self.levels.hear(content_key(content_id), version):
            self.flights.pop(content_id, None)

    async def evict_here(self, pattern: str) -> int:
        """Evict the keys that match from this process's memory, and part the reads under way; return how many."""
        matches = glob_matcher(pattern)
        for content_id in [content_id for content_id in self.flights if matches(content_key(content_id))]:
            del self.flights[content_id]
        return await self.levels.evict_memory(pattern)

    async def clear(self) -> None:
        """Empty this process's memory: changes may have been missed."""
        self.absences.clear()
        self.hidden.clear()
        self.flights.clear()
        await self.levels.clear()

    def is_cacheable(self, record: Record, *, ttl: Seconds | None = None) -> bool:
        """Whether content of this size and tier is cached at all."""
        return record.size <= self.max_size and self._tier_ttl(record, ttl) > 0

    def lifetime(self, record: Record, *, ttl: Seconds | None = None) -> Seconds:
        """Return how long the content may stay cached from now; never beyond its own end."""
        allowed = self._tier_ttl(record, ttl)
        if record.expires_at is not None:
            allowed = Seconds(min(allowed, elapsed(self._clock.now(), record.expires_at)))
        return allowed

    def entry_of(
        self, record: Record, payload: bytes, *, fetch_cost: Seconds = Seconds(0.0), ttl: Seconds | None = None
    ) -> CacheEntry:
        """Return the entry that represents `record` with these bytes."""
        now = self._clock.now()
        lifetime = self.lifetime(record, ttl=ttl)
        return CacheEntry(
            payload=payload,
            version=record.version,
            revision=record.revision,
            visibility=record.visibility,
            expires_at=record.expires_at,
            cached_at=now,
            modified_at=record.modified_at,
            digest=record.digest,
            headers=record.headers,
            tier=record.tier.value,
            fetch_cost=fetch_cost,
            fresh_until=later(now, lifetime) if lifetime > 0 else None,
        )

    def _forget_absence(self, content_id: ContentId) -> None:
        self.absences.forget(content_id)
        self.hidden.forget(content_id)

    def _tier_ttl(self, record: Record, ttl: Seconds | None) -> Seconds:
        return self._placements.rules(record.tier).cache_ttl if ttl is None else ttl
