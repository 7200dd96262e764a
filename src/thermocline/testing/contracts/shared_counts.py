"""Laws of `SharedCounts`. An adapter passes them by providing one fixture."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from thermocline.ports.cache import SharedCounts
from thermocline.testing.contracts.running import AsyncTests

OpenCounts = Callable[[], AbstractAsyncContextManager[SharedCounts]]


class SharedCountsContract(AsyncTests):
    """Laws of `SharedCounts`. Subclasses provide `open_counts`, anew for each test."""

    @pytest.fixture
    def open_counts(self) -> OpenCounts:
        """Return what opens fresh counters."""
        raise NotImplementedError

    async def test_there_are_none_at_first(self, open_counts: OpenCounts) -> None:
        async with open_counts() as counts:
            assert await counts.totals() == {}
            await counts.add({})
            assert await counts.totals() == {}

    async def test_what_is_added_is_summed_by_name(self, open_counts: OpenCounts) -> None:
        async with open_counts() as counts:
            await counts.add({"content:hits": 3, "é": 1})
            await counts.add({"content:hits": 4, "metadata:hits": 2**40, "é": -3})
            assert await counts.totals() == {"content:hits": 7, "é": -2, "metadata:hits": 2**40}

    async def test_additions_at_one_time_are_all_counted(self, open_counts: OpenCounts) -> None:
        async with open_counts() as counts:
            await asyncio.gather(*(counts.add({"a": 1, f"b{number % 3}": 2}) for number in range(60)))
            assert await counts.totals() == {"a": 60, "b0": 40, "b1": 40, "b2": 40}

    async def test_many_names_at_once(self, open_counts: OpenCounts) -> None:
        many = {f"name {number}": number + 1 for number in range(1000)}
        async with open_counts() as counts:
            await counts.add(many)
            assert await counts.totals() == many
