"""One machine for tests: an object store and a catalog that outlive processes, a clock that tests move.

A process is a StorageOrchestrator over fault-injecting wrappers of the machine's parts. When it "dies", nothing it
would still do takes effect; the next process starts on what is there.
"""

import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from tests.counts import SOAK
from thermocline import StorageOrchestrator
from thermocline.adapters.cache.memory import MemoryCache
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.objects.memory import CopyingMemoryObjectStore, MemoryObjectStore
from thermocline.domain.errors import ContentArchivedError, ContentNotFoundError
from thermocline.domain.units import Bytes, Seconds
from thermocline.domain.work import OutboxKind
from thermocline.ports.cache import SharedCounts, SharedLevel
from thermocline.ports.object_store import ObjectStore
from thermocline.ports.predictor import Predictor
from thermocline.testing.catalog import INSTALLATION, fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.faults import Faults
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.services import Adapters, assemble
from thermocline.wiring.settings import Settings

PART_SIZE = Bytes(64)
"""So small that bodies of a few hundred bytes are uploads of several parts."""
SETTINGS = Settings.model_validate(
    {
        "limits": {"sweep_max_share": 1.0},
        "placements": {
            "standard": {"objects": "main"},
            "infrequent": {"objects": "main", "storage_class": "STANDARD_IA"},
            "archive": {
                "objects": "main",
                "storage_class": "GLACIER",
                "restore": {
                    "bulk": {"delay": "5h", "usd_per_gb": 0.0},
                    "standard": {"delay": "1h", "usd_per_gb": 10.0, "usd_per_request": 0.01},
                },
            },
        },
        "tiers": {"cold": {"placement": "infrequent"}},
        "restore": {"daily_budget": 1.0, "days": 2},
    }
)
"""HOT and WARM share a placement, COLD has one of its own, ARCHIVE must be restored before it is read."""
BUCKET = S3ObjectsSettings(bucket="media", dialect="aws", delete_adopted=True)
DELETES_ADOPTED = SETTINGS.model_copy(update={"objects": {"main": BUCKET}})
"""The same, where contents may adopt what lies in the store, which goes with them."""
WORK = ("moves", "ledger", "restores")
ROUNDS = 4
"""Passes of the background work after which everything has come to its end: the longest way takes three."""
SWEEPS = range(ROUNDS) if SOAK else (0, 2, 3)
"""The passes in which it sweeps, which takes most of the time: amid unfinished work, and when that has ended."""


