"""The catalog's schema: which one there is, and bringing it to the one that this program needs."""

import asyncio

from thermocline.adapters.catalog.locations import sqlite_path
from thermocline.adapters.catalog.migrating import CatalogStatus, Upgraded, status_of, upgrade_file
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.clock import SystemClock
from thermocline.wiring.settings import Settings


async def catalog_status(settings: Settings) -> CatalogStatus:
    """Return which schema the catalog has and which is needed, changing nothing. Raises `ConfigurationError`."""
    return await asyncio.to_thread(status_of, _file(settings))


async def upgrade_catalog(settings: Settings) -> Upgraded:
    """Bring the catalog to this program's schema, after a backup; idempotent, safe beside others.

    Raises `CatalogVersionError` if the catalog is newer, `ConfigurationError` if it is none.
    """
    return await asyncio.to_thread(upgrade_file, _file(settings), SystemClock().now)


def _file(settings: Settings) -> SqliteFile:
    return SqliteFile(sqlite_path(settings.catalog_url()), settings.catalog.busy_timeout)
