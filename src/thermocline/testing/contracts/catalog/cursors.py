"""Laws of `Cursors`."""
# ruff: noqa: D102 - the name of a test states its law

from thermocline.domain.units import Timestamp
from thermocline.domain.work import Cursor
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, two_processes


class CursorsContract(CatalogContract):
    """Laws of `Cursors`."""

    async def test_a_cursor_is_what_was_saved_last_under_its_name(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            cursors = steps.catalog.cursors
            assert await cursors.load("scrub") is None
            first = Cursor("ü/\n", Timestamp(1))
            last = Cursor("", Timestamp(2), Timestamp(3), done=4, skipped=5, findings=6)
            await cursors.save("scrub", first)
            await cursors.save("other", last)
            assert (await cursors.load("scrub"), await cursors.load("other")) == (first, last)
            await cursors.save("scrub", last)
            assert await cursors.load("scrub") == last

    async def test_every_process_sees_it(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            await one.catalog.cursors.save("scrub", Cursor("x", Timestamp(1)))
            assert await other.catalog.cursors.load("scrub") == Cursor("x", Timestamp(1))
