"""Opening a catalog in PostgreSQL: looked at first, so that whoever starts learns in one line what is wrong."""

from collections.abc import Callable

from thermocline.adapters.catalog.postgres_connections import PostgresDatabase
from thermocline.adapters.catalog.postgres_migrating import refuse_unfit, status_of_database
from thermocline.adapters.catalog.postgres_runner import PostgresRunner
from thermocline.adapters.catalog.threads import in_thread
from thermocline.domain.units import Seconds, Timestamp


async def open_database(
    database: PostgresDatabase,
    database_clock: Callable[[], Timestamp] | None,
    *,
    connections: int,
    capacity: int,
    patience: Seconds,
) -> PostgresRunner:
    """Return a runner on a database whose catalog this program can use.

    Raises `CatalogVersionError` that names the command which mends it, `ConfigurationError`, `UnavailableError`.
    """
    refuse_unfit(await in_thread(lambda: status_of_database(database)), database)
    return await PostgresRunner.open(
        database, database_clock, connections=connections, capacity=capacity, patience=patience
    )
