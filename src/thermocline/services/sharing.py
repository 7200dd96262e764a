"""The cache that processes share, as reads and writes see it: it never fails them, and one process at a time fills.

A reader that misses: 1. takes the lease; 2. reads the record, then the object, renewing the lease; 3. fills, or gives
the lease back. Whoever finds another's lease waits for what it fills, a bounded time, and takes over when the lease
ends: its holder died. A lease that was lost is never taken again by the same reader: what it read may be old by then.

A tombstone that Redis did not take is remembered: what Redis still shows of that key is then not believed here,
so that this process never reads what is older than its own last acknowledged change. So is the newest version that was
heard of: a failover may lose tombstones, and what Redis then shows is not believed either, and is evicted again.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp
from thermocline.ports.cache import CacheEntry, Pressured, SharedLevel
from thermocline.ports.clock import Clock

log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = Seconds(3.0)
"""How long others wait for a holder that died. Living holders renew."""
LONGEST_FILL: Final = Seconds(60.0)
"""No holder renews for longer: a tombstone must outlive every read that began before it."""
TOMBSTONE_SECONDS: Final = Seconds(120.0)
LONGEST_WAIT: Final = Seconds(10.0)
"""How long a reader waits for another process's fill, before it reads storage without filling."""
FIRST_PAUSE: Final = Seconds(0.005)
LONGEST_PAUSE: Final = Seconds(0.1)
MOST_UNCONFIRMED: Final = 10_000
MOST_TOLD: Final = 10_000
"""Of how many keys the newest version is remembered: those that changed last, for which a failover matters."""
DOUBT: Final = Timestamp(round((LONGEST_FILL + 60.0) * MICROS_PER_SECOND))
"""After more tombstones failed than are remembered, nothing is believed that was cached earlier than this later: a
fill may have begun before the failure, and its clock may be a minute off."""


