"""Reconciling stores with the catalog: no orphan forever, no live object ever deleted.

**Intent cleaner.** 1. Condemn expired intents: from here on their commit aborts. 2. Delete the object or the
unfinished upload. 3. Wait for the longest request, so that one still on its way has landed. 4. Delete again, then
drop the row. A crash anywhere leaves a condemned row that the next run takes up.

**Orphan sweep.** 1. List the store, all of it; an error ends the sweep. 2. Only then ask the catalog, in one
statement, which keys nothing names; of those, the ones older than the grace by the store's own time go into
quarantine. 3. After another grace each is asked for again, then deleted. What a paused sender let through after
the intent cleaner had finished is found here. A sweep that would take more than its allowed share stops and asks.
Where the store lists ranges of keys, several workers share a sweep, in these steps (`services.sweep_sharing`). After a
restored backup sweeps are off until somebody confirms (`services.recovering`).
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.domain.work import CondemnedIntent, Grace
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.elections import Elections
from thermocline.ports.intents import Intents
from thermocline.ports.outbox import Outbox
from thermocline.ports.ranges import ListsRanges
from thermocline.ports.sweeps import Sweeps
from thermocline.services.placements import Placement, Placements
from thermocline.services.recovering import ADVICE, RecoveringService
from thermocline.services.sweep_plans import SweepReport, refusal
from thermocline.services.sweep_sharing import SWEEP_BATCH, SharedSweep, batches

log = structlog.get_logger(__name__)

CLEANER_BATCH = 500
MOST_CANDIDATES = 1_000_000
"""Bounds the memory of a sweep that is not shared."""
HOLDER_BYTES = 8
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


class OrphanSweep:
    """Finds and removes objects that nothing names."""

    def __init__(
        self,
        sweeps: Sweeps,
        outbox: Outbox,
        cursors: Cursors,
        elections: Elections,
        placements: Placements,
        clock: Clock,
        recovering: RecoveringService,
        *,
        grace: Grace,
        max_share: float,
        share_size: int,
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
        self._shared = SharedSweep(
            sweeps,
            cursors,
            elections,
            placements,
            clock,
            recovering,
            oldest_kept=self._oldest_kept,
            grace=grace.objects,
            max_share=max_share,
            share_size=share_size,
            new_token=lambda: entropy(HOLDER_BYTES).hex(),
        )
        self._at_it = asyncio.Lock()
        """Held while this process sweeps: to its own leases it has as much right twice."""
        self.last_reports: Sequence[SweepReport] = ()
        """What the last sweep of each placement found, as far as this process knows, and when the last one ended."""
        self.swept_at: Timestamp | None = None

    @property
    def is_shared(self) -> bool:
        """Whether several workers can share the sweep of any placement."""
        return any(isinstance(placement.store, ListsRanges) for placement in self._placements.all())

    async def run(
        self, *, confirmed: bool = False, wait: bool = True, unless_within: Seconds = Seconds(0.0)
    ) -> Sequence[SweepReport]:
        """Sweep every placement; `confirmed` lifts the limit on the share, and ends the recovery of the catalog.

        Of shared sweeps that began, in any process, less than `unless_within` ago, the report is told again. Goes on
        with those that are under way; what others are still at has a report only if one waits for them. While the
        catalog recovers and nobody confirms, nothing is listed and each report says why. Raises what a listing raises,
        after the other placements were swept; `StorageError` if the recovery cannot be confirmed yet.
        """
        if confirmed:
            await self._recovering.confirm()
        if await self._recovering.is_recovering():
            return [SweepReport(placement.name, 0, 0, 0, ADVICE) for placement in self._placements.all()]
        reports: list[SweepReport] = []
        failure: StorageError | None = None
        async with self._at_it:
            for placement in self._placements.all():
                try:
                    report = await self._report(placement, confirmed=confirmed, wait=wait, unless_within=unless_within)
                except StorageError as exc:
                    failure = exc
                else:
                    reports += [report] if report is not None else []
        await self.empty_quarantine()
        if failure is not None:
            raise failure
        return reports

    async def share(self) -> Sequence[SweepReport]:
        """Help with the shared sweeps that are under way; return the reports of those that came to their end.

        Begins none. Raises what the store and the catalog raise, after the other placements had their turn.
        """
        if self._at_it.locked():
            return ()
        reports: list[SweepReport] = []
        failure: StorageError | None = None
        async with self._at_it:
            for placement in self._placements.all():
                if not isinstance(placement.store, ListsRanges):
                    continue
                try:
                    before = await self._shared.plan_of(placement)
                    plan = await self._shared.run(placement, placement.store, confirmed=False, wait=False, begin=False)
                except StorageError as exc:
                    failure = exc
                    continue
                if plan is not None and plan.ended_at is not None:
                    self._remember(plan.report(placement.name), plan.ended_at)
                    reports += [plan.report(placement.name)] if before != plan else []
        if failure is not None:
            raise failure
        return reports

    async def _report(
        self, placement: Placement, *, confirmed: bool, wait: bool, unless_within: Seconds
    ) -> SweepReport | None:
        """Sweep one placement; None if others are at what is left of it."""
        if not isinstance(placement.store, ListsRanges):
            report = await self._sweep(placement, confirmed=confirmed)
            self._remember(report, self._clock.now())
            return report
        plan = await self._shared.run(
            placement, placement.store, confirmed=confirmed, wait=wait, unless_within=unless_within
        )
        if plan is not None and plan.ended_at is not None:
            report = plan.report(placement.name)
            self._remember(report, plan.ended_at)
            return report
        if await self._recovering.is_recovering():
            return SweepReport(placement.name, 0, 0, 0, ADVICE)
        return None

    def _remember(self, report: SweepReport, ended_at: Timestamp) -> None:
        known = {each.placement: each for each in self.last_reports} | {report.placement: report}
        self.last_reports = tuple(known.values())
        self.swept_at = ended_at if self.swept_at is None else max(self.swept_at, ended_at)

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
        """Sweep a placement whose store has no ranges: in one go, with what was found in memory."""
        oldest_kept = await self._oldest_kept(placement)
        prefix = self._placements.key_prefix(placement.name)
        listed = 0
        candidates: list[str] = []
        async for page in placement.store.list_pages(prefix):
            listed += len(page)
            old = [info.key for info in page if info.modified_at < oldest_kept and ObjectKey.parse(info.key)]
            for batch in batches(old):
                candidates += await self._sweeps.unnamed(batch)
            if len(candidates) > MOST_CANDIDATES:
                raise StorageError(
                    f"more than {MOST_CANDIDATES} objects of placement {placement.name!r} are named by nothing; "
                    "is this an old copy of the catalog? Nothing was quarantined"
                )
        unnamed = len(candidates)
        reason = None if confirmed else refusal(listed, unnamed, self._max_share)
        if reason is not None:
            log.error("sweep_refused", placement=placement.name, reason=reason, listed=listed, unnamed=unnamed)
            return SweepReport(placement.name, listed, unnamed, 0, reason)
        delete_at = later(self._clock.now(), self._grace.objects)
        quarantined = 0
        for batch in batches(candidates):
            quarantined += await self._sweeps.quarantine_unnamed(batch, placement=placement.name, delete_at=delete_at)
        return SweepReport(placement.name, listed, unnamed, quarantined, None)

    async def _oldest_kept(self, placement: Placement) -> Timestamp:
        """Return what an object must be older than, by the store's time.

        The store tells that of an object written for it: clocks of machines differ.
        """
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
        return later(head.modified_at, Seconds(-self._grace.objects))
