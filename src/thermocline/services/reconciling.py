"""Reconciling stores with the catalog: no orphan forever, no live object ever deleted.

**Intent cleaner.** 1. Condemn expired intents: from here on their commit aborts. 2. Delete the object or the
unfinished upload. 3. Wait for the longest request, so that one still on its way has landed. 4. Delete again, then
drop the row. A crash anywhere leaves a condemned row that the next run takes up.

**Orphan sweep.** 1. List the store, all of it; an error ends the sweep. 2. Only then ask the catalog, in one
statement, which keys nothing names; of those, the ones older than the grace by the store's own time go into
quarantine. 3. After another grace each is asked for again, then deleted. What a paused sender let through after
the intent cleaner had finished is found here. A sweep that would take more than its allowed share stops and asks.
After a restored backup sweeps are off until somebody confirms (`services.recovering`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.domain.work import CondemnedIntent, Grace
from thermocline.ports.clock import Clock
from thermocline.ports.intents import Intents
from thermocline.ports.outbox import Outbox
from thermocline.ports.sweeps import Sweeps
from thermocline.services.placements import Placement, Placements
from thermocline.services.recovering import ADVICE, RecoveringService

log = structlog.get_logger(__name__)

CLEANER_BATCH = 500
SWEEP_BATCH = 500
ALWAYS_ALLOWED = 10
"""A share of a nearly empty store is less than one object: this many orphans never stop a sweep."""
MOST_CANDIDATES = 1_000_000
"""Bounds the memory of a sweep."""
PROBE = ContentId("store-time-probe")


class IntentCleaner:
    """Cleans up after uploads that did not come to their commit."""

    def __init__(self, intents: Intents, placements: Placements, *, longest_request: Seconds) -> None:
        self._intents = intents
        self._placements = placements
        self._longest_request = longest_request
        self.cleaned = 0

    async def run(self) -> int:
        """Take up one batch of expired or condemned intents; return how many.

        A store that fails keeps its intents waiting, not those of the others. Raises its error in the end.
        """
        lease = Seconds(self._longest_request * 2)
        claimed = await self._intents.condemn_expired(lease=lease, limit=CLEANER_BATCH)
        by_placement: dict[str, list[CondemnedIntent]] = {}
        for intent in claimed:
            by_placement.setdefault(intent.placement, []).append(intent)
        failure: StorageError | None = None
        for name, intents in by_placement.items():
            try:
                await self._delete(self._placements.named(name), intents)
            except StorageError as exc:
                failure = exc
        if failure is not None:
            raise failure
        return len(claimed)

    async def _delete(self, placement: Placement, intents: Sequence[CondemnedIntent]) -> None:
        failures = await self._placements.delete(placement, [intent.object_key for intent in intents])
        for key, failure in failures.items():
            log.warning("intent_cleanup_failed", object_key=key, error=str(failure))
        deleted = [intent for intent in intents if intent.object_key not in failures]
        first = [intent for intent in deleted if not intent.deleted_once]
        second = [intent for intent in deleted if intent.deleted_once]
        if first:
            await self._intents.settle(first, again_in=self._longest_request, deleted_once=True)
        if second:
            await self._intents.settle(second, again_in=None)
            self.cleaned += len(second)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep of one placement found."""

    placement: str
    listed: int
    unnamed: int
    """Objects older than the grace that nothing names and that are not yet in quarantine."""
    quarantined: int
    refused: str | None
    """Why nothing was quarantined, and what to do."""


