"""The catalog's schema: which one there is, and bringing it to the one that this program needs."""

import asyncio

from thermocline.adapters.catalog.migrating import CatalogStatus, Upgraded
from thermocline.adapters.catalog.sql import catalog_status as status_at
from thermocline.adapters.catalog.sql import upgrade_catalog as upgrade_at
from thermocline.wiring.settings import Settings


async def catalog_status(settings: Settings) -> CatalogStatus:
    """Return which schema the catalog has and which is needed, changing nothing. Raises `ConfigurationError`."""
    return await asyncio.to_thread(status_at, settings.catalog_url(), busy_timeout=settings.catalog.busy_timeout)


async def upgrade_catalog(settings: Settings) -> Upgraded:
    """Bring the catalog to this program's schema; idempotent, safe beside others. A file is backed up before.

    Raises `CatalogVersionError` if the catalog is newer, `ConfigurationError` if it is none.
    """
    return await asyncio.to_thread(upgrade_at, settings.catalog_url(), busy_timeout=settings.catalog.busy_timeout)
