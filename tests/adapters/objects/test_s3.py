"""The S3 store keeps the contracts, on real servers. Defects of servers are named here, and counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from thermocline.adapters.objects import s3_ranges
from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.adapters.objects.s3_clients import S3Location
from thermocline.adapters.objects.s3_dialects import DIALECTS
from thermocline.domain.errors import StorageError
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Bytes, Seconds
from thermocline.testing.contracts.copies import CopiesWithinContract, OpenCopyingStore
from thermocline.testing.contracts.object_store import NeverOverwrites, ObjectStoreContract, OpenStore
from thermocline.testing.contracts.presigns import OpenPresigning, PresignsContract, send
from thermocline.testing.contracts.puts_many import PutsManyContract
from thermocline.testing.contracts.ranges import ListsRangesContract
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES, Archive, RestorableContract
from thermocline.testing.servers.glacier import GlacierServer

pytestmark = pytest.mark.server

LARGEST_COPY = Bytes(5 * 2**20)
"""So small that a copy of 12 MB takes three parts, which are of the smallest size that servers take."""

Locate = Callable[..., S3Location]


def opener(locate: Locate) -> Callable[[], AbstractAsyncContextManager[S3ObjectStore]]:
    return lambda: S3ObjectStore.open(locate())


class TestOnCeph(ObjectStoreContract, NeverOverwrites, PutsManyContract):
    @pytest.fixture
    def open_store(self, ceph_location: Locate) -> OpenStore:
        return opener(ceph_location)


class TestOnGlacier(ObjectStoreContract, NeverOverwrites, PutsManyContract):
    @pytest.fixture
    def open_store(self, glacier_location: Locate) -> OpenStore:
        return opener(glacier_location)


class _Ranges(ListsRangesContract):
    @pytest.fixture(autouse=True, params=[1, 3, 1000])
    def page(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr(s3_ranges, "_PAGE", request.param)
        return int(request.param)


class TestRangesOnCeph(_Ranges):
    @pytest.fixture
    def open_store(self, ceph_location: Locate) -> OpenStore:
        return opener(ceph_location)


class TestRangesOnGlacier(_Ranges):
    @pytest.fixture
    def open_store(self, glacier_location: Locate) -> OpenStore:
        return opener(glacier_location)


class _Copies(CopiesWithinContract):
    @pytest.fixture
    def large_size(self) -> int:
        return 12_000_000


class TestCopiesOnCeph(_Copies):
    @pytest.fixture
    def open_copying(self, ceph_location: Locate) -> OpenCopyingStore:
        return lambda: S3ObjectStore.open(ceph_location(), largest_copy=LARGEST_COPY)


class TestCopiesOnGlacier(_Copies):
    @pytest.fixture
    def open_copying(self, glacier_location: Locate) -> OpenCopyingStore:
        return lambda: S3ObjectStore.open(glacier_location(), largest_copy=LARGEST_COPY)


class TestPresignsOnCeph(PresignsContract):
    @pytest.fixture
    def open_presigning(self, ceph_location: Locate) -> OpenPresigning:
        return opener(ceph_location)

    def test_a_url_is_good_for_nothing_else(self, ceph_location: Locate) -> None:
        async def run() -> None:
            async with S3ObjectStore.open(ceph_location()) as store:
                await store.put("k", b"12345", {})
                await store.put("other", b"12345", {})
                url = await store.download_url("k", lives=Seconds(60.0))
                for changed in (url.replace("/k?", "/other?"), url[:-1] + ("0" if url[-1] != "0" else "1")):
                    assert send("GET", changed).status == 403
                assert send("DELETE", url).status == 403
                assert send("PUT", url, b"x").status == 403

        asyncio.run(run())


class TestPresignsOnGlacier(PresignsContract):
    @pytest.fixture
    def open_presigning(self, glacier_location: Locate) -> OpenPresigning:
        return opener(glacier_location)


class TestRestores(RestorableContract):
    @pytest.fixture
    def archive(self, glacier: GlacierServer, glacier_location: Locate) -> Archive:
        @asynccontextmanager
        async def opened() -> AsyncIterator[S3ObjectStore]:
            async with S3ObjectStore.open(glacier_location(), archive_classes=ARCHIVE_CLASSES) as store:
                yield store

        async def advance(seconds: Seconds) -> None:
            glacier.advance(seconds)

        return Archive(opened, glacier.now, advance)


@pytest.mark.parametrize("server", ["ceph_location", "glacier_location"])
def test_who_saw_no_owner_a_moment_ago_takes_nothing_from_the_one_who_came_first(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate: Locate = request.getfixturevalue(server)

    async def run() -> None:
        async with S3ObjectStore.open(locate()) as store:
            assert await store.claim("first") == "first"
            looked = store.owner
            answers = iter([None])

            async def late() -> str | None:
                return next(answers, await looked())

            monkeypatch.setattr(store, "owner", late)
            assert await store.claim("second") == "first"

    asyncio.run(run())


def test_a_store_without_conditions_is_claimed_carefully(ceph_location: Locate) -> None:
    async def run() -> None:
        generic = DIALECTS["generic"]
        async with (
            S3ObjectStore.open(ceph_location(dialect=generic)) as one,
            S3ObjectStore.open(ceph_location(dialect=generic)) as two,
        ):
            owners = await asyncio.gather(one.claim("a"), two.claim("b"))
            assert len(set(owners)) == 1
            assert await one.claim("late") == owners[0]

    asyncio.run(run())


def test_restores_of_ceph_are_refused_by_it(ceph_location: Locate) -> None:
    """A defect of the server, counted here: RestoreObject answers 501, and the settings refuse to ask for it."""

    async def run() -> None:
        async with S3ObjectStore.open(
            ceph_location(), archive_classes={"GLACIER": ARCHIVE_CLASSES["GLACIER"]}
        ) as store:
            await store.put("k", b"12345", {}, storage_class="GLACIER")
            assert await store.fetch("k", 0, 5) == b"12345", "it is archived in name only"
            with pytest.raises(StorageError, match="cannot do that; check dialect"):
                await store.request_restore("k", speed=RestoreSpeed.BULK, days=1)

    asyncio.run(run())