class OrphanSweep:
    """Finds and removes objects that nothing names."""

    def __init__(
        self,
        sweeps: Sweeps,
        outbox: Outbox,
        placements: Placements,
        clock: Clock,
        recovering: RecoveringService,
        *,
        grace: Grace,
        max_share: float,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._sweeps = sweeps
        self._outbox = outbox
        self._recovering = recovering
        self._placements = placements
        self._clock = clock
        self._grace = grace
        self._max_share = max_share
        self._entropy = entropy
        self.last_reports: Sequence[SweepReport] = ()
        """What the last sweep of this process found, and when it ended."""
        self.swept_at: Timestamp | None = None

    async def run(self, *, confirmed: bool = False) -> Sequence[SweepReport]:
        """Sweep every placement; `confirmed` lifts the limit on the share, and ends the recovery of the catalog.

        While the catalog recovers and nobody confirms, nothing is listed and each report says why. Raises what a
        listing raises, after the other placements were swept; `StorageError` if the recovery cannot be confirmed yet.
        """
        if confirmed:
            await self._recovering.confirm()
        if await self._recovering.is_recovering():
            return [SweepReport(placement.name, 0, 0, 0, ADVICE) for placement in self._placements.all()]
        reports: list[SweepReport] = []
        failure: StorageError | None = None
        for placement in self._placements.all():
            try:
                reports.append(await self._sweep(placement, confirmed=confirmed))
            except StorageError as exc:
                failure = exc
        self.last_reports, self.swept_at = tuple(reports), self._clock.now()
        await self.empty_quarantine()
        if failure is not None:
            raise failure
        return reports

    async def empty_quarantine(self) -> int:
        """Delete what has been in quarantine long enough and is still named by nothing; return how many.

        None while the catalog recovers. Raises the error of a store that fails, after the others had their turn.
        """
        if await self._recovering.is_recovering():
            return 0
        deleted = 0
        while due := await self._sweeps.due(now=self._clock.now(), limit=SWEEP_BATCH):
            unnamed = set(await self._outbox.unnamed([row.object_key for row in due]))
            settled = [row.object_key for row in due if row.object_key not in unnamed]
            failure: StorageError | None = None
            for name in sorted({row.placement for row in due}):
                keys = [row.object_key for row in due if row.placement == name and row.object_key in unnamed]
                try:
                    failures = await self._placements.delete(self._placements.named(name), keys)
                except StorageError as exc:
                    failure = exc
                    continue
                settled += [key for key in keys if key not in failures]
                deleted += len(keys) - len(failures)
            await self._sweeps.release(settled)
            if failure is not None:
                raise failure
            if not settled:
                break
        return deleted

    async def _sweep(self, placement: Placement, *, confirmed: bool) -> SweepReport:
        store_now = await self._store_time(placement)
        oldest_kept = later(store_now, Seconds(-self._grace.objects))
        prefix = f"{self._placements.installation}/{placement.name}/"
        listed = 0
        candidates: list[str] = []
        async for page in placement.store.list_pages(prefix):
            listed += len(page)
            old = [info.key for info in page if info.modified_at < oldest_kept and ObjectKey.parse(info.key)]
            for batch in _batches(old):
                candidates += await self._sweeps.unnamed(batch)
            if len(candidates) > MOST_CANDIDATES:
                raise StorageError(
                    f"more than {MOST_CANDIDATES} objects of placement {placement.name!r} are named by nothing; "
                    "is this an old copy of the catalog? Nothing was quarantined"
                )
        unnamed = len(candidates)
        allowed = max(ALWAYS_ALLOWED, int(listed * self._max_share))
        if unnamed > allowed and not confirmed:
            reason = (
                f"{unnamed} of {listed} objects are named by nothing, more than the {allowed} that a sweep may take "
                "unasked; if the catalog is not an old backup, run 'thermocline fsck --sweep --confirm'"
            )
            log.error("sweep_refused", placement=placement.name, listed=listed, unnamed=unnamed, allowed=allowed)
            return SweepReport(placement.name, listed, unnamed, 0, reason)
        delete_at = later(self._clock.now(), self._grace.objects)
        quarantined = 0
        for batch in _batches(candidates):
            quarantined += await self._sweeps.quarantine_unnamed(batch, placement=placement.name, delete_at=delete_at)
        return SweepReport(placement.name, listed, unnamed, quarantined, None)

    async def _store_time(self, placement: Placement) -> Timestamp:
        """Return the store's own time, from an object written for it: clocks of machines differ."""
        now = self._clock.now()
        token = new_token(now, self._entropy(TOKEN_ENTROPY_BYTES))
        key = str(ObjectKey(self._placements.installation, placement.name, PROBE, token))
        await placement.store.put(key, b"", {})
        head = await placement.store.head(key)
        failures = await self._placements.delete(placement, [key])
        for failure in failures.values():
            raise failure
        if head is None:
            raise StorageError(f"the store of placement {placement.name!r} does not show what was just written to it")
        return head.modified_at


def _batches(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + SWEEP_BATCH] for start in range(0, len(keys), SWEEP_BATCH)]
