"""The shared cache of tests keeps the contracts that Redis keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from thermocline.domain.units import Seconds
from thermocline.ports.cache import SharedCounts
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import CacheContract, CacheHarness, OpenCache
from thermocline.testing.contracts.shared_cache import SharedCacheContract
from thermocline.testing.contracts.shared_counts import OpenCounts, SharedCountsContract
from thermocline.testing.shared_cache import SharedMemoryCache
from thermocline.testing.shared_counts import SharedMemoryCounts


class TestSharedMemoryCache(CacheContract, SharedCacheContract):
    @pytest.fixture
    def open_cache(self) -> OpenCache:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CacheHarness]:
            clock = ManualClock()

            async def advance(seconds: Seconds) -> None:
                clock.advance(seconds)

            yield CacheHarness(SharedMemoryCache(clock), clock.now, advance)

        return opened


class TestSharedMemoryCounts(SharedCountsContract):
    @pytest.fixture
    def open_counts(self) -> OpenCounts:
        @asynccontextmanager
        async def opened() -> AsyncIterator[SharedCounts]:
            yield SharedMemoryCounts()

        return opened
