"""Laws of `Elections`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio

from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import LEASE, OpenCatalog, one_process, two_processes


class ElectionsContract(CatalogContract):
    """Laws of `Elections`."""

    async def test_one_holder_at_a_time(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            results = await asyncio.gather(
                *(
                    steps.catalog.elections.win("job", f"holder-{number}", lease=LEASE)
                    for number, steps in enumerate((one, other) * 5)
                )
            )
            assert sum(results) == 1

    async def test_the_holder_extends_and_others_wait_for_the_end(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            elections = steps.catalog.elections
            for _ in range(3):
                assert await elections.win("job", "one", lease=LEASE)
                steps.clock.advance(LEASE - 0.000001)
                assert not await elections.win("job", "other", lease=LEASE)
            steps.clock.advance(0.000001)
            assert await elections.win("job", "other", lease=LEASE)
            assert not await elections.win("job", "one", lease=LEASE)

    async def test_names_are_independent(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await steps.catalog.elections.win("job", "one", lease=LEASE)
            assert await steps.catalog.elections.win("Job", "other", lease=LEASE)

    async def test_only_the_holder_resigns(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            elections = steps.catalog.elections
            await elections.resign("job", "nobody")
            assert await elections.win("job", "one", lease=LEASE)
            await elections.resign("job", "other")
            assert not await elections.win("job", "other", lease=LEASE)
            await elections.resign("job", "one")
            assert await elections.win("job", "other", lease=LEASE)
