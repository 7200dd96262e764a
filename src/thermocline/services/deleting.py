"""Deleting content.

1. **Commit point**: one transaction leaves a catalog tombstone and queues the object's deletion (after the grace)
   and a hard invalidation. 2. Before the acknowledgement: evict.
`erase` waits for no grace. 1. **Commit point**: one transaction leaves the tombstone, drops all else that the catalog
tells of the content, and makes the deletion of each of its objects due. 2. Evict. 3. Take it out of what the predictor
learned. 4. Delete the objects, those of older revisions too. A crash before 4 leaves outbox rows that are due at once;
one before 3 what was learned, until the erasure is repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thermocline.domain.content import ALWAYS, Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import later
from thermocline.domain.work import Grace, OutboxKind
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.caching import ContentCache
from thermocline.services.delivering import OutboxService
from thermocline.services.learning import LearningService
from thermocline.services.placements import Placements
from thermocline.services.prefetching import Prefetcher
from thermocline.services.tracking import AccessTracker
from thermocline.services.transferring import EVICT_DELAY


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure removed, step by step; true if there was a content."""

    content_id: ContentId
    existed: bool
    steps: Mapping[str, int]
    """How many of each were removed. Ledger entries stay, but no longer say whose they were."""

    def __bool__(self) -> bool:
        return self.existed

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {"content_id": self.content_id, "existed": self.existed, "removed": dict(self.steps)}


class DeletingService:
    """Deletion of contents; idempotent."""

    def __init__(
        self,
        records: Records,
        placements: Placements,
        cache: ContentCache,
        tracker: AccessTracker,
        outbox: OutboxService,
        clock: Clock,
        *,
        grace: Grace,
        learning: LearningService | None = None,
        prefetching: Prefetcher | None = None,
    ) -> None:
        self._records = records
        self._placements = placements
        self._tracker = tracker
        self._cache = cache
        self._outbox = outbox
        self._clock = clock
        self._grace = grace
        self._learning = learning
        self._prefetching = prefetching

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

    async def erase(self, content_id: ContentId) -> Erasure:
        """Delete the content and its bytes without grace, and every trace of it: running reads of it end.

        Raises `ContentHeldError`, and `UnavailableError` also if only the bytes could not be deleted yet: then they
        are as soon as possible. Idempotent.
        """
        now = self._clock.now()
        erased = await self._records.commit_erase(
            content_id,
            prefixes=[
                f"{self._placements.key_prefix(placement.name)}{content_id}/" for placement in self._placements.all()
            ],
            now=now,
            evict_at=later(now, EVICT_DELAY),
        )
        self._tracker.forget(content_id)
        committed = erased.committed
        if committed is not None:
            await self._cache.invalidate(content_id, committed.record.version)
        learned = 0 if self._learning is None else await self._learning.erase(content_id)
        if self._prefetching is not None:
            self._prefetching.forget(content_id)
        deleted = 0
        for stored in erased.objects:
            # Itself, not by delivering: much else may be due before it, and another process may hold its row.
            deleted += await self._outbox.delete_now(stored.object_key, stored.placement)
        await self._outbox.deliver(OutboxKind.DELETE_OBJECT)
        return Erasure(
            content_id,
            existed=committed is not None,
            steps={
                "record": int(committed is not None),
                "objects": deleted,
                "access_days": erased.access_days,
                "planned_moves": erased.moves,
                "restores": erased.restores,
                "ledger_entries": erased.ledger_entries,
                "found_objects": erased.found_objects,
                "cache_keys": int(committed is not None),
                "predictor_entries": learned,
            },
        )
