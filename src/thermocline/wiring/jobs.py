"""The jobs that workers do in the background, and how often."""

from collections.abc import Awaitable, Callable, Sequence

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.services.delivering import OutboxService
from thermocline.services.expiring import ExpiryService
from thermocline.services.moving import MovingService
from thermocline.services.optimizing import PERIOD as OPTIMIZE_PERIOD
from thermocline.services.optimizing import OptimizingService
from thermocline.services.reconciling import IntentCleaner, OrphanSweep
from thermocline.services.recovering import ADVICE
from thermocline.services.restoring import RestoringService
from thermocline.services.scrubbing import PERIOD as SCRUB_PERIOD
from thermocline.services.scrubbing import ScrubbingService
from thermocline.services.sweep_plans import SweepReport
from thermocline.services.tracking import AccessFlush
from thermocline.services.working import Job

CHANGES_KEPT = Seconds(3600.0)
"""How long the change feed reaches back; a process that slept longer empties its memory."""
SWEEP_PERIOD = Seconds(6 * 3600.0)
"""Of each process; all together begin a sweep of a bucket at most twice in this time."""
SHARE_PERIOD = Seconds(10.0)
"""How soon a worker joins a sweep that another has begun, or takes over what one has left."""
LEARN_PERIOD = Seconds(600.0)
"""How often it is asked whether a policy is to learn again; it does once a day."""


def check_sweeps(reports: Sequence[SweepReport]) -> None:
    """Raise `StorageError` if a sweep stopped to ask. While the catalog recovers it waits, which is no failure."""
    refused = [report.refused for report in reports if report.refused not in {None, ADVICE}]
    if refused:
        raise StorageError("; ".join(map(str, refused)))


def background_jobs(
    catalog: Catalog,
    clock: Clock,
    outbox: OutboxService,
    cleaner: IntentCleaner,
    sweep: OrphanSweep,
    expiry: ExpiryService,
    moving: MovingService,
    restoring: RestoringService,
    tracking: AccessFlush,
    scrub: ScrubbingService,
    optimizing: OptimizingService,
    learn_policy: Callable[[], Awaitable[int]] | None,
) -> tuple[Job, ...]:
    """Return every job, with how often it runs: on one of all processes, or on each if it is shared."""

    async def trim_changes() -> int:
        now = clock.now()
        await catalog.changes.trim(before=later(now, Seconds(-CHANGES_KEPT)))
        return 0

    async def sweep_once() -> int:
        check_sweeps(await sweep.run(wait=False, unless_within=Seconds(SWEEP_PERIOD / 2)))
        return 0

    async def share_sweeps() -> int:
        check_sweeps(await sweep.share())
        return 0

    return (
        Job("invalidate", Seconds(1.0), lambda: outbox.deliver(OutboxKind.INVALIDATE)),
        Job("delete_objects", Seconds(5.0), lambda: outbox.deliver(OutboxKind.DELETE_OBJECT)),
        Job("restore", Seconds(1.0), restoring.run),
        Job("move", Seconds(1.0), moving.run),
        Job("clean_intents", Seconds(5.0), cleaner.run),
        Job("expire", Seconds(5.0), expiry.run),
        Job("forget_tombstones", Seconds(600.0), expiry.forget_tombstones),
        Job("empty_quarantine", Seconds(600.0), sweep.empty_quarantine),
        Job("sweep_orphans", SWEEP_PERIOD, sweep_once),
        *((Job("share_sweeps", SHARE_PERIOD, share_sweeps, is_shared=True),) if sweep.is_shared else ()),
        Job("trim_changes", Seconds(600.0), trim_changes),
        Job("trim_access_days", Seconds(3600.0), tracking.trim),
        *((Job("optimize", OPTIMIZE_PERIOD, optimizing.work, is_shared=True),) if optimizing.is_on else ()),
        *((Job("learn_policy", LEARN_PERIOD, learn_policy),) if learn_policy is not None else ()),
        *((Job("scrub", SCRUB_PERIOD, scrub.run),) if scrub.is_on else ()),
    )
