"""The memory store keeps the contract, and what only it promises."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from thermocline.adapters.objects import memory
from thermocline.adapters.objects.memory import CopyingMemoryObjectStore, MemoryObjectStore
from thermocline.domain.errors import OutOfSpaceError, UnavailableError
from thermocline.domain.units import Bytes, Seconds
from thermocline.testing.clock import START, ManualClock
from thermocline.testing.contracts.copies import CopiesWithinContract, OpenCopyingStore
from thermocline.testing.contracts.object_store import NeverOverwrites, ObjectStoreContract, OpenStore
from thermocline.testing.contracts.puts_many import PutsManyContract
from thermocline.testing.contracts.ranges import ListsRangesContract
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES, Archive, RestorableContract


class TestMemoryObjectStore(ObjectStoreContract, NeverOverwrites, PutsManyContract):
    @pytest.fixture(params=[64, 4 * 1024 * 1024], ids=["small parts", "large parts"])
    def open_store(self, request: pytest.FixtureRequest) -> OpenStore:
        store = MemoryObjectStore(ManualClock(), part_size=Bytes(request.param))

        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryObjectStore]:
            yield store

        return opened


class TestMemoryRanges(ListsRangesContract):
    @pytest.fixture(params=[1, 2, 1000])
    def open_store(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
        monkeypatch.setattr(memory, "_PAGE", request.param)
        store = MemoryObjectStore(ManualClock())

        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryObjectStore]:
            yield store

        return opened


class TestMemoryCopies(CopiesWithinContract):
    @pytest.fixture
    def open_copying(self) -> OpenCopyingStore:
        store = CopyingMemoryObjectStore(ManualClock(), part_size=Bytes(1_000_000))

        @asynccontextmanager
        async def opened() -> AsyncIterator[CopyingMemoryObjectStore]:
            yield store

        return opened


class TestMemoryRestores(RestorableContract):
    @pytest.fixture
    def archive(self) -> Archive:
        clock = ManualClock()
        store = MemoryObjectStore(clock, archive_classes=ARCHIVE_CLASSES)

        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryObjectStore]:
            yield store

        async def advance(seconds: Seconds) -> None:
            clock.advance(seconds)

        return Archive(opened, clock.now, advance)


def test_capacity_bounds_objects_and_uploads_together() -> None:
    async def run() -> None:
        store = MemoryObjectStore(ManualClock(), part_size=Bytes(4), capacity=Bytes(10))
        await store.put("a", b"12345", {})
        upload = await store.begin_upload("b", {})
        await upload.write(b"1234")
        with pytest.raises(OutOfSpaceError, match="9 of 10"):
            await upload.write(b"12")
        with pytest.raises(OutOfSpaceError):
            await store.put("c", b"12", {})
        await store.put("c", b"1", {})
        await upload.abort()
        await store.delete(["a", "c"])
        assert store.used == 0

    asyncio.run(run())


def test_parts_are_equal_but_the_last() -> None:
    async def run() -> None:
        store = MemoryObjectStore(ManualClock(), part_size=Bytes(4))
        upload = await store.begin_upload("a", {})
        with pytest.raises(ValueError, match="exactly 4"):
            await upload.write(b"12345")
        await upload.write(b"123")
        with pytest.raises(ValueError, match="exactly 4"):
            await upload.write(b"1")

    asyncio.run(run())


def test_one_upload_a_key() -> None:
    async def run() -> None:
        store = MemoryObjectStore(ManualClock())
        await store.begin_upload("a", {})
        with pytest.raises(UnavailableError, match="under way"):
            await store.begin_upload("a", {})

    asyncio.run(run())


def test_time_is_the_clocks() -> None:
    async def run() -> None:
        clock = ManualClock()
        store = MemoryObjectStore(clock)
        await store.put("a", b"", {})
        clock.advance(5)
        head = await store.head("a")
        assert head is not None
        assert head.modified_at == START

    asyncio.run(run())
