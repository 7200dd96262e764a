"""Deleting content.

1. **Commit point**: one transaction leaves a catalog tombstone and queues the object's deletion (after the grace)
   and a hard invalidation. 2. Before the acknowledgement: evict.
`erase` waits for no grace: once committed, it deletes the object itself; a crash before that leaves the outbox row.
"""

from thermocline.domain.content import ALWAYS, Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import later
from thermocline.domain.work import Grace, OutboxKind
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.caching import ContentCache
from thermocline.services.delivering import OutboxService
from thermocline.services.transferring import EVICT_DELAY


class DeletingService:
    """Deletion of contents; idempotent."""

    def __init__(
        self, records: Records, cache: ContentCache, outbox: OutboxService, clock: Clock, *, grace: Grace
    ) -> None:
        self._records = records
        self._cache = cache
        self._outbox = outbox
        self._clock = clock
        self._grace = grace

    async def delete(self, content_id: ContentId, *, condition: Condition = ALWAYS) -> bool:
        """Delete the content; whether there was one. From now on nobody reads it.

        Raises `ContentHeldError`, `PreconditionFailedError`.
        """
        now = self._clock.now()
        committed = await self._records.commit_delete(
            content_id,
            condition=condition,
            now=now,
            delete_at=later(now, self._grace.objects),
            evict_at=later(now, EVICT_DELAY),
        )
        if committed is None:
            return False
        await self._cache.invalidate(content_id, committed.record.version)
        return committed.record.is_alive(now)

    async def erase(self, content_id: ContentId) -> bool:
        """Delete the content and its bytes without grace: running reads of it end.

        Raises `ContentHeldError`, and `UnavailableError` also if only the bytes could not be deleted yet: then they
        are as soon as possible.
        """
        now = self._clock.now()
        committed = await self._records.commit_delete(
            content_id, condition=ALWAYS, now=now, delete_at=now, evict_at=later(now, EVICT_DELAY)
        )
        if committed is not None:
            await self._cache.invalidate(content_id, committed.record.version)
            # Itself, not by delivering: much else may be due before it, and another process may hold its row.
            await self._outbox.delete_now(committed.record.object_key, committed.record.placement)
        await self._outbox.deliver(OutboxKind.DELETE_OBJECT)
        return committed is not None
