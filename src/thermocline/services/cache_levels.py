"""The two levels of the cache by key: memory, over a cache that processes share if there is one. Neither fails a call.

A miss takes a lease *before* it reads its source; a fill is stored only while its lease stands; a change removes both.
So a fill that raced a change is refused, whatever the order of their steps (`tests/models/cache_fence.py`). Each level
has its lease and its own fence. With a shared cache, memory shows a value for a bounded time only, until the shared
cache, asked for its version alone, says that it is current.

A value is fresh until its `fresh_until`. Both levels keep it `keep_stale` longer, for when its source fails.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

import structlog

from thermocline.domain.cache_admission import Admission
from thermocline.domain.cache_types import type_of
from thermocline.domain.errors import StorageError
from thermocline.domain.glob import glob_matcher
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.cache import AgingLevel, CacheEntry
from thermocline.ports.clock import Clock
from thermocline.ports.held import HotLevel
from thermocline.services.sharing import SharedCache

log = structlog.get_logger(__name__)

LEASE_SECONDS = Seconds(60.0)
TOMBSTONE_SECONDS = Seconds(120.0)
"""Longer than any fill: a tombstone must outlive every read that began before it."""
TRIAL_SECONDS = Seconds(60.0)
"""How long a full shared cache keeps what was missed once: refusing it would let each process read it from storage."""


class Level(Enum):
    """What a value came from."""

    MEMORY = auto()
    SHARED = auto()


class Found(NamedTuple):
    """A value, and the level that had it."""

    entry: CacheEntry
    level: Level


class CacheLevels:
    """Memory over the shared cache. With a shared cache, `memory` must be an `AgingLevel`."""

    def __init__(
        self,
        memory: HotLevel,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes],
        shared: SharedCache | None = None,
        memory_max_size: Bytes,
        keep_stale: Seconds = Seconds(0.0),
    ) -> None:
        self.memory = memory
        self.shared = shared
        self._clock = clock
        self._entropy = entropy
        self._aging = memory if isinstance(memory, AgingLevel) else None
        self._memory_max_size = memory_max_size
        self._keep_stale = keep_stale
        self.admission = Admission()
        self._memory_failures = 0
        self.shared_sets: dict[str, tuple[int, int]] = {}
        """By cache type: how many values the shared cache took from here, and their bytes."""
        self._lookups: dict[str, list[asyncio.Future[Found | None]]] = {}

    @property
    def failures(self) -> int:
        """Calls that a level did not answer."""
        return self._memory_failures + (self.shared.failures if self.shared is not None else 0)

    def new_token(self) -> str:
        """Return a token for one attempt to fill."""
        return self._entropy(TOKEN_ENTROPY_BYTES).hex()

    async def look(self, key: str) -> Found | None:
        """Return what memory held back, if it is current, or what the shared cache holds; None if neither has it.

        Look-ups of one key at one time are one. Without a shared cache there is nothing to look at.
        """
        if self.shared is None:
            return None
        followers = self._lookups.get(key)
        if followers is not None:
            following: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
            followers.append(following)
            return await following
        followers = self._lookups[key] = []
        found = None
        try:
            found = await self._look(self.shared, key)
        finally:
            # A change takes its look-up out: what was found may be older, and must not be kept.
            unchanged = self._lookups.get(key) is followers
            if unchanged:
                del self._lookups[key]
            # A leader that was cancelled tells a miss: whoever goes on to the source meets the value again.
            for follower in followers:
                if not follower.done():
                    follower.set_result(found)
        if unchanged and found is not None and found.level is Level.SHARED:
            await self._keep(key, found.entry)
        return found

    async def stale(self, key: str) -> Found | None:
        """Return a value that may be fresh no longer, by at most `keep_stale`: for when its source fails."""
        entry = await self.held(key)
        if entry is not None and self._is_fit(entry):
            return Found(entry, Level.MEMORY)
        entry = None if self.shared is None else await self.shared.stale(key)
        return Found(entry, Level.SHARED) if entry is not None and self._is_fit(entry) else None

    async def held(self, key: str) -> CacheEntry | None:
        """Return what memory holds, fresh or not, confirmed or not."""
        try:
            return await self.memory.stale(key)
        except StorageError as exc:
            self._note_failure("cache_get_failed", exc)
            return None

    async def lease_memory(self, key: str, token: str) -> bool:
        """Take the lease of memory alone; whether it was free."""
        try:
            return await self.memory.lease(key, token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_lease_failed", exc)
            return False

    async def begin_fill(self, key: str) -> str | None:
        """Take the leases that a later `fill` needs; None if others hold them, or no level answers.

        Must be called before the source is read.
        """
        token = self.new_token()
        leased = await self.lease_memory(key, token)
        if self.shared is not None:
            leased = await self.shared.lease(key, token) or leased
        return token if leased else None

    async def begin_refresh(self, key: str) -> str | None:
        """Take the places beside a value that a later `fill` needs; None if another refreshes it, or it is gone.

        With a shared cache, that decides: one process refreshes. Must be called before the source is read.
        """
        token = self.new_token()
        if self.shared is not None and not await self.shared.refresh(key, token):
            return None
        try:
            refreshing = await self.memory.refresh(key, token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_lease_failed", exc)
            refreshing = False
        return token if refreshing or self.shared is not None else None

    async def fill(
        self, key: str, token: str, entry: CacheEntry, *, shared: bool = True, by_miss: bool = False
    ) -> bool:
        """Offer a value to every level, until its `fresh_until`; whether any stored it.

        A level that does not hold `token` refuses. `shared`: whether the shared cache's lease was taken too. What a
        miss brought (`by_miss`) comes into a shared cache that is nearly full for a short trial only, unless it was
        missed before.
        """
        life = self._life(entry)
        if life <= 0:
            await self.give_up_fill(key, token, shared=shared)
            return False
        stored = await self._fill_memory(key, token, entry, life)
        if shared and self.shared is not None:
            if by_miss and not self.admission.admits(key, len(entry.payload), pressure=self.shared.pressure):
                life = Seconds(min(life, TRIAL_SECONDS))
            stored = await self._fill_shared(self.shared, key, token, entry, life) or stored
        return stored

    async def keep(self, key: str, token: str, entry: CacheEntry) -> None:
        """Offer memory what the shared cache holds, under a lease that was taken before that was asked."""
        await self._fill_memory(key, token, entry, self._life(entry))

    async def give_up_fill(self, key: str, token: str, *, shared: bool = True) -> None:
        """Release the leases that will not be used."""
        await self._release_memory(key, token)
        if shared and self.shared is not None:
            await self.shared.release(key, token)

    async def put(self, key: str, entry: CacheEntry) -> bool:
        """Store a value that no record stands behind over what is there, in every level; whether any stored it.

        Memory takes it only if nothing was evicted here meanwhile.
        """
        life = self._life(entry)
        if life <= 0:
            return False
        self._part_lookups(key)
        try:
            if self.shared is None:
                return await self._put_memory(key, entry, life)
            token = self.new_token()
            await self.memory.evict([key], ttl=TOMBSTONE_SECONDS)
            await self.lease_memory(key, token)
            version = await self.shared.put(key, entry, ttl=life)
            if not version:
                await self._release_memory(key, token)
                return False
            self._note_set(key, entry)
            self._part_lookups(key)
            if not await self._fill_memory(key, token, entry._replace(version=version), life):
                # The lease is gone, and memory may have taken in what was there before.
                await self.memory.evict([key], ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_put_failed", exc)
            return False
        return True

    async def invalidate(self, key: str, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether every level answered."""
        answered = await self.invalidate_memory(key, version)
        if self.shared is not None:
            answered = await self.shared.invalidate(key, version) and answered
            # Look-ups that began meanwhile may have met what was evicted just now.
            self._part_lookups(key)
        return answered

    async def hear(self, key: str, version: int) -> bool:
        """Take in that somebody made `version`: memory gains nothing older. Whoever made it told the shared cache.

        What is cached of this very version is right. Whether anything was removed, or may have been.
        """
        if self._aging is None or self.shared is None:
            await self.invalidate_memory(key, version - 1)
            return True
        # The shared cache may still hold what is older, until the writer evicts it: that must be refused.
        self.shared.note_version(key, version)
        held = self._aging.held(key)
        if held is None or held.version < version:
            await self.invalidate_memory(key, version)
            return True
        return False

    async def invalidate_memory(self, key: str, version: int) -> bool:
        """Remove from memory what is of this version or older, and every fill under way; whether it answered."""
        self._part_lookups(key)
        try:
            await self.memory.tombstone({key: version}, ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("cache_invalidation_failed", exc)
            return False
        return True

    async def evict_memory(self, pattern: str) -> int:
        """Evict the keys that match a Redis glob from memory alone; return how many values went."""
        matches = glob_matcher(pattern)
        for key in [key for key in self._lookups if matches(key)]:
            self._part_lookups(key)
        try:
            return sum(
                [await self.memory.evict(page, ttl=TOMBSTONE_SECONDS) async for page in self.memory.match(pattern)]
            )
        except StorageError as exc:
            self._note_failure("cache_invalidation_failed", exc)
            return 0

    async def count(self, pattern: str) -> int:
        """Return how many values and leases of memory match a Redis glob."""
        try:
            return sum([len(page) async for page in self.memory.match(pattern)])
        except StorageError as exc:
            self._note_failure("cache_get_failed", exc)
            return 0

    async def clear(self) -> None:
        """Empty this process's memory: changes may have been missed."""
        self._lookups.clear()
        await self.memory.clear()

    async def _look(self, shared: SharedCache, key: str) -> Found | None:
        held = None if self._aging is None else self._aging.held(key)
        if held is not None and self._aging is not None:
            if await shared.is_current(key, held.version) and self._aging.confirm(key, held):
                return Found(held, Level.MEMORY)
            await self.memory.tombstone({key: held.version}, ttl=TOMBSTONE_SECONDS)
        entry = await shared.find(key)
        return None if entry is None else Found(entry, Level.SHARED)

    async def _keep(self, key: str, entry: CacheEntry) -> None:
        """Offer memory what the shared cache holds, in the very moment in which no change has come since it was asked.

        A change that comes after that takes the lease.
        """
        if len(entry.payload) > self._memory_max_size:
            return
        token = self.new_token()
        if await self.lease_memory(key, token):
            await self.keep(key, token, entry)

    async def _fill_memory(self, key: str, token: str, entry: CacheEntry, life: Seconds) -> bool:
        try:
            if life > 0 and len(entry.payload) <= self._memory_max_size:
                return await self.memory.fill(key, token, entry, ttl=life)
        except StorageError as exc:
            self._note_failure("cache_fill_failed", exc)
            return False
        await self._release_memory(key, token)
        return False

    async def _fill_shared(self, shared: SharedCache, key: str, token: str, entry: CacheEntry, life: Seconds) -> bool:
        stored = await shared.fill(key, token, entry, ttl=life)
        if stored:
            self._note_set(key, entry)
        return stored

    def _note_set(self, key: str, entry: CacheEntry) -> None:
        sets, size = self.shared_sets.get(kind := type_of(key), (0, 0))
        self.shared_sets[kind] = (sets + 1, size + len(entry.payload))

    async def _put_memory(self, key: str, entry: CacheEntry, life: Seconds) -> bool:
        if len(entry.payload) > self._memory_max_size:
            await self.memory.evict([key], ttl=TOMBSTONE_SECONDS)  # what was there is not what was put
            return False
        return await self.memory.put(key, entry, ttl=life) > 0

    async def _release_memory(self, key: str, token: str) -> None:
        try:
            await self.memory.release(key, token)
        except StorageError as exc:
            self._note_failure("cache_release_failed", exc)

    def _life(self, entry: CacheEntry) -> Seconds:
        """Return how long the levels keep a value from now."""
        now = self._clock.now()
        if entry.fresh_until is None or entry.fresh_until <= now:
            return Seconds(0.0)
        return Seconds(elapsed(now, entry.fresh_until) + self._keep_stale)

    def _is_fit(self, entry: CacheEntry) -> bool:
        return entry.fresh_until is None or elapsed(entry.fresh_until, self._clock.now()) <= self._keep_stale

    def _part_lookups(self, key: str) -> None:
        """Let nobody join the look-ups under way: what they bring may be older than what is acknowledged next."""
        self._lookups.pop(key, None)

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self._memory_failures += 1
        log.warning(event, error=type(exc).__name__, message=str(exc))
