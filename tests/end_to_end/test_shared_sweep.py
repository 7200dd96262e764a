"""Two `thermocline worker` processes share a sweep on PostgreSQL and Ceph; one is killed, the other ends it.

The gateway is stopped while both are in a share of their own, so that the kill comes in the middle of one.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import WorkerProcess, until
from tests.s3_servers import new_bucket
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.services.sweep_plans import SweepPlan
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.wiring.upgrading import upgrade_catalog

pytestmark = pytest.mark.server

CONTENTS = 40
ORPHANS = 8


class Place:
    """A catalog and a bucket that processes share."""

    def __init__(self, folder: Path, postgres: PostgresServer, ceph: CephServer) -> None:
        self.file = folder / "thermocline.toml"
        self.url = postgres.create_database()
        self.query: Callable[[str], list[tuple[object, ...]]] = lambda statement: postgres.execute(
            statement, database=self.url.rpartition("/")[2]
        )
        self.file.write_text(
            f"""
[catalog]
url = "{self.url}"
[objects.main]
kind = "s3"
dialect = "ceph"
endpoint = "{ceph.endpoint}"
bucket = "{new_bucket(ceph)}"
region = "{ceph.region}"
access_key_id = "{ceph.access_key}"
secret_access_key = "{ceph.secret_key}"
[placements.standard]
objects = "main"
[limits]
sweep_share_size = 2
"""
        )

    async def fill(self, folder: Path) -> tuple[int, set[str]]:
        """Store contents and orphans among them; return how many objects there are, and the orphans."""
        settings = Settings.load(self.file, flags={"data": str(folder)})
        orphans: set[str] = set()
        async with StorageOrchestrator.open(settings) as store:
            (placement, *_) = store.services.placements.all()
            for number in range(CONTENTS):
                await store.store_content(f"users/{number:03}", b"live")
            for number in range(ORPHANS):
                token = new_token(Timestamp(10**15), number.to_bytes(10))
                installation = store.services.placements.installation
                key = str(ObjectKey(installation, "standard", ContentId(f"users/{number * 5:03}/lost"), token))
                await placement.store.put(key, b"orphan", {})
                orphans.add(key)
            return CONTENTS + ORPHANS, orphans

    async def plan(self) -> SweepPlan:
        """Begin a sweep as a worker would, but one that takes the youngest orphans, too; return it."""
        catalog = await SqlCatalog.open(self.url)
        try:
            prefix = f"{await catalog.installation()}/standard/"
            now = Timestamp(int(float(str(self.query("SELECT extract(epoch FROM now())")[0][0]))) * 1_000_000)
            bounds = tuple(f"{prefix}users/{number:03}" for number in range(1, CONTENTS, 2))
            plan = SweepPlan("token", now, later(now, Seconds(3600.0)), confirmed=False, bounds=bounds)
            await catalog.cursors.save("sweep/standard", plan.as_cursor())
            return plan
        finally:
            await catalog.aclose()

    async def now(self) -> SweepPlan:
        catalog = await SqlCatalog.open(self.url)
        try:
            cursor = await catalog.cursors.load("sweep/standard")
            assert cursor is not None
            return SweepPlan.of(cursor)
        finally:
            await catalog.aclose()

    def end_leases(self) -> None:
        """Let the leases of shares end now instead of in a minute; who lives renews its own."""
        self.query("UPDATE leases SET lease_until = 0 WHERE name LIKE 'sweep/standard/%'")

    def holders(self) -> set[object]:
        """Return who has shares."""
        return {holder for (holder,) in self.query("SELECT holder FROM leases WHERE name LIKE 'sweep/standard/%'")}


def test_two_workers_share_a_sweep_and_one_takes_over(
    tmp_path: Path, postgres: PostgresServer, ceph: CephServer
) -> None:
    place = Place(tmp_path, postgres, ceph)
    asyncio.run(upgrade_catalog(Settings.load(place.file, flags={"data": str(tmp_path / "data")})))
    objects, orphans = asyncio.run(place.fill(tmp_path / "data"))
    environment = {"THERMOCLINE_CONFIG": str(place.file)}
    workers = [WorkerProcess(tmp_path / f"worker-{number}", environment) for number in range(2)]
    try:
        for number in range(2):
            log = tmp_path / f"worker-{number}" / "worker.log"
            until(lambda log=log: b"background work" in log.read_bytes(), "the worker works")  # type: ignore[misc]
        ceph.pause()
        try:
            plan = asyncio.run(place.plan())
            until(lambda: len(place.holders()) == 2, "each worker has a share")
            workers[0].kill()
            place.end_leases()
        finally:
            ceph.resume()
        until(lambda: asyncio.run(place.now()).ended_at is not None, "the other ends the sweep")
    finally:
        workers[0].kill()
        code = workers[1].stop()
    ended = asyncio.run(place.now())
    assert (ended.token, ended.refused) == (plan.token, None)
    assert (ended.listed, ended.unnamed, ended.quarantined) == (objects, ORPHANS, ORPHANS)
    assert {key for (key,) in place.query("SELECT object_key FROM quarantine")} == orphans
    assert place.holders() == set()
    assert code == 0
