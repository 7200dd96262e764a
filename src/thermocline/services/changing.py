"""Changing what is known of a content without touching its bytes. Commit point: the catalog transaction."""

from thermocline.domain.content import ALWAYS, Changes, Condition, Record, check_end
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError
from thermocline.domain.units import later
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.caching import ContentCache
from thermocline.services.transferring import EVICT_DELAY


class ChangingService:
    """Changes of metadata, visibility, expiry and hold."""

    def __init__(self, records: Records, cache: ContentCache, clock: Clock) -> None:
        self._records = records
        self._cache = cache
        self._clock = clock

    async def change(self, content_id: ContentId, changes: Changes, *, condition: Condition = ALWAYS) -> Record:
        """Apply the changes, all or none, and return the record as committed; caches no longer show the old state.

        Raises `ContentNotFoundError`, `ContentHeldError` (expiry of held content), `PreconditionFailedError`,
        `InvalidMetadataError`, `InvalidInputError` (an end in the past).
        """
        now = self._clock.now()
        check_end(changes.expires_at, now)
        committed = await self._records.commit_changes(
            content_id, changes, condition=condition, now=now, evict_at=later(now, EVICT_DELAY)
        )
        if committed is None:
            raise ContentNotFoundError(content_id)
        await self._cache.invalidate(content_id, committed.record.version)
        return committed.record
