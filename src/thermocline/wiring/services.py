"""Assembling services over adapters, whichever they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.domain.units import Bytes
from thermocline.domain.work import Grace
from thermocline.ports.cache import CacheEntry, SharedCounts, SharedLevel
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.ports.file_trees import FileTrees
from thermocline.ports.held import HotLevel
from thermocline.ports.object_store import ObjectStore
from thermocline.ports.predictor import Predictor
from thermocline.services.admission import MemoryBudget
from thermocline.services.adopting import AdoptingService
from thermocline.services.adopting_files import FileAdopter
from thermocline.services.authorizing import AuthorizingService
from thermocline.services.background import Background
from thermocline.services.bulk_writing import BulkWriter
from thermocline.services.cache_levels import CacheLevels
from thermocline.services.cache_statistics import CacheStatistics
from thermocline.services.caching import ContentCache
from thermocline.services.change_listening import ChangeListener
from thermocline.services.changing import ChangingService
from thermocline.services.checking import CheckingService
from thermocline.services.clearing import ClearingService
from thermocline.services.copy_planning import CopyPlanner
from thermocline.services.copying import Copier
from thermocline.services.deleting import DeletingService
from thermocline.services.delivering import OutboxService
from thermocline.services.describing import DescribingService
from thermocline.services.direct_downloads import DirectDownloads
from thermocline.services.direct_uploads import DirectUploads
from thermocline.services.evicting import EvictionService
from thermocline.services.expiring import ExpiryService
from thermocline.services.explaining import ExplainingService
from thermocline.services.exporting import ExportingService
from thermocline.services.filling import Filler
from thermocline.services.importing import ImportingService
from thermocline.services.intent_keeping import IntentKeeper
from thermocline.services.learning import LearningService
from thermocline.services.listing import ListingService
from thermocline.services.mending import MendingService
from thermocline.services.moving import MoveLimits, MovingService
from thermocline.services.object_trees import ImportSources
from thermocline.services.optimizing import OptimizingService
from thermocline.services.placements import Placements
from thermocline.services.policy_passes import PolicyPasses
from thermocline.services.prefetching import Prefetcher
from thermocline.services.prefilling import Prefiller
from thermocline.services.reading import ReadingService
from thermocline.services.reconciling import IntentCleaner, OrphanSweep
from thermocline.services.recovering import RecoveringService
from thermocline.services.refreshing import ContentRefresher
from thermocline.services.releasing import ReleasingService
from thermocline.services.restoring import RestoringService
from thermocline.services.saving import SavingService
from thermocline.services.scrubbing import ScrubbingService
from thermocline.services.sharing import SharedCache
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.storing_files import FileStorer
from thermocline.services.totalling import TotallingService
from thermocline.services.tracking import AccessFlush, AccessTracker
from thermocline.services.transferring import TransferParts
from thermocline.services.value_caches import ValueCaches
from thermocline.services.warming import WarmingService
from thermocline.services.working import Worker
from thermocline.services.writing import WritingService
from thermocline.wiring.deciding import (
    make_day_limits,
    make_deciders,
    make_policy_learning,
    make_schedule,
    prices_factory,
    storage_prices,
)
from thermocline.wiring.jobs import background_jobs
from thermocline.wiring.predicting import make_learning, make_prefetcher
from thermocline.wiring.rules import buckets_of, cache_types, make_placements, make_restore_policy
from thermocline.wiring.settings import Settings

LARGEST_SHARE = 10
"""One content takes at most a tenth of the memory cache; what is larger costs more hits than it brings."""
BACKGROUND_CAPACITY = 64
HOLDER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Adapters:
    """The real parts that services work on."""

    catalog: Catalog
    stores: Mapping[str, ObjectStore]
    """By the names of `[objects.NAME]`."""
    memory: HotLevel
    clock: Clock
    entropy: Callable[[int], bytes]
    """Returns that many random bytes, fit for secrets."""
    shared: SharedLevel | None = None
    """The cache that processes share; then `memory` is an `AgingLevel`."""
    shared_counts: SharedCounts | None = None
    """Counters that all processes add to, where they share a cache."""
    predictor: Callable[[], Predictor] | None = None
    """Makes what learns from reads; None: nothing is learned."""
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
    optimizing: OptimizingService
    explaining: ExplainingService
    saving: SavingService
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
    direct_uploads: DirectUploads
    direct_downloads: DirectDownloads
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
    values: ValueCaches
    evicting: EvictionService
    refresher: ContentRefresher
    warming: WarmingService
    learning: LearningService | None
    """None where nothing is learned; then nothing is fetched ahead."""
    prefetching: Prefetcher | None
    memory: MemoryBudget
    keeper: IntentKeeper
    background: Background
    statistics: CacheStatistics
    storage_prices: Callable[[], Mapping[str, float]]
    """Returns USD a month for one byte in each tier, where there are prices; reads the books when it is first asked."""


async def assemble(settings: Settings, adapters: Adapters) -> Services:
    """Return services over `adapters`, after making every object store ours.

    Raises `InstallationMismatchError` if a store belongs to another installation.
    """
    catalog, clock, entropy, limits = adapters.catalog, adapters.clock, adapters.entropy, settings.limits
    grace = Grace(objects=limits.object_grace, tombstones=limits.tombstone_grace)
    placements = make_placements(settings, adapters.stores, await catalog.installation())
    await placements.claim_stores()
    content_type = settings.cache.types.get("content")
    largest = content_type.max_size if content_type else Bytes(0)
    in_memory = Bytes(min(largest, settings.cache.memory // LARGEST_SHARE))
    shared = None if adapters.shared is None else SharedCache(adapters.shared, clock)
    levels = CacheLevels(
        adapters.memory,
        clock,
        entropy=entropy,
        shared=shared,
        memory_max_size=Bytes(settings.cache.memory // LARGEST_SHARE),
        keep_stale=settings.cache.stale_if_error,
    )
    cache = ContentCache(
        levels,
        placements,
        clock,
        max_size=in_memory if shared is None else largest,
        negative_ttl=settings.cache.negative_ttl,
    )
    memory = MemoryBudget(limits.memory, max_wait=limits.max_wait, max_waiters=limits.max_waiting)
    background = Background(BACKGROUND_CAPACITY)
    tracker = AccessTracker(settings.tracking.capacity, cache.held)
    tracking = AccessFlush(
        tracker, catalog.accesses, clock, every=settings.tracking.flush_every, days=settings.tracking.days
    )
    keeper = IntentKeeper(catalog.intents, clock, lease=limits.upload_lease)
    restoring = RestoringService(
        catalog.restores, catalog.records, catalog.moves, placements, clock, make_restore_policy(settings)
    )
    reading = ReadingService(
        catalog.records, placements, cache, memory, tracker, restoring, clock, max_buffered=limits.max_buffered
    )
    refresher = ContentRefresher(cache, catalog.records, background, clock)
    values = ValueCaches(levels, cache, catalog.records, background, clock, cache_types(settings))
    evicting = EvictionService(cache, values, adapters.shared, catalog.changes, clock, entropy=entropy)
    _notice_due(adapters.memory, cache, refresher, values)
    prefiller = Prefiller(catalog.records, cache, background)
    filler = Filler(catalog.records, placements, cache, reading, clock)
    learning = make_learning(settings, catalog, adapters.predictor, clock, entropy)
    prefetching = make_prefetcher(
        settings, learning, filler, tracking, background, memory, placements, clock, entropy, shared=adapters.shared
    )
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
        filler,
        background,
        clock,
        MoveLimits(limits.moves_at_once, limits.moves_per_second, limits.move_attempts),
    )
    recovering = RecoveringService(catalog.recovery, catalog.cursors)
    optimizing = OptimizingService(
        catalog.columns,
        PolicyPasses(
            catalog.cursors,
            catalog.elections,
            catalog.sweeps,
            clock,
            every=settings.policy.every,
            share_size=limits.sweep_share_size,
            new_token=lambda: entropy(HOLDER_BYTES).hex(),
        ),
        moving,
        CopyPlanner(catalog.moves, catalog.planned, catalog.policy_budget, clock, make_day_limits(settings)),
        recovering,
        clock,
        make_schedule(settings),
        make_deciders(settings, catalog.cursors, clock),
    )
    releasing = ReleasingService(catalog.adopted, catalog.cursors, placements, clock)
    outbox = OutboxService(
        catalog.outbox, placements, cache, clock, recovering, releasing, second_pass=settings.cache.second_pass
    )
    cleaner = IntentCleaner(catalog.intents, placements, longest_request=limits.longest_request)
    sweep = OrphanSweep(
        catalog.sweeps,
        catalog.outbox,
        catalog.cursors,
        catalog.elections,
        placements,
        clock,
        recovering,
        grace=grace,
        max_share=limits.sweep_max_share,
        share_size=limits.sweep_share_size,
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
    deleting = DeletingService(
        catalog.records,
        placements,
        cache,
        tracker,
        outbox,
        clock,
        grace=grace,
        learning=learning,
        prefetching=prefetching,
    )
    describing = DescribingService(catalog.records, restoring, clock)
    stored = StoredBytes(catalog.records, placements, memory, clock)
    return Services(
        settings=settings,
        adapters=adapters,
        placements=placements,
        writing=writing,
        reading=reading,
        describing=describing,
        deleting=deleting,
        moving=moving,
        optimizing=optimizing,
        explaining=ExplainingService(catalog.columns, catalog.moves, describing, clock, optimizing.decider),
        saving=SavingService(catalog.savings, clock, prices_factory(settings)),
        restoring=restoring,
        changing=changing,
        listing=listing,
        checking=CheckingService(listing, reading, placements, catalog.outbox, catalog.sweeps),
        importing=ImportingService(
            ImportSources(adapters.trees, buckets_of(settings, adapters.stores), placements.is_ours),
            FileStorer(writing, BulkWriter(catalog.bulk, transfers, cache), catalog.records, stored, memory),
            FileAdopter(transfers, cache),
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
        direct_uploads=DirectUploads(transfers, cache, lives=limits.presign_max),
        direct_downloads=DirectDownloads(
            placements, tracker, clock, lives=limits.presign_max, smallest=settings.http.redirect_from
        ),
        recovering=recovering,
        adopting=AdoptingService(catalog.recovery, catalog.cursors, catalog.sweeps, placements, clock),
        mending=MendingService(
            catalog.records, catalog.recovery, catalog.outbox, keeper, placements, clock, entropy=entropy
        ),
        scrub=scrub,
        authorizing=authorizing,
        listener=ChangeListener(
            catalog.changes,
            cache,
            clock,
            on_eviction=evicting.hear,
            on_other_change=authorizing.refresh,
            max_silence=limits.max_wait,
        ),
        worker=Worker(
            background_jobs(
                catalog,
                clock,
                outbox,
                cleaner,
                sweep,
                expiry,
                moving,
                restoring,
                tracking,
                scrub,
                optimizing,
                make_policy_learning(settings, catalog, recovering, clock),
            ),
            catalog.elections,
            catalog.job_runs,
            clock,
            entropy(HOLDER_BYTES).hex(),
        ),
        totals=TotallingService(catalog.totals, clock),
        tracker=tracker,
        tracking=tracking,
        cache=cache,
        values=values,
        evicting=evicting,
        refresher=refresher,
        warming=WarmingService(filler, clock),
        learning=learning,
        prefetching=prefetching,
        memory=memory,
        keeper=keeper,
        background=background,
        statistics=CacheStatistics(cache, values, tracker, clock, adapters.shared_counts),
        storage_prices=partial(storage_prices, settings),
    )


def _notice_due(memory: HotLevel, cache: ContentCache, refresher: ContentRefresher, values: ValueCaches) -> None:
    """Let values that are due for an early refresh be refreshed, whichever level served them."""

    def note_due(key: str, entry: CacheEntry) -> None:
        if entry.revision:
            refresher.note_due(key, entry)
        else:
            values.note_due(key, entry)

    cache.on_found = refresher.note_found
    memory.on_refresh_due = note_due
