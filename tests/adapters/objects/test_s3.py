"""The S3 store keeps the contracts, on real servers. Defects of servers are named here, and counted."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.adapters.objects.s3_clients import S3Location
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.object_store import NeverOverwrites, ObjectStoreContract, OpenStore
from thermocline.testing.contracts.puts_many import PutsManyContract
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES, Archive, RestorableContract
from thermocline.testing.servers.glacier import GlacierServer

pytestmark = pytest.mark.server

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
