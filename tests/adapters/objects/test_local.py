"""The folder store keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.testing.contracts.object_store import NeverOverwrites, ObjectStoreContract, OpenStore


class TestLocalObjectStore(ObjectStoreContract, NeverOverwrites):
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
