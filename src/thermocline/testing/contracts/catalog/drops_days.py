"""Laws of `DropsDays`."""
# ruff: noqa: D102 - the name of a test states its law

from thermocline.domain.heat import AccessCount, day_of
from thermocline.ports.accesses import DropsDays
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, some_id

DAY_SECONDS = 86_400.0


class DropsDaysContract(CatalogContract):
    """Laws of `DropsDays`, an ability of the catalog's `Accesses`."""

    async def test_old_days_go_whole_and_the_others_and_all_totals_stay(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            accesses = steps.catalog.accesses
            assert isinstance(accesses, DropsDays)
            ids = [some_id(str(number)) for number in range(3)]
            for content_id in ids:
                await steps.put(content_id)
            first = day_of(steps.clock.now())
            for _ in range(4):
                await accesses.add([AccessCount(each, 1, 0) for each in ids], now=steps.clock.now())
                steps.clock.advance(DAY_SECONDS)
            assert await accesses.drop_days(before_day=first) == 0
            assert await accesses.drop_days(before_day=first + 2) == 2
            assert await accesses.drop_days(before_day=first + 2) == 0
            for content_id in ids:
                kept = await accesses.days(content_id, first=first, last=first + 10)
                assert [day.day for day in kept] == [first + 3, first + 2]
                described = await steps.catalog.records.describe(content_id, now=steps.clock.now())
                assert described is not None
                assert described.access is not None
                assert described.access.reads_total == 4

    async def test_a_day_that_was_dropped_can_be_counted_again(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            accesses = steps.catalog.accesses
            assert isinstance(accesses, DropsDays)
            content_id = some_id()
            await steps.put(content_id)
            today = day_of(steps.clock.now())
            for _ in range(2):
                await accesses.add([AccessCount(content_id, 1, 0)], now=steps.clock.now())
                assert await accesses.drop_days(before_day=today + 1) == 1
