"""The cache that processes share, as reads and writes see it: it never fails them, and one process at a time fills.

A reader that misses: 1. takes the lease; 2. reads the record, then the object, renewing the lease; 3. fills, or gives
the lease back. Whoever finds another's lease waits for what it fills, a bounded time, and takes over when the lease
ends: its holder died. A lease that was lost is never taken again by the same reader: what it read may be old by then.

A tombstone that Redis did not take is remembered: what Redis still shows of that content is then not believed here,
so that this process never reads what is older than its own last acknowledged change.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp
from thermocline.ports.cache import CacheEntry, SharedLevel
from thermocline.ports.clock import Clock

log = structlog.get_logger(__name__)

CONTENT: Final = "content"
"""The cache type of contents' bytes."""
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
DOUBT: Final = Timestamp(round((LONGEST_FILL + 60.0) * MICROS_PER_SECOND))
"""After more tombstones failed than are remembered, nothing is believed that was cached earlier than this later: a
fill may have begun before the failure, and its clock may be a minute off."""


class SharedContents:
    """Contents in the cache that processes share."""

    def __init__(self, level: SharedLevel, clock: Clock) -> None:
        self._level = level
        self._clock = clock
        self._unconfirmed: dict[str, int] = {}
        self._doubted_until: Timestamp | None = None
        self.failures = 0
        self.waits = 0
        """Reads that waited for another process's fill."""
        self.gave_up = 0
        """Of those, how many waited in vain."""
        self.disbelieved = 0
        """Values that were older than a change of this process."""

    async def find(self, content_id: ContentId) -> CacheEntry | None:
        """Return what is cached, or None; also where the cache does not answer."""
        # As it was before the question: the answer may be older than a tombstone that arrives while it is on its way.
        floor = self._unconfirmed.get(content_id, 0)
        try:
            entry = await self._level.get(key_of(content_id))
        except StorageError as exc:
            self._note_failure("shared_cache_get_failed", exc)
            return None
        if entry is not None and not await self._is_believed(content_id, entry, floor):
            return None
        return entry

    async def is_current(self, content_id: ContentId, version: int) -> bool:
        """Whether the cache answers, and holds exactly this version."""
        try:
            return await self._level.version_of(key_of(content_id)) == version
        except StorageError as exc:
            self._note_failure("shared_cache_get_failed", exc)
            return False

    async def lease(self, content_id: ContentId, token: str) -> bool | None:
        """Take the lease that a later `fill` needs; whether it was free. None if the cache does not answer."""
        try:
            return await self._level.lease(key_of(content_id), token, ttl=LEASE_SECONDS)
        except StorageError as exc:
            self._note_failure("shared_cache_lease_failed", exc)
            return None

    async def take_turn(self, content_id: ContentId, token: str) -> CacheEntry | bool:
        """Take the lease, or wait for what its holder fills and return that. False: read without filling."""
        owed = self._unconfirmed.get(content_id)
        if owed is not None and not await self.invalidate(content_id, owed):
            return False  # what stands in Redis is old, and could only be waited for in vain
        deadline = self._clock.monotonic() + LONGEST_WAIT
        pause = FIRST_PAUSE
        waited = False
        while True:
            leased = await self.lease(content_id, token)
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
            found = await self.find(content_id)
            if found is not None:
                return found

    @asynccontextmanager
    async def keeping(self, content_id: ContentId, token: str) -> AsyncIterator[None]:
        """Renew the lease for the length of the block, as long as it still is `token`'s."""
        task = asyncio.get_running_loop().create_task(self._renew(content_id, token))
        try:
            yield
        finally:
            task.cancel()

    async def fill(self, content_id: ContentId, token: str, entry: CacheEntry, *, ttl: Seconds) -> None:
        """Offer a value under the lease."""
        try:
            await self._level.fill(key_of(content_id), token, entry, ttl=ttl)
        except StorageError as exc:
            self._note_failure("shared_cache_fill_failed", exc)

    async def release(self, content_id: ContentId, token: str) -> None:
        """Give back a lease that will not be used."""
        try:
            await self._level.release(key_of(content_id), token)
        except StorageError as exc:
            self._note_failure("shared_cache_release_failed", exc)

    async def invalidate(self, content_id: ContentId, version: int) -> bool:
        """Remove what is cached of this version or older, and every fill under way; whether the cache answered."""
        # From here on, not from the failure on: others read while this waits.
        self._doubt(content_id, version)
        try:
            await self._level.tombstone({key_of(content_id): version}, ttl=TOMBSTONE_SECONDS)
        except StorageError as exc:
            self._note_failure("shared_cache_invalidation_failed", exc)
            return False
        if self._unconfirmed.get(content_id, version + 1) <= version:
            del self._unconfirmed[content_id]
        return True

    async def _is_believed(self, content_id: ContentId, entry: CacheEntry, floor: int) -> bool:
        floor = max(floor, self._unconfirmed.get(content_id, 0))
        if entry.version >= floor and (self._doubted_until is None or entry.cached_at > self._doubted_until):
            return True
        self.disbelieved += 1
        # Gone, it is in nobody's way: neither of readers elsewhere, nor of the lease that is taken next.
        await self.invalidate(content_id, max(floor, entry.version))
        return False

    def _doubt(self, content_id: ContentId, version: int) -> None:
        self._unconfirmed[content_id] = max(version, self._unconfirmed.get(content_id, 0))
        if len(self._unconfirmed) > MOST_UNCONFIRMED:
            self._unconfirmed.clear()
            self._doubted_until = Timestamp(self._clock.now() + DOUBT)

    async def _renew(self, content_id: ContentId, token: str) -> None:
        for _ in range(round(LONGEST_FILL / (LEASE_SECONDS / 3))):
            await self._clock.sleep(Seconds(LEASE_SECONDS / 3))
            try:
                if not await self._level.renew(key_of(content_id), token, ttl=LEASE_SECONDS):
                    return
            except StorageError as exc:
                self._note_failure("shared_cache_renewal_failed", exc)

    def _note_failure(self, event: str, exc: StorageError) -> None:
        self.failures += 1
        log.debug(event, error=type(exc).__name__, message=str(exc))


def key_of(content_id: str) -> str:
    """Return the key of a content's bytes in every cache."""
    return f"{CONTENT}:{content_id}"
