"""What the catalog's suites have in common: their fixture."""

import pytest

from thermocline.testing.contracts.catalog.steps import OpenCatalog
from thermocline.testing.contracts.running import AsyncTests


class CatalogContract(AsyncTests):
    """Subclasses provide `open_catalog`, anew for each test."""

    @pytest.fixture
    def open_catalog(self) -> OpenCatalog:
        """Return what opens a fresh catalog."""
        raise NotImplementedError