class Machine:
    """What survives a crash."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        settings: Settings = SETTINGS,
        installation: str = INSTALLATION,
        copies: bool = False,
    ) -> None:
        """Make one whose store, with `copies`, copies by itself."""
        self.clock = ManualClock()
        self.objects = (CopyingMemoryObjectStore if copies else MemoryObjectStore)(
            self.clock, part_size=PART_SIZE, archive_classes=settings.archive_classes("main")
        )
        self.database = folder / "catalog.db"
        self.settings = settings
        self.random = random.Random(seed)
        self.shared: SharedLevel | None = None
        """The cache that processes share, if the test says so."""
        self.shared_counts: SharedCounts | None = None
        self.predictor: Callable[[], Predictor] | None = None
        """Makes what learns from reads, if the test says so."""
        fresh_sqlite_catalog(self.database, installation=installation)

    def twin(self, folder: Path) -> "Machine":
        """Return another machine in the same state; no process may run."""
        twin = Machine(folder, settings=self.settings)
        twin.clock.advance(Seconds((self.clock.now() - twin.clock.now()) / 1_000_000))
        twin.database.write_bytes(self.database.read_bytes())
        twin.random.setstate(self.random.getstate())
        twin.objects._contents.objects |= self.objects._contents.objects
        twin.objects._owner = self.objects._owner
        return twin

    @asynccontextmanager
    async def process(self, faults: Faults | None = None) -> AsyncIterator[StorageOrchestrator]:
        """Run a process for the length of the block; its parts are wrapped in `faults`."""
        injected = faults or Faults()
        async with AsyncExitStack() as stack:
            catalog = await self.catalog()
            stack.push_async_callback(catalog.aclose)
            shared = await self.open_shared(stack)
            stores = await self.open_stores(stack)
            adapters = Adapters(
                catalog=injected.wrap("catalog", catalog),
                stores={name: injected.wrap("objects", store) for name, store in stores.items()},
                memory=injected.wrap("cache", self._memory(ages=shared is not None)),
                clock=self.clock,
                entropy=self.random.randbytes,
                shared=None if shared is None else injected.wrap("shared", shared),
                shared_counts=self.shared_counts,
                predictor=self.predictor,
            )
            services = await assemble(self.settings, adapters)
            await services.listener.poll()
            try:
                yield StorageOrchestrator(services)
            finally:
                await services.background.drain()
                await services.keeper.close()

    async def open_stores(self, stack: AsyncExitStack) -> Mapping[str, ObjectStore]:
        """Return the object stores by the names that settings give them."""
        return {"main": await self.open_objects(stack)}

    async def open_objects(self, _stack: AsyncExitStack) -> ObjectStore:
        """Return the object store, open until the stack is closed."""
        return self.objects

    async def open_shared(self, _stack: AsyncExitStack) -> SharedLevel | None:
        """Return the cache that processes share, open until the stack is closed; None if there is none."""
        return self.shared

    def _memory(self, *, ages: bool) -> MemoryCache:
        max_age = self.settings.cache.l1_max_age if ages else None
        return MemoryCache(self.clock, capacity=Bytes(1_000_000), max_age=max_age)

    async def catalog(self) -> SqlCatalog:
        """Open the catalog as a process does, without faults."""
        return await SqlCatalog.open(f"sqlite:///{self.database}", unsafe_fast=True, database_clock=self.clock.now)

    async def close(self) -> None:
        """Let go of what processes left open."""

    def discard(self) -> None:
        """Forget the machine, where its folder is not all there is."""

    async def spread(self) -> None:
        """Let whatever processes share hear of commits that nobody acknowledged: here they share the catalog alone."""

    async def recover(self) -> None:
        """Start a process and let time pass until all background work has come to its end."""
        async with self.process() as store:
            await settle(store, self.clock)

    async def work_left(self) -> dict[str, int]:
        """Return how many moves are planned, how many were made, and how many restores are known."""
        counted = await self.query(" UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in WORK))  # noqa: S608
        return {table: int(str(count)) for table, (count,) in zip(WORK, counted, strict=True)}

    async def query(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows that a statement yields on the catalog's database."""
        with closing(sqlite3.connect(self.database)) as raw:
            return raw.execute(statement).fetchall()

    async def remains(self) -> tuple[set[str], set[str], int, int]:
        """Return (keys in the store, keys that records name, outbox rows, intents)."""
        stored: set[str] = set()
        async with AsyncExitStack() as stack:
            objects = await self.open_objects(stack)
            async for page in objects.list_pages(""):
                stored |= {info.key for info in page}
        catalog = await self.catalog()
        try:
            records = await catalog.records.page(prefix="", tier=None, after="", limit=1000, now=self.clock.now())
            rows = sum(state.waiting + state.dead for state in await catalog.outbox.state())
            return stored, {record.object_key for record in records}, rows, await catalog.intents.count()
        finally:
            await catalog.aclose()


async def read_whole(store: StorageOrchestrator, clock: ManualClock, content_id: str = "a") -> bytes | None:
    """Return the content, restored first if it must be; None if there is none."""
    try:
        return await store.retrieve_content(content_id)
    except ContentNotFoundError:
        return None
    except ContentArchivedError:
        clock.advance(Seconds(2 * 3600.0))
        while await store.services.restoring.run():
            pass
    return await store.retrieve_content(content_id)


async def settle(store: StorageOrchestrator, clock: ManualClock) -> None:
    """Run every job while days pass, so that every lease, grace and delay ends."""
    services = store.services
    for number in range(ROUNDS):
        clock.advance(Seconds(3 * 3600.0))
        await services.expiry.run()
        await services.cleaner.run()
        while await services.restoring.run() + await services.moving.run():
            pass
        for kind in OutboxKind:
            while await services.outbox.deliver(kind):
                pass
        if number in SWEEPS:
            await services.sweep.run()
