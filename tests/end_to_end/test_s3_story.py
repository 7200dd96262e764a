"""Whole contents through the orchestrator on real servers of S3: restores, moves between stores, other clients."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.s3_servers import new_bucket, plain_client
from thermocline import ContentArchivedError, Settings, StorageOrchestrator, StorageTier
from thermocline.adapters.cache.memory import MemoryCache
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.adapters.entropy import SystemEntropy
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.services.copying import PROBE_BYTES
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.clock import ManualClock
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.processes import program
from thermocline.testing.servers.tcp_proxy import TcpProxy
from thermocline.wiring.services import Adapters, assemble
from thermocline.wiring.stores import open_store

pytestmark = pytest.mark.server

HOUR = 3_600_000_000
DAY = 24 * HOUR
LARGE = bytes(range(256)) * 4096 * 20  # 20 MiB: three parts


def bucket_settings(server: CephServer | GlacierServer, dialect: str) -> dict[str, Any]:
    return {
        "kind": "s3",
        "bucket": new_bucket(server),
        "dialect": dialect,
        "endpoint": server.endpoint,
        "region": server.region,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
    }


def settings(data: Path, **sections: Any) -> Settings:
    return Settings.model_validate({"data": data, **sections})


def test_contents_move_between_two_stores_and_other_clients_read_them(
    tmp_path: Path, ceph: CephServer, glacier: GlacierServer
) -> None:
    near, far = bucket_settings(ceph, "ceph"), bucket_settings(glacier, "aws")
    given = settings(
        tmp_path,
        objects={"near": near, "far": far},
        placements={"standard": {"objects": "near"}, "cold": {"objects": "far", "storage_class": "STANDARD_IA"}},
        tiers={"cold": {"placement": "cold", "access_frequency": "365d", "cache_ttl": "0s"}},
    )
    contents = {"a/small.txt": b"small", "b/großer Ordner/large+%41.bin": LARGE, "empty": b""}

    async def story() -> None:
        async with StorageOrchestrator.open(given) as store:
            receipts = [
                await store.store_content(name, body, initial_tier=StorageTier.HOT, content_type="text/plain")
                for name, body in contents.items()
            ]
            read_by_others(ceph, near["bucket"], {r.object_key: contents[r.content_id] for r in receipts}, tmp_path)
            for name in contents:
                await store.set_tier(name, StorageTier.COLD)
            for name, body in contents.items():
                assert (await store.stat(name)).placement == "cold"
                assert await store.retrieve_content(name) == body
            moved = {(await store.stat(name)).object_key: body for name, body in contents.items()}
            read_by_others(glacier, far["bucket"], moved, tmp_path)
        async with StorageOrchestrator.open(given) as store:
            for name, body in contents.items():
                assert await store.retrieve_content(name) == body
                await store.set_tier(name, StorageTier.HOT)
                assert await store.retrieve_content(name) == body

    asyncio.run(story())


def test_a_move_within_a_bucket_passes_no_content_through_this_process(
    tmp_path: Path, ceph: CephServer, proxied: Callable[[str], TcpProxy]
) -> None:
    counted = proxied(ceph.endpoint)
    given = settings(
        tmp_path,
        objects={"main": {**bucket_settings(ceph, "ceph"), "endpoint": counted.endpoint}},
        placements={"standard": {"objects": "main"}, "cold": {"objects": "main", "storage_class": "STANDARD_IA"}},
        tiers={"cold": {"placement": "cold", "access_frequency": "365d", "cache_ttl": "0s"}},
    )

    async def story() -> None:
        async with StorageOrchestrator.open(given) as store:
            await store.store_content("a", LARGE, initial_tier=StorageTier.HOT)
            before = counted.to_server + counted.to_client
            assert (await store.set_tier("a", StorageTier.COLD)).error is None
            assert counted.to_server + counted.to_client - before < PROBE_BYTES + 32 * 1024
            assert (await store.stat("a")).placement == "cold"
            assert await store.retrieve_content("a") == LARGE

    asyncio.run(story())


def read_by_others(server: CephServer | GlacierServer, bucket: str, expected: dict[str, bytes], folder: Path) -> None:
    client = plain_client(server)
    listed = {entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert set(expected) <= listed
    for key, body in expected.items():
        answer = client.get_object(Bucket=bucket, Key=key)
        assert answer["Body"].read() == body
        assert answer["ContentType"] == "text/plain"
        assert answer["Metadata"]["type"] == "text/plain"
    client.close()
    environment = {key: value for key, value in os.environ.items() if key != "AWS_CA_BUNDLE"}
    target = folder / f"rclone-{bucket}"
    subprocess.run(
        [
            program("rclone"), "copy", f":s3:{bucket}", str(target), "--s3-provider", "Other",
            "--s3-endpoint", server.endpoint, "--s3-access-key-id", server.access_key,
            "--s3-secret-access-key", server.secret_key, "--s3-region", server.region, "--config", "/dev/null",
        ],
        check=True, env=environment, timeout=60, capture_output=True,
    )  # fmt: skip
    for key, body in expected.items():
        assert (target / key).read_bytes() == body
    target = folder / f"aws-{bucket}"
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    subprocess.run(
        [
            "/usr/bin/aws", "--endpoint-url", server.endpoint, "--region", server.region,
            "s3", "cp", "--recursive", "--quiet", f"s3://{bucket}", str(target),
        ],
        check=True, env=environment | keys, timeout=120, capture_output=True,
    )  # fmt: skip
    for key, body in expected.items():
        assert (target / key).read_bytes() == body


def test_fifty_readers_of_an_archived_content_make_one_request_and_read_it_in_time(
    tmp_path: Path, glacier: GlacierServer, proxied: Callable[[str], TcpProxy]
) -> None:
    counted = proxied(glacier.endpoint)
    bucket = {**bucket_settings(glacier, "aws"), "endpoint": counted.endpoint}
    given = settings(
        tmp_path,
        objects={"main": bucket},
        placements={
            "standard": {"objects": "main"},
            "archive": {
                "objects": "main",
                "storage_class": "GLACIER",
                "restore": {"standard": {"delay": "5h"}, "expedited": {"delay": "5m"}},
            },
        },
    )

    clock = ManualClock(glacier.now())

    def later(seconds: float) -> None:
        glacier.advance(Seconds(seconds))
        clock.advance(seconds)

    async def story() -> None:
        async with on_clock(given, clock) as store:
            await store.store_content("old", LARGE, initial_tier=StorageTier.ARCHIVE)

            async def read() -> ContentArchivedError:
                with pytest.raises(ContentArchivedError) as caught:
                    await store.retrieve_content("old")
                return caught.value

            errors = await asyncio.gather(*(read() for _ in range(50)))
            assert {error.eta for error in errors} == {Timestamp(clock.now() + 5 * HOUR)}
            assert counted.requests_with("?restore") == 1
            later(5 * HOUR / 1e6)
            assert await store.services.restoring.run() == 1
            assert await store.retrieve_content("old") == LARGE
            later(7 * DAY / 1e6)
            with pytest.raises(ContentArchivedError):
                await store.retrieve_content("old")
            assert counted.requests_with("?restore") == 2, "it was archived again, so the read asked again"

    asyncio.run(story())


@asynccontextmanager
async def on_clock(given: Settings, clock: ManualClock) -> AsyncIterator[StorageOrchestrator]:
    """Open the store by settings, on a clock that stands still."""
    given.data.mkdir(exist_ok=True)
    fresh_sqlite_catalog(given.data / "catalog.db")
    async with AsyncExitStack() as stack:
        catalog = await SqlCatalog.open(given.catalog_url(), unsafe_fast=True, database_clock=clock.now)
        stack.push_async_callback(catalog.aclose)
        adapters = Adapters(
            catalog=catalog,
            stores={name: await open_store(given, name, stack) for name in given.objects},
            memory=MemoryCache(clock, capacity=Bytes(10_000)),
            clock=clock,
            entropy=SystemEntropy(),
        )
        services = await assemble(given, adapters)
        yield StorageOrchestrator(services)
        await services.background.drain()
        await services.keeper.close()
