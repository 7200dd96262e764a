"""A machine whose tiers lie in two real object stores: classes of Ceph's gateway, and an archive that must be restored.

Time is the test's: on the machine, for the database, for what Ceph lists, and in the archive's server. A byte costs as
much as a gigabyte elsewhere, so that small contents are worth moving.
"""

import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from tests.machine import Machine
from tests.real_machine import DatedObjects, PassingClock
from tests.s3_servers import S3Server, location, new_bucket, plain_client
from thermocline import Settings
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.object_store import ObjectStore
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.postgres import PostgresServer

DAY: Final = 86400.0
RESTORE_SECONDS: Final = 5 * 3600.0
ARCHIVE_DELAYS: Final = {"GLACIER": {"Standard": RESTORE_SECONDS}}
PRICES: Final[dict[str, dict[str, float]]] = {
    "s3.standard": {"storage": 23e6},
    "s3.standard_ia": {"storage": 12.5e6, "retrieval": 10e6, "minimum_bytes": 0},
    "s3.glacier": {"storage": 1e6, "retrieval": 60e6, "overhead_bytes": 0, "overhead_bytes_standard": 0},
}
"""By these `idle` wants content in the second class after 29 silent days, in the archive after 132 there."""
SETTINGS: Final = Settings.model_validate(
    {
        "limits": {"sweep_max_share": 1.0, "moves_at_once": 32},
        "prices": PRICES,
        "objects": {
            "main": {"kind": "s3", "dialect": "ceph", "endpoint": "http://ceph", "bucket": "main"},
            "vault": {"kind": "s3", "dialect": "aws", "bucket": "vault"},
        },
        "placements": {
            "standard": {"objects": "main", "prices": "s3.standard"},
            "infrequent": {"objects": "main", "storage_class": "STANDARD_IA", "prices": "s3.standard_ia"},
            "archive": {
                "objects": "vault",
                "storage_class": "GLACIER",
                "prices": "s3.glacier",
                "restore": {"standard": {"delay": "5h", "usd_per_gb": 0.01}},
            },
        },
        "tiers": {"cold": {"placement": "infrequent"}},
        "policy": {"name": "idle", "daily_usd": "none", "every": "7d", "delayed_read": 0.001},
        "restore": {"days": 2, "daily_budget": "none", "move_to": "warm"},
    }
)


class YearMachine(Machine):
    """HOT, WARM and COLD lie in two classes of a bucket of Ceph, ARCHIVE in a bucket of the archive's server."""

    def __init__(
        self, folder: Path, ceph: CephServer, archive: GlacierServer, postgres: PostgresServer, *, seed: int
    ) -> None:
        self.installation = f"test-{secrets.token_hex(6)}"
        super().__init__(folder, seed=seed, settings=SETTINGS, installation=self.installation)
        self.clock = PassingClock(archive.now())
        self._archive = archive
        self._postgres = postgres
        self._url = fresh_postgres_catalog(postgres, installation=self.installation)
        self._buckets: dict[str, tuple[S3Server, str, str]] = {
            "main": (ceph, new_bucket(ceph), "ceph"),
            "vault": (archive, new_bucket(archive), "aws"),
        }
        self._seen: dict[str, Timestamp] = {}
        self._stores: dict[str, Any] = {}
        self._opened = AsyncExitStack()

    def pass_time(self, seconds: float) -> None:
        """Let time pass here and in the archive."""
        self.clock.advance(seconds)
        # Short waits have passed here by themselves, and not in the archive.
        self._archive.advance(Seconds((self.clock.now() - self._archive.now()) / 1_000_000))

    async def catalog(self) -> SqlCatalog:
        return await SqlCatalog.open(self._url, database_clock=self.clock.now)

    async def open_stores(self, _stack: AsyncExitStack) -> Mapping[str, ObjectStore]:
        if not self._stores:
            for name, (server, bucket, vendor) in self._buckets.items():
                where = location(server, bucket, vendor)
                classes = {"GLACIER": {RestoreSpeed.STANDARD: Seconds(RESTORE_SECONDS)}} if name == "vault" else {}
                store = await self._opened.enter_async_context(S3ObjectStore.open(where, archive_classes=classes))
                self._stores[name] = DatedObjects(store, self.clock, self._seen)
        return self._stores

    async def close(self) -> None:
        self._stores.clear()
        await self._opened.aclose()

    def discard(self) -> None:
        self._postgres.drop_database(self._url)

    async def query(self, statement: str) -> list[tuple[object, ...]]:
        return self._postgres.execute(statement, database=self._url.rpartition("/")[2])

    def listed(self) -> dict[str, str]:
        """Return what the servers themselves list of our objects: keys, and the placements that fit where they lie."""
        placements = {(each.objects, each.storage_class): name for name, each in self.settings.placements.items()}
        found: dict[str, str] = {}
        for name, (server, bucket, _) in self._buckets.items():
            client = plain_client(server)
            try:
                pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=self.installation + "/")
                for page in pages:
                    for each in page.get("Contents", ()):
                        found[each["Key"]] = placements[name, each["StorageClass"]]
            finally:
                client.close()
        return found