class SharedCache:
    """The cache that processes share, by key."""

    def __init__(self, level: SharedLevel, clock: Clock) -> None:
        self._level = level
        self._clock = clock
        self._unconfirmed: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._doubted_until: Timestamp | None = None
        self.failures = 0
        self.waits = 0
        """Reads that waited for another process's fill."""
        self.gave_up = 0
        """Of those, how many waited in vain."""
        self.disbelieved = 0
        """Values that were older than a change that was made here, or heard of."""

    @property
    def pressure(self) -> float:
        """The share of the cache's memory that is in use, as far as is known."""
        return self._level.pressure() if isinstance(self._level, Pressured) else 0.0

    async def find(self, key: str) -> CacheEntry | None:
        """Return what is cached, or None; also where the cache does not answer."""
        # As it was before the question: the answer may be older than a tombstone that arrives while it is on its way.
        floor = self._floor(key)
        try:
            entry = await self._level.get(key)
        except StorageError as exc:
            self._note_failure("shared_cache_get_failed", exc)
            return None
        if entry is not None and not await self._is_believed(key, entry, floor):
            return None
        return entry

    async def stale(self, key: str) -> CacheEntry | None:
        """Return what `find` would, or a value that is no longer fresh."""
        floor = self._floor(key)
        try:
            entry = await self._level.stale(key)
        except StorageError as exc:
            self._note_failure("shared_cache_get_failed", exc)
            return None
        return entry if entry is not None and await self._is_believed(key, entry, floor) else None

    async def is_current(self, key: str, version: int) -> bool:
        """Whether the cache answers, and holds exactly this version."""
        try:
            return await self._level.version_of(key) == version
        except StorageError as exc:
            self._note_failure("shared_cache_get_failed", exc)
            return False

    async def lease(self, key: str, token: str) -> bool | None:
        """Take the lease that a later `fill` needs; whether it was free. None if the cache does not answer."""
        try:
            return await self._level.lease(key, token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("shared_cache_lease_failed", exc)
            return None

    async def refresh(self, key: str, token: str) -> bool:
        """Take the place beside a value that a later `fill` needs; whether it was free."""
        if key in self._unconfirmed:
            return False  # what stands there may be older than an acknowledged change
        try:
            return await self._level.refresh(key, token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("shared_cache_lease_failed", exc)
            return False

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        """Store a value that no record stands behind; return its version, 0 if it was not stored."""
        try:
            return await self._level.put(key, entry, ttl=ttl)
        except StorageError as exc:
            self._note_failure("shared_cache_put_failed", exc)
            return 0

    async def take_turn(self, key: str, token: str) -> CacheEntry | bool:
        """Take the lease, or wait for what its holder fills and return that. False: read without filling."""
        owed = self._unconfirmed.get(key)
        if owed is not None and not await self.invalidate(key, owed):
            return False  # what stands in Redis is old, and could only be waited for in vain
        deadline = self._clock.monotonic() + LONGEST_WAIT
        pause = FIRST_PAUSE
        waited = False
        while True:
            leased = await self.lease(key, token)
            if leased is not False:
                return bool(leased)
            if not waited:
                waited = True
                self.waits += 1
            if self._clock.monotonic() >= deadline:
                self.gave_up += 1
                return False
            await self._clock.sleep(Seconds(pause * random.uniform(0.5, 1.0)))  # noqa: S311 - spreads load
            pause = Seconds(min(pause * 2, LONGEST_PAUSE))
            found = await self.find(key)
            if found is not None:
                return found

    @asynccontextmanager
    async def keeping(self, key: str, token: str) -> AsyncIterator[None]:
        """Renew the lease for the length of the block, as long as it still is `token`'s."""
        task = asyncio.get_running_loop().create_task(self._renew(key, token))
        try:
            yield
        finally:
            task.cancel()

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Offer a value under the lease; whether it was stored."""
        try:
            return await self._level.fill(key, token, entry, ttl=ttl)
        except StorageError as exc:
            self._note_failure("shared_cache_fill_failed", exc)
            return False

    async def release(self, key: str, token: str) -> None:
        """Give back a lease that will not be used."""
        try:
            await self._level.release(key, token)
        except StorageError as exc:
            self._note_failure("shared_cache_release_failed", exc)

    def note_version(self, key: str, version: int) -> None:
        """Take in that there is this version: what is older is not believed from now on."""
        self._told[key] = max(version, self._told.pop(key, 0))
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]

    async def invalidate(self, key: str, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether the cache answered."""
        self.note_version(key, version)
        # From here on, not from the failure on: others read while this waits.
        self._doubt(key, version)
        try:
            await self._level.tombstone({key: version}, ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("shared_cache_invalidation_failed", exc)
            return False
        if self._unconfirmed.get(key, version + 1) <= version:
            del self._unconfirmed[key]
        return True

    async def _is_believed(self, key: str, entry: CacheEntry, floor: int) -> bool:
        floor = max(floor, self._floor(key))
        if entry.version >= floor and (self._doubted_until is None or entry.cached_at > self._doubted_until):
            return True
        self.disbelieved += 1
        # Gone, it is in nobody's way: neither of readers elsewhere, nor of the lease that is taken next.
        await self.invalidate(key, max(floor, entry.version))
        return False

    def _floor(self, key: str) -> int:
        return max(self._unconfirmed.get(key, 0), self._told.get(key, 0))

    def _doubt(self, key: str, version: int) -> None:
        self._unconfirmed[key] = max(version, self._unconfirmed.get(key, 0))
        if len(self._unconfirmed) > MOST_UNCONFIRMED:
            self._unconfirmed.clear()
            self._doubted_until = Timestamp(self._clock.now() + DOUBT)

    async def _renew(self, key: str, token: str) -> None:
        for _ in range(round(LONGEST_FILL / (LEASE_SECONDS / 3))):
            await self._clock.sleep(Seconds(LEASE_SECONDS / 3))
            try:
                if not await self._level.renew(key, token, ttl=LEASE_SECONDS):
                    return
            except StorageError as exc:
                self._note_failure("shared_cache_renewal_failed", exc)

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self.failures += 1
        log.debug(event, error=type(exc).__name__, message=str(exc))
