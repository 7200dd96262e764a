"""Laws of `Catalog` as a whole."""
# ruff: noqa: D102 - the name of a test states its law

import pytest

from thermocline.domain.errors import UnavailableError
from thermocline.domain.keys import is_name
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, some_id


class WholeCatalogContract(CatalogContract):
    """Laws of `Catalog`."""

    async def test_the_installation_is_chosen_once(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            name = await steps.catalog.installation()
            assert is_name(name)
            await steps.catalog.check()
        async with one_process(open_catalog) as steps:
            assert await steps.catalog.installation() == name

    async def test_what_was_acknowledged_is_there_after_closing(self, open_catalog: OpenCatalog) -> None:
        content_id = some_id()
        async with one_process(open_catalog) as steps:
            record = (await steps.put(content_id)).record
        async with one_process(open_catalog) as steps:
            assert await steps.find(content_id) == record

    async def test_a_closed_catalog_says_so(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            pass
        with pytest.raises(UnavailableError):
            await steps.catalog.check()
        with pytest.raises(UnavailableError):
            await steps.put(some_id())
