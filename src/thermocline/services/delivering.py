"""Delivering the outbox: what commits promised, at least once.

`delete_object`: a key is deleted only if nothing names it in the moment of execution; then the row is removed. What
becomes of an object that somebody else made is told in `services.releasing`.
`invalidate`: evict, announce, purge, in that order; and all three a second time after `second_pass`, which is
longer than any fill that was under way, because a failover or a slow fill may undo the first.
A crash between work and removal of the row repeats the work, which is harmless.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind, OutboxRow
from thermocline.ports.clock import Clock
from thermocline.ports.outbox import Outbox
from thermocline.services.caching import ContentCache
from thermocline.services.placements import Placements
from thermocline.services.recovering import RecoveringService
from thermocline.services.releasing import ReleasingService

log = structlog.get_logger(__name__)

BATCH = {OutboxKind.DELETE_OBJECT: 1000, OutboxKind.INVALIDATE: 1000}
CLAIM_LEASE = Seconds(300.0)
MAX_ATTEMPTS = 20
FIRST_RETRY = Seconds(2.0)
LONGEST_RETRY = Seconds(3600.0)


class OutboxService:
    """Delivers due rows; several processes may do so at once."""

    def __init__(
        self,
        outbox: Outbox,
        placements: Placements,
        cache: ContentCache,
        clock: Clock,
        recovering: RecoveringService,
        releasing: ReleasingService,
        *,
        second_pass: Seconds,
    ) -> None:
        self._outbox = outbox
        self._recovering = recovering
        self._releasing = releasing
        self._placements = placements
        self._cache = cache
        self._clock = clock
        self._second_pass = second_pass
        self.delivered = 0
        self.failed = 0

    async def deliver(self, kind: OutboxKind) -> int:
        """Deliver one batch of due rows; return how many rows were claimed (0: nothing is due).

        While the catalog recovers, deletions wait.
        """
        if kind is OutboxKind.DELETE_OBJECT and await self._recovering.is_recovering():
            return 0
        rows = await self._outbox.claim(kind, now=self._clock.now(), lease=CLAIM_LEASE, limit=BATCH[kind])
        if not rows:
            return 0
        match kind:
            case OutboxKind.DELETE_OBJECT:
                await self._delete_objects(rows)
            case OutboxKind.INVALIDATE:
                await self._invalidate(rows)
        return len(rows)

    async def delete_now(self, object_key: str, placement: str) -> bool:
        """Delete an object whose deletion is queued, unless something names it; whether it was deleted.

        Raises `UnavailableError`. The row stays and finds nothing left to do. An adopted object waits for it while the
        catalog recovers.
        """
        where = self._placements.named(placement)
        answers: Mapping[str, StorageError | None] = {}
        if self._placements.is_ours(object_key):
            unnamed = await self._outbox.unnamed([object_key])
            answers = {**dict.fromkeys(unnamed), **await self._placements.delete(where, unnamed)}
        elif not await self._recovering.is_recovering():
            answers = await self._releasing.release(where, [object_key])
        for failure in answers.values():
            if failure is not None:
                raise failure
        return bool(answers)

    async def _delete_objects(self, rows: Sequence[OutboxRow]) -> None:
        ours = [row.subject for row in rows if self._placements.is_ours(row.subject)]
        unnamed = set(await self._outbox.unnamed(ours))
        by_placement: defaultdict[tuple[str, bool], list[OutboxRow]] = defaultdict(list)
        done: list[OutboxRow] = []
        failed: list[tuple[OutboxRow, StorageError]] = []
        for row in rows:
            is_ours = self._placements.is_ours(row.subject)
            if row.subject in unnamed or not is_ours:
                by_placement[row.placement or "", is_ours].append(row)
            else:
                # Named again: whoever names it now also queues its deletion.
                log.warning("deletion_kept_named_object", object_key=row.subject)
                done.append(row)
        failures: Mapping[str, StorageError | None]
        for (name, is_ours), group in by_placement.items():
            take = self._placements.delete if is_ours else self._releasing.release
            try:
                failures = await take(self._placements.named(name), [row.subject for row in group])
            except StorageError as exc:
                failures = {row.subject: exc for row in group}
            for row in group:
                failure = failures.get(row.subject)
                if failure is None:
                    done.append(row)
                else:
                    failed.append((row, failure))
        await self._retry(failed)
        await self._outbox.complete(done)
        self.delivered += len(done)

    async def _invalidate(self, rows: Sequence[OutboxRow]) -> None:
        done: list[OutboxRow] = []
        failed: list[tuple[OutboxRow, StorageError]] = []
        for row in rows:
            if await self._cache.invalidate(ContentId(row.subject), row.version or 0):
                done.append(row)
            else:
                failed.append((row, UnavailableError("the cache did not answer")))
        await self._retry(failed)
        first = [row for row in done if not row.second_pass]
        if first:
            await self._outbox.repeat(first, due_at=later(self._clock.now(), self._second_pass))
        second = [row for row in done if row.second_pass]
        if second:
            await self._outbox.complete(second)
        self.delivered += len(done)

    async def _retry(self, failed: Sequence[tuple[OutboxRow, StorageError]]) -> None:
        """Give rows back. What fails for one reason goes together: while a cache is down, there are thousands."""
        alike: defaultdict[tuple[str, Seconds | None], list[OutboxRow]] = defaultdict(list)
        for row, failure in failed:
            alike[f"{type(failure).__name__}: {failure}", self._delay(row)].append(row)
        for (reason, delay), rows in alike.items():
            self.failed += len(rows)
            log.warning(
                "outbox_rows_failed",
                kind=rows[0].kind.value,
                count=len(rows),
                first=rows[0].subject,
                dead=delay is None,
                reason=reason,
            )
            due_at = None if delay is None else later(self._clock.now(), delay)
            await self._outbox.fail(rows, reason=reason, due_at=due_at)

    def _delay(self, row: OutboxRow) -> Seconds | None:
        """Return how long a row that failed waits until it is tried again; None: it is given up."""
        # What a cache still shows when it is back may be old: so the wait is short, and nothing is given up.
        is_eviction = row.kind is OutboxKind.INVALIDATE
        if row.attempts >= MAX_ATTEMPTS and not is_eviction:
            return None
        longest = min(LONGEST_RETRY, max(self._second_pass, FIRST_RETRY)) if is_eviction else LONGEST_RETRY
        return Seconds(min(FIRST_RETRY * 2 ** min(row.attempts - 1, 20), longest))
