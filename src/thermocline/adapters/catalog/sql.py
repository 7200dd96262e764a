"""`Catalog` in SQL: one database behind all of the catalog's ports."""

import time
from collections.abc import Callable
from typing import Final, Self

from sqlalchemy import literal_column, select

from thermocline.adapters.catalog.accesses import SqlAccesses
from thermocline.adapters.catalog.adopted_objects import SqlAdoptedObjects
from thermocline.adapters.catalog.bulk_writes import SqlBulkWrites
from thermocline.adapters.catalog.change_feed import SqlChangeFeed
from thermocline.adapters.catalog.columns import SqlColumns
from thermocline.adapters.catalog.cursors import SqlCursors
from thermocline.adapters.catalog.elections import SqlElections
from thermocline.adapters.catalog.intents import SqlIntents
from thermocline.adapters.catalog.job_runs import SqlJobRuns
from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.migrating import CatalogStatus, Upgraded, status_of, upgrade_file
from thermocline.adapters.catalog.moves import SqlMoves
from thermocline.adapters.catalog.outbox import SqlOutbox
from thermocline.adapters.catalog.policy_budget import SqlPolicyBudget
from thermocline.adapters.catalog.read_history import SqlReadHistory
from thermocline.adapters.catalog.records import SqlRecords
from thermocline.adapters.catalog.recovery import SqlRecovery
from thermocline.adapters.catalog.restores import SqlRestores
from thermocline.adapters.catalog.savings import SqlSavings
from thermocline.adapters.catalog.schema import installation
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.adapters.catalog.sqlite_runner import CAPACITY, PATIENCE, SqliteRunner
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.sweeps import SqlSweeps
from thermocline.adapters.catalog.threads import in_thread
from thermocline.adapters.catalog.tokens import SqlTokens
from thermocline.adapters.catalog.totals import SqlTotals
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.catalog import Catalog

BUSY_TIMEOUT = Seconds(10.0)
CONNECTIONS: Final = 8
"""To PostgreSQL, of one process: half of them for reads."""

_INSTALLATION = Statement(select(installation.c.installation_id))
_PROBE = Statement(select(literal_column("1")))


def system_time() -> Timestamp:
    """Return the operating system's time: the database's clock where the database is a file."""
    return Timestamp(time.time_ns() // 1000)


class SqlCatalog(Catalog):
    """One open database. May be used from several event loops at once, and beside other processes."""

    def __init__(
        self, runner: Runner, *, accesses: SqlAccesses | None = None, changes: SqlChangeFeed | None = None
    ) -> None:
        self._runner = runner
        self.records = SqlRecords(runner)
        self.intents = SqlIntents(runner)
        self.bulk = SqlBulkWrites(runner)
        self.outbox = SqlOutbox(runner)
        self.moves = SqlMoves(runner)
        self.restores = SqlRestores(runner)
        self.accesses = accesses or SqlAccesses(runner)
        self.sweeps = SqlSweeps(runner)
        self.tokens = SqlTokens(runner)
        self.changes = changes or SqlChangeFeed(runner)
        self.elections = SqlElections(runner)
        self.job_runs = SqlJobRuns(runner)
        self.totals = SqlTotals(runner)
        self.cursors = SqlCursors(runner)
        self.columns = SqlColumns(runner)
        self.recovery = SqlRecovery(runner)
        self.adopted = SqlAdoptedObjects(runner)
        self.policy_budget = SqlPolicyBudget(runner)
        self.read_history = SqlReadHistory(runner)
        self.savings = SqlSavings(runner)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        database_clock: Callable[[], Timestamp] | None = None,
        busy_timeout: Seconds = BUSY_TIMEOUT,
        connections: int = CONNECTIONS,
        max_waiting: int = CAPACITY,
        max_wait: Seconds | None = None,
        unsafe_fast: bool = False,
    ) -> Self:
        """Return the catalog at `url`; close it with `aclose`.

        A file is made or upgraded first if need be (with a backup); a PostgreSQL database never is. More than
        `max_waiting` transactions at once, or one not begun within `max_wait`, raise `BusyError`. For tests only:
        `unsafe_fast`, with which what was acknowledged may be lost, and `database_clock`, which stands for the
        database's own. Raises `ConfigurationError`, `CatalogVersionError`, `UnavailableError`.
        """
        if is_postgres(url):
            from thermocline.adapters.catalog.postgres_accesses import PostgresAccesses
            from thermocline.adapters.catalog.postgres_change_feed import PostgresChangeFeed
            from thermocline.adapters.catalog.postgres_connections import LONGEST, database_at
            from thermocline.adapters.catalog.postgres_opening import open_database

            runner = await open_database(
                database_at(url, busy_timeout),
                database_clock,
                connections=connections,
                capacity=max_waiting,
                patience=max_wait or Seconds(LONGEST * busy_timeout),
            )
            return cls(runner, accesses=PostgresAccesses(runner), changes=PostgresChangeFeed(runner))
        clock = database_clock or system_time
        file = SqliteFile(sqlite_path(url), busy_timeout=busy_timeout, unsafe_fast=unsafe_fast)
        await in_thread(lambda: upgrade_file(file, clock))
        return cls(await SqliteRunner.open(file, clock, capacity=max_waiting, patience=max_wait or PATIENCE))

    async def aclose(self) -> None:
        """Finish what is queued, then close every connection. Idempotent."""
        await self._runner.aclose()

    async def __aenter__(self) -> Self:
        """Return the catalog itself; the block's end closes it."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the catalog."""
        await self.aclose()

    async def installation(self) -> str:
        """Return the installation id, chosen when the catalog was made."""
        row = await self._runner.read(lambda connection: connection.first(_INSTALLATION, {}))
        if row is None:
            raise UnavailableError("the catalog has lost its installation row; restore a backup")
        return str(row[0])

    async def check(self) -> None:
        """Return if the catalog answers; raises `UnavailableError` otherwise."""
        await self._runner.read(lambda connection: connection.first(_PROBE, {}))


def catalog_status(url: str, *, busy_timeout: Seconds = BUSY_TIMEOUT) -> CatalogStatus:
    """Return which schema the catalog has and which one this program needs, changing nothing. Blocks."""
    if is_postgres(url):
        from thermocline.adapters.catalog.postgres_connections import database_at
        from thermocline.adapters.catalog.postgres_migrating import status_of_database

        return status_of_database(database_at(url, busy_timeout))
    return status_of(SqliteFile(sqlite_path(url), busy_timeout))


def upgrade_catalog(
    url: str,
    *,
    database_clock: Callable[[], Timestamp] = system_time,
    busy_timeout: Seconds = BUSY_TIMEOUT,
) -> Upgraded:
    """Bring the catalog to this program's schema; idempotent. Blocks. A file is backed up before.

    Raises `CatalogVersionError` if it is newer than this program; then nothing was changed.
    """
    if is_postgres(url):
        from thermocline.adapters.catalog.postgres_connections import database_at
        from thermocline.adapters.catalog.postgres_migrating import upgrade_database

        return upgrade_database(database_at(url, busy_timeout))
    return upgrade_file(SqliteFile(sqlite_path(url), busy_timeout), database_clock)
