"""Bringing content into the caches ahead of its reads: for warming and prefetching.

Like any reader: under a lease that precedes the look at the record, joined by whoever reads the same meanwhile. But it
counts as no read, asks for no restore, and nothing from a placement that needs one is touched. Whoever is cancelled
leaves nothing half done: a read under way ends by itself, and fills or not.
"""

from dataclasses import dataclass

from thermocline.domain.cache_types import content_key
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError, ObjectArchivedError, StorageError
from thermocline.domain.predictions import WarmOutcome
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes
from thermocline.ports.clock import Clock
from thermocline.ports.object_store import STANDARD
from thermocline.ports.records import Records
from thermocline.services.caching import ContentCache
from thermocline.services.loaded import Loaded
from thermocline.services.placements import Placements
from thermocline.services.reading import ReadingService
from thermocline.services.turns import AT_ONCE, Turns

ATTEMPTS = 2
"""A change that is heard during the fill ends its lease, be it an own one that was acknowledged before."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of one content."""

    outcome: WarmOutcome
    size: Bytes = Bytes(0)
    reason: str | None = None
    """What it failed with."""


class Filler:
    """Fills both cache levels with single contents."""

    def __init__(
        self, records: Records, placements: Placements, cache: ContentCache, reading: ReadingService, clock: Clock
    ) -> None:
        self._records = records
        self._placements = placements
        self._cache = cache
        self._reading = reading
        self._clock = clock

    @property
    def largest(self) -> Bytes:
        """The largest content that is cached."""
        return self._cache.max_size

    def is_in_memory(self, content_id: ContentId) -> bool:
        """Whether memory shows it now."""
        return self._cache.peek(content_id) is not None

    async def look_up(self, content_id: ContentId) -> Record | Filled:
        """Return the record of a content that may be filled, or why it may not."""
        try:
            record = await self._records.find(content_id)
        except StorageError as exc:
            return failed(exc)
        if record is None or not record.is_alive(self._clock.now()):
            return Filled(WarmOutcome.NOT_FOUND)
        if record.tier is StorageTier.ARCHIVE or self._placements.named(record.placement).restores is not None:
            return Filled(WarmOutcome.ARCHIVED, record.size)
        if self._placements.rules(record.tier).cache_ttl <= 0:
            return Filled(WarmOutcome.NEVER_CACHED, record.size)
        if not self._cache.is_cacheable(record):
            return Filled(WarmOutcome.TOO_LARGE, record.size)
        return record

    def is_paid(self, record: Record) -> bool:
        """Whether reading it from storage costs retrieval money: every class but the standard one does."""
        return self._placements.named(record.placement).storage_class != STANDARD

    async def warm(self, content_id: ContentId) -> Filled:
        """Look the content up, and bring it into the caches if it may be there; never raises `StorageError`."""
        found = await self.look_up(content_id)
        return await self.fill(found) if isinstance(found, Record) else found

    async def fill(self, record: Record, turns: Turns = AT_ONCE) -> Filled:
        """Bring the content into the caches unless it is there; never raises `StorageError`.

        A store is read when there is a turn for it.
        """
        content_id = record.content_id
        try:
            if self.is_in_memory(content_id) or await self._cache.find(content_id) is not None:
                return Filled(WarmOutcome.ALREADY_CACHED, record.size)
            for _ in range(ATTEMPTS):
                loaded = await self._reading.bring(content_id, record, turns)
                if await self._is_taken(content_id, loaded):
                    return Filled(WarmOutcome.WARMED, Bytes(len(loaded.entry.payload)))
        except ContentNotFoundError:
            return Filled(WarmOutcome.NOT_FOUND)
        except ObjectArchivedError:
            return Filled(WarmOutcome.ARCHIVED, record.size)
        except StorageError as exc:
            return failed(exc)
        return Filled(WarmOutcome.FAILED, Bytes(len(loaded.entry.payload)), "the cache did not take it")

    async def _is_taken(self, content_id: ContentId, loaded: Loaded) -> bool:
        shared = self._cache.shared
        if shared is None:
            return self.is_in_memory(content_id)
        # Twelve bytes: a cache that is down or full must not count as warmed.
        return await shared.is_current(content_key(content_id), loaded.entry.version)


def failed(exc: StorageError) -> Filled:
    """Return the outcome of an error."""
    return Filled(WarmOutcome.FAILED, reason=f"{type(exc).__name__}: {exc}")
