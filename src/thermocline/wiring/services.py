"""Assembling services over adapters, whichever they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.domain.work import Grace, OutboxKind
from thermocline.ports.cache import MemoryLevel
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.ports.file_trees import FileTrees
from thermocline.ports.object_store import ObjectStore
from thermocline.services.admission import MemoryBudget
from thermocline.services.authorizing import AuthorizingService
from thermocline.services.background import Background
from thermocline.services.caching import ContentCache
from thermocline.services.change_listening import ChangeListener
from thermocline.services.changing import ChangingService
from thermocline.services.checking import CheckingService
from thermocline.services.clearing import ClearingService
from thermocline.services.deleting import DeletingService
from thermocline.services.delivering import OutboxService
from thermocline.services.expiring import ExpiryService
from thermocline.services.exporting import ExportingService
from thermocline.services.importing import ImportingService
from thermocline.services.intent_keeping import IntentKeeper
from thermocline.services.listing import ListingService
from thermocline.services.placements import Placement, Placements
from thermocline.services.prefilling import Prefiller
from thermocline.services.reading import ReadingService
from thermocline.services.reconciling import IntentCleaner, OrphanSweep
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.tracking import AccessTracker
from thermocline.services.transferring import TransferParts
from thermocline.services.working import Job, Worker
from thermocline.services.writing import WritingService
from thermocline.wiring.settings import Settings

CHANGES_KEPT = Seconds(3600.0)
"""How long the change feed reaches back; a process that slept longer empties its memory."""
LARGEST_SHARE = 8
"""One content takes at most an eighth of the memory cache."""
BACKGROUND_CAPACITY = 64
TRACKED_CONTENTS = 1_000_000
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
    changing: ChangingService
    listing: ListingService
    checking: CheckingService
    importing: ImportingService
    exporting: ExportingService
    clearing: ClearingService
    outbox: OutboxService
    cleaner: IntentCleaner
    sweep: OrphanSweep
    expiry: ExpiryService
    authorizing: AuthorizingService
    listener: ChangeListener
    worker: Worker
    tracker: AccessTracker
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
    tracker = AccessTracker(TRACKED_CONTENTS)
    keeper = IntentKeeper(catalog.intents, clock, lease=limits.upload_lease)
    reading = ReadingService(
        catalog.records, placements, cache, memory, tracker, clock, max_buffered=limits.max_buffered
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
    outbox = OutboxService(catalog.outbox, placements, cache, clock, second_pass=settings.cache.second_pass)
    cleaner = IntentCleaner(catalog.intents, placements, longest_request=limits.longest_request)
    sweep = OrphanSweep(
        catalog.sweeps,
        catalog.outbox,
        placements,
        clock,
        grace=grace,
        max_share=limits.sweep_max_share,
        entropy=entropy,
    )
    expiry = ExpiryService(catalog.records, cache, clock, grace=grace)
    authorizing = AuthorizingService(catalog.tokens, clock, entropy=entropy)
    listing = ListingService(catalog.records, clock)
    writing = WritingService(transfers, cache, memory, Prefiller(catalog.records, cache, background))
    changing = ChangingService(catalog.records, cache, clock)
    deleting = DeletingService(catalog.records, cache, outbox, clock, grace=grace)
    stored = StoredBytes(catalog.records, placements, memory, clock)
    return Services(
        settings=settings,
        adapters=adapters,
        placements=placements,
        writing=writing,
        reading=reading,
        deleting=deleting,
        changing=changing,
        listing=listing,
        checking=CheckingService(listing, reading, placements, catalog.outbox, catalog.sweeps),
        importing=ImportingService(adapters.trees, writing, changing, catalog.records, stored, memory, clock),
        exporting=ExportingService(adapters.trees, listing, stored, clock),
        clearing=ClearingService(listing, deleting),
        outbox=outbox,
        cleaner=cleaner,
        sweep=sweep,
        expiry=expiry,
        authorizing=authorizing,
        listener=ChangeListener(
            catalog.changes, cache, clock, on_other_change=authorizing.refresh, max_silence=limits.max_wait
        ),
        worker=Worker(
            _jobs(adapters, outbox, cleaner, sweep, expiry), catalog.elections, clock, entropy(HOLDER_BYTES).hex()
        ),
        tracker=tracker,
        cache=cache,
        memory=memory,
        keeper=keeper,
        background=background,
    )


def _placements(settings: Settings, adapters: Adapters, installation: str) -> Placements:
    return Placements(
        installation,
        {
            name: Placement(name, placement.objects, adapters.stores[placement.objects])
            for name, placement in settings.placements.items()
        },
        {
            tier: TierRules(rules.placement, rules.cache_ttl, rules.prefetch)
            for tier, rules in ((tier, settings.tier(tier)) for tier in StorageTier)
        },
    )


def _jobs(
    adapters: Adapters, outbox: OutboxService, cleaner: IntentCleaner, sweep: OrphanSweep, expiry: ExpiryService
) -> tuple[Job, ...]:
    async def trim_changes() -> int:
        now = adapters.clock.now()
        await adapters.catalog.changes.trim(before=later(now, Seconds(-CHANGES_KEPT)))
        return 0

    async def sweep_once() -> int:
        await sweep.run()
        return 0

    return (
        Job("invalidate", Seconds(1.0), lambda: outbox.deliver(OutboxKind.INVALIDATE)),
        Job("delete_objects", Seconds(5.0), lambda: outbox.deliver(OutboxKind.DELETE_OBJECT)),
        Job("clean_intents", Seconds(5.0), cleaner.run),
        Job("expire", Seconds(5.0), expiry.run),
        Job("forget_tombstones", Seconds(600.0), expiry.forget_tombstones),
        Job("empty_quarantine", Seconds(600.0), sweep.empty_quarantine),
        Job("sweep_orphans", Seconds(6 * 3600.0), sweep_once),
        Job("trim_changes", Seconds(600.0), trim_changes),
    )
