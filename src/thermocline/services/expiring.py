"""Ending what has come to its end: expired contents, and catalog tombstones past their grace."""

from thermocline.domain.content import ALWAYS
from thermocline.domain.errors import ContentHeldError
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import Grace
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.caching import ContentCache
from thermocline.services.recovering import RecoveringService
from thermocline.services.transferring import EVICT_DELAY

BATCH = 500


class ExpiryService:
    """Deletes expired contents. They are unreadable from their last moment on, whether this ran or not."""

    def __init__(
        self, records: Records, cache: ContentCache, clock: Clock, recovering: RecoveringService, *, grace: Grace
    ) -> None:
        self._records = records
        self._recovering = recovering
        self._cache = cache
        self._clock = clock
        self._grace = grace
        self.expired = 0

    async def run(self) -> int:
        """Delete one batch of expired contents; return how many. The commit re-checks expiry and hold.

        Nothing while the catalog recovers: what it knows of their ends may be outdated.
        """
        if await self._recovering.is_recovering():
            return 0
        now = self._clock.now()
        ids = await self._records.expired(now=now, limit=BATCH)
        for content_id in ids:
            try:
                committed = await self._records.commit_delete(
                    content_id,
                    condition=ALWAYS,
                    now=now,
                    delete_at=later(now, self._grace.objects),
                    evict_at=later(now, EVICT_DELAY),
                    only_expired=True,
                )
            except ContentHeldError:
                continue  # held since the listing: the hold wins
            if committed is not None:
                await self._cache.invalidate(content_id, committed.record.version)
                self.expired += 1
        return len(ids)

    async def forget_tombstones(self) -> int:
        """Drop one batch of catalog tombstones that no fill or edge copy can outlive; return how many.

        None while the catalog recovers: they tell which objects are older than their deletion.
        """
        if await self._recovering.is_recovering():
            return 0
        deleted_before = later(self._clock.now(), Seconds(-self._grace.tombstones))
        return await self._records.forget_tombstones(deleted_before=deleted_before, limit=BATCH)
