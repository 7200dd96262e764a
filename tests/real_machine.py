"""The machine of `tests.machine` on real servers: PostgreSQL, a Redis Cluster and Ceph's gateway.

Time is still the test's. The database is told it; what a bucket lists is dated by when it was first seen; and where
hours pass, Redis has forgotten everything, as it would have. Ceph does not restore (`testing.servers.ceph`), so no
tier lies in a class that must be restored; restores are tried on a server of their own.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.machine import Machine
from tests.s3_servers import location, new_bucket
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.ports.cache import SharedLevel
from thermocline.ports.object_store import ObjectHead, ObjectInfo, ObjectStore
from thermocline.services.transferring import EVICT_DELAY
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.testing.servers.redis import RedisCluster
from thermocline.wiring.settings import Settings
from thermocline.wiring.sharing_cache import open_shared_cache

PART_SIZE = Bytes(64)
"""As on the machine in memory; the gateway is told to take such parts."""
SHORT = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class RealServers:
    """What real machines run on, each in a database, an installation and a bucket of its own."""

    postgres: PostgresServer
    cluster: RedisCluster
    ceph: CephServer

    def settings(self, decides: Settings | None = None) -> Settings:
        """Return the settings of a machine on these servers; policy and prices are those of `decides`."""
        settings = Settings.model_validate(
            {
                "cache": {"url": self.cluster.url},
                "limits": {"sweep_max_share": 1.0},
                "objects": {
                    "main": {
                        "kind": "s3",
                        "dialect": "ceph",
                        "endpoint": self.ceph.endpoint,
                        "bucket": "of-each-machine",
                        "delete_adopted": True,
                    }
                },
                "placements": {
                    "standard": {"objects": "main"},
                    "infrequent": {"objects": "main", "storage_class": "STANDARD_IA"},
                    "archive": {"objects": "main", "storage_class": "GLACIER"},
                },
                "tiers": {"cold": {"placement": "infrequent"}},
            }
        )
        if decides is None:
            return settings
        priced = {
            name: placement.model_copy(update={"prices": decides.placements[name].prices})
            for name, placement in settings.placements.items()
            if name in decides.placements
        }
        return settings.model_copy(
            update={"policy": decides.policy, "prices": decides.prices, "placements": settings.placements | priced}
        )


@pytest.fixture(scope="session")
def real_servers(
    postgres: PostgresServer, redis_cluster: RedisCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServers]:
    """Servers for machines; their gateway takes small parts."""
    ceph = CephServer(tmp_path_factory.mktemp("ceph-of-small-parts"), smallest_part=PART_SIZE)
    ceph.start()
    try:
        yield RealServers(postgres, redis_cluster, ceph)
    finally:
        ceph.stop()


class PassingClock(ManualClock):
    """A manual clock on which short waits pass by themselves: for another's lease, for an answer."""

    async def sleep(self, delay: Seconds) -> None:
        if not 0 < delay <= SHORT:
            await super().sleep(delay)
            return
        await asyncio.sleep(0.001)
        self.advance(delay)


class RealMachine(Machine):
    """A machine on real servers."""

    def __init__(self, folder: Path, servers: RealServers, *, seed: int = 0, decides: Settings | None = None) -> None:
        self.installation = f"test-{secrets.token_hex(6)}"
        super().__init__(folder, seed=seed, settings=servers.settings(decides), installation=self.installation)
        self.clock = PassingClock()
        self._servers = servers
        self._url = fresh_postgres_catalog(servers.postgres)
        self._name = self._url.rpartition("/")[2]
        servers.postgres.execute(
            f"UPDATE installation SET installation_id = '{self.installation}'",  # noqa: S608 - made above
            database=self._name,
        )
        self._bucket = new_bucket(servers.ceph)
        self._seen: dict[str, Timestamp] = {}
        self._opened: AsyncExitStack | None = None

    def discard(self) -> None:
        """Drop the database; buckets go with their server."""
        self._servers.postgres.drop_database(self._url)

    async def catalog(self) -> SqlCatalog:
        return await SqlCatalog.open(self._url, database_clock=self.clock.now)

    async def open_objects(self, _stack: AsyncExitStack) -> ObjectStore:
        # One client for all processes: what a process has sent goes on after it died.
        if self._opened is None:
            self._opened = AsyncExitStack()
            where = location(self._servers.ceph, self._bucket, "ceph")
            store = await self._opened.enter_async_context(S3ObjectStore.open(where, part_size=PART_SIZE))
            self.objects: Any = DatedObjects(store, self.clock, self._seen)
        return cast("ObjectStore", self.objects)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    async def open_shared(self, stack: AsyncExitStack) -> SharedLevel | None:
        return (await open_shared_cache(self.settings.cache, self.clock, stack, installation=self.installation)).level

    async def spread(self) -> None:
        """Do what a worker does two seconds later: until then Redis may show what was there before."""
        self.clock.advance(EVICT_DELAY)
        async with self.process() as store:
            while await store.services.outbox.deliver(OutboxKind.INVALIDATE):
                pass

    async def recover(self) -> None:
        # Hours pass: whatever a process left in Redis has ended.
        self._servers.cluster.flush()
        await super().recover()

    async def query(self, statement: str) -> list[tuple[object, ...]]:
        return self._servers.postgres.execute(statement, database=self._name)


class DatedObjects:
    """A store whose objects are dated by a clock of the test's, from when each was first seen."""

    def __init__(self, store: S3ObjectStore, clock: ManualClock, seen: dict[str, Timestamp]) -> None:
        self._store = store
        self._clock = clock
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, *given: Any, **named: Any) -> None:
        self._see(key)
        await self._store.put(key, *given, **named)

    async def begin_upload(self, key: str, *given: Any, **named: Any) -> Any:
        self._see(key)
        return await self._store.begin_upload(key, *given, **named)

    async def head(self, key: str) -> ObjectHead | None:
        head = await self._store.head(key)
        return None if head is None else replace(head, modified_at=self._see(key))

    async def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        async for page in self._store.list_pages(prefix):
            yield [replace(info, modified_at=self._see(info.key)) for info in page]

    async def list_range(self, prefix: str, **given: Any) -> AsyncGenerator[Sequence[ObjectInfo]]:
        async with aclosing(self._store.list_range(prefix, **given)) as pages:
            async for page in pages:
                yield [replace(info, modified_at=self._see(info.key)) for info in page]

    def _see(self, key: str) -> Timestamp:
        return self._seen.setdefault(key, self._clock.now())
