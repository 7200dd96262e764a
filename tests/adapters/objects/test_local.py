"""The folder store keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.units import Seconds
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.object_store import NeverOverwrites, ObjectStoreContract, OpenStore
from thermocline.testing.contracts.puts_many import PutsManyContract
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES, Archive, RestorableContract


class TestLocalObjectStore(ObjectStoreContract, NeverOverwrites, PutsManyContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        @asynccontextmanager
        async def opened() -> AsyncIterator[LocalObjectStore]:
            store = LocalObjectStore(tmp_path / "objects")
            try:
                yield store
            finally:
                await store.aclose()

        return opened


class TestLocalRestores(RestorableContract):
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Archive:
        clock = ManualClock()

        @asynccontextmanager
        async def opened() -> AsyncIterator[LocalObjectStore]:
            store = LocalObjectStore(tmp_path / "objects", archive_classes=ARCHIVE_CLASSES, clock=clock)
            try:
                yield store
            finally:
                await store.aclose()

        async def advance(seconds: Seconds) -> None:
            clock.advance(seconds)

        return Archive(opened, clock.now, advance)
