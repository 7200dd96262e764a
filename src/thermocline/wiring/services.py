"""Assembling services over adapters, whichever they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.domain.errors import ConfigurationError, StorageError
from thermocline.domain.restores import RestoreTerms
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.domain.units import Bytes, Seconds, Usd, later
from thermocline.domain.work import Grace, OutboxKind
from thermocline.ports.cache import MemoryLevel
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.ports.file_trees import FileTrees
from thermocline.ports.object_store import ObjectStore, Restorable
from thermocline.services.admission import MemoryBudget
from thermocline.services.adopting import AdoptingService
from thermocline.services.authorizing import AuthorizingService
from thermocline.services.background import Background
from thermocline.services.bulk_writing import BulkWriter
from thermocline.services.caching import ContentCache
from thermocline.services.change_listening import ChangeListener
from thermocline.services.changing import ChangingService
from thermocline.services.checking import CheckingService
from thermocline.services.clearing import ClearingService
from thermocline.services.copying import Copier
from thermocline.services.deleting import DeletingService
from thermocline.services.delivering import OutboxService
from thermocline.services.describing import DescribingService
from thermocline.services.expiring import ExpiryService
from thermocline.services.exporting import ExportingService
from thermocline.services.importing import ImportingService
from thermocline.services.intent_keeping import IntentKeeper
from thermocline.services.listing import ListingService
from thermocline.services.mending import MendingService
from thermocline.services.moving import MovingService
from thermocline.services.placements import Placement, Placements, RestoreRules
from thermocline.services.prefilling import Prefiller
from thermocline.services.reading import ReadingService
from thermocline.services.reconciling import IntentCleaner, OrphanSweep
from thermocline.services.recovering import ADVICE, RecoveringService
from thermocline.services.restoring import RestorePolicy, RestoringService
from thermocline.services.scrubbing import PERIOD as SCRUB_PERIOD
from thermocline.services.scrubbing import ScrubbingService
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.storing_files import FileStorer
from thermocline.services.totalling import TotallingService
from thermocline.services.tracking import AccessFlush, AccessTracker
from thermocline.services.transferring import TransferParts
from thermocline.services.working import Job, Worker
from thermocline.services.writing import WritingService
from thermocline.wiring.placing import PlacementSettings
from thermocline.wiring.settings import Settings

CHANGES_KEPT = Seconds(3600.0)
"""How long the change feed reaches back; a process that slept longer empties its memory."""
LARGEST_SHARE = 8
"""One content takes at most an eighth of the memory cache."""
BACKGROUND_CAPACITY = 64
HOLDER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Adapters:
    """The real parts that services work on."""

    catalog: Catalog
    stores: Mapping[str, ObjectStore]
    """By the names of `[objects.NAME]`."""
    memory: MemoryLevel
    clock: Clock
    entropy: Callable[[int], bytes]
    """Returns that many random bytes, fit for secrets."""
    trees: FileTrees = field(default_factory=LocalTrees)
    """Opens what is imported, and where exports go."""


@dataclass(frozen=True, slots=True)
class Services:
    """Every service of one store, assembled. Nothing runs in the background before `start`."""

    settings: Settings
    adapters: Adapters
    placements: Placements
    writing: WritingService
    reading: ReadingService
    deleting: DeletingService
    describing: DescribingService
    changing: ChangingService
    moving: MovingService
    restoring: RestoringService
    listing: ListingService
    checking: CheckingService
    importing: ImportingService
    exporting: ExportingService
    clearing: ClearingService
    outbox: OutboxService
    cleaner: IntentCleaner
    sweep: OrphanSweep
    expiry: ExpiryService
    recovering: RecoveringService
    adopting: AdoptingService
    mending: MendingService
    scrub: ScrubbingService
    authorizing: AuthorizingService
    listener: ChangeListener
    worker: Worker
    totals: TotallingService
    tracker: AccessTracker
    tracking: AccessFlush
    cache: ContentCache
    memory: MemoryBudget
    keeper: IntentKeeper
    background: Background


async def assemble(settings: Settings, adapters: Adapters) -> Services:
    """Return services over `adapters`, after making every object store ours.

    Raises `InstallationMismatchError` if a store belongs to another installation.
    """
    catalog, clock, entropy, limits = adapters.catalog, adapters.clock, adapters.entropy, settings.limits
    grace = Grace(objects=limits.object_grace, tombstones=limits.tombstone_grace)
    placements = _placements(settings, adapters, await catalog.installation())
    await placements.claim_stores()
    content_type = settings.cache.types.get("content")
    cache = ContentCache(
        adapters.memory,
        placements,
        clock,
        max_size=Bytes(min(content_type.max_size if content_type else 0, settings.cache.memory // LARGEST_SHARE)),
        entropy=entropy,
    )
    memory = MemoryBudget(limits.memory, max_wait=limits.max_wait, max_waiters=limits.max_waiting)
    background = Background(BACKGROUND_CAPACITY)
    tracker = AccessTracker(settings.tracking.capacity)
    tracking = AccessFlush(
        tracker, catalog.accesses, clock, every=settings.tracking.flush_every, days=settings.tracking.days
    )
    keeper = IntentKeeper(catalog.intents, clock, lease=limits.upload_lease)
    restoring = RestoringService(
        catalog.restores, catalog.records, catalog.moves, placements, clock, _restore_policy(settings)
    )
    reading = ReadingService(
        catalog.records, placements, cache, memory, tracker, restoring, clock, max_buffered=limits.max_buffered
    )
    prefiller = Prefiller(catalog.records, placements, cache, background)
    transfers = TransferParts(
        records=catalog.records,
        intents=catalog.intents,
        keeper=keeper,
        placements=placements,
        clock=clock,
        grace=grace,
        max_size=limits.max_content_size,
        entropy=entropy,
    )
    moving = MovingService(
        catalog.moves,
        catalog.records,
        placements,
        Copier(transfers, catalog.moves, memory),
        restoring,
        cache,
        prefiller,
        clock,
    )
    recovering = RecoveringService(catalog.recovery, catalog.cursors)
    outbox = OutboxService(catalog.outbox, placements, cache, clock, recovering, second_pass=settings.cache.second_pass)
    cleaner = IntentCleaner(catalog.intents, placements, longest_request=limits.longest_request)
    sweep = OrphanSweep(
        catalog.sweeps,
        catalog.outbox,
        placements,
        clock,
        recovering,
        grace=grace,
        max_share=limits.sweep_max_share,
        entropy=entropy,
    )
    expiry = ExpiryService(catalog.records, cache, clock, recovering, grace=grace)
    scrub = ScrubbingService(
        catalog.records, placements, catalog.cursors, clock, rate=settings.scrub.rate, every=settings.scrub.every
    )
    authorizing = AuthorizingService(catalog.tokens, clock, entropy=entropy)
    listing = ListingService(catalog.records, clock)
    writing = WritingService(transfers, cache, memory, prefiller)
    changing = ChangingService(catalog.records, cache, clock)
    deleting = DeletingService(catalog.records, placements, cache, tracker, outbox, clock, grace=grace)
    stored = StoredBytes(catalog.records, placements, memory, clock)
    return Services(
        settings=settings,
        adapters=adapters,
        placements=placements,
        writing=writing,
        reading=reading,
        describing=DescribingService(catalog.records, restoring, clock),
        deleting=deleting,
        moving=moving,
        restoring=restoring,
        changing=changing,
        listing=listing,
        checking=CheckingService(listing, reading, placements, catalog.outbox, catalog.sweeps),
        importing=ImportingService(
            adapters.trees,
            FileStorer(writing, BulkWriter(catalog.bulk, transfers, cache), catalog.records, stored, memory),
            changing,
            catalog.records,
            clock,
        ),
        exporting=ExportingService(adapters.trees, listing, stored, clock),
        clearing=ClearingService(listing, deleting),
        outbox=outbox,
        cleaner=cleaner,
        sweep=sweep,
        expiry=expiry,
        recovering=recovering,
        adopting=AdoptingService(catalog.recovery, catalog.cursors, catalog.sweeps, placements, clock),
        mending=MendingService(
            catalog.records, catalog.recovery, catalog.outbox, keeper, placements, clock, entropy=entropy
        ),
        scrub=scrub,
        authorizing=authorizing,
        listener=ChangeListener(
            catalog.changes, cache, clock, on_other_change=authorizing.refresh, max_silence=limits.max_wait
        ),
        worker=Worker(
            _jobs(adapters, outbox, cleaner, sweep, expiry, moving, restoring, tracking, scrub),
            catalog.elections,
            catalog.job_runs,
            clock,
            entropy(HOLDER_BYTES).hex(),
        ),
        totals=TotallingService(catalog.totals, clock),
        tracker=tracker,
        tracking=tracking,
        cache=cache,
        memory=memory,
        keeper=keeper,
        background=background,
    )


def _placements(settings: Settings, adapters: Adapters, installation: str) -> Placements:
    return Placements(
        installation,
        {
            name: _placement(name, placement, adapters.stores[placement.objects])
            for name, placement in settings.placements.items()
        },
        {
            tier: TierRules(rules.placement, rules.cache_ttl, rules.prefetch)
            for tier, rules in ((tier, settings.tier(tier)) for tier in StorageTier)
        },
    )


def _placement(name: str, placement: PlacementSettings, store: ObjectStore) -> Placement:
    rules = None
    if placement.restore is not None:
        if not isinstance(store, Restorable):
            raise ConfigurationError(
                f"the object store {placement.objects!r} cannot restore; remove [placements.{name}.restore]"
            )
        rules = RestoreRules(
            store,
            {
                speed: RestoreTerms(terms.delay, Usd(terms.usd_per_gb), Usd(terms.usd_per_request))
                for speed, terms in placement.restore.terms().items()
            },
        )
    return Placement(name, placement.objects, store, placement.storage_class, rules)


def _restore_policy(settings: Settings) -> RestorePolicy:
    rules = settings.restore
    return RestorePolicy(
        speed=rules.speed,
        days=rules.days,
        daily_budget=None if rules.daily_budget is None else Usd(rules.daily_budget),
        on_read=rules.on_read,
        move_to=rules.move_to,
        poll_every=rules.poll_every,
    )


def _jobs(
    adapters: Adapters,
    outbox: OutboxService,
    cleaner: IntentCleaner,
    sweep: OrphanSweep,
    expiry: ExpiryService,
    moving: MovingService,
    restoring: RestoringService,
    tracking: AccessFlush,
    scrub: ScrubbingService,
) -> tuple[Job, ...]:
    async def trim_changes() -> int:
        now = adapters.clock.now()
        await adapters.catalog.changes.trim(before=later(now, Seconds(-CHANGES_KEPT)))
        return 0

    async def sweep_once() -> int:
        # While the catalog recovers a sweep waits, which is no failure.
        refused = [report.refused for report in await sweep.run() if report.refused not in {None, ADVICE}]
        if refused:
            raise StorageError("; ".join(map(str, refused)))
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
        Job("sweep_orphans", Seconds(6 * 3600.0), sweep_once),
        Job("trim_changes", Seconds(600.0), trim_changes),
        Job("trim_access_days", Seconds(3600.0), tracking.trim),
        *((Job("scrub", SCRUB_PERIOD, scrub.run),) if scrub.is_on else ()),
    )
