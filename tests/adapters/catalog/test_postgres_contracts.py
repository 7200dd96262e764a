"""The catalog's contracts, on a PostgreSQL server."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.units import Timestamp
from thermocline.ports.catalog import Catalog
from thermocline.testing.catalog import empty_postgres_catalog, fresh_postgres_catalog
from thermocline.testing.contracts.catalog.accesses import AccessesContract
from thermocline.testing.contracts.catalog.adopted_objects import AdoptedObjectsContract
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.bulk_writes import BulkWritesContract
from thermocline.testing.contracts.catalog.catalog import WholeCatalogContract
from thermocline.testing.contracts.catalog.change_feed import ChangeFeedContract
from thermocline.testing.contracts.catalog.columns import ColumnsContract
from thermocline.testing.contracts.catalog.cursors import CursorsContract
from thermocline.testing.contracts.catalog.describing import DescribingContract
from thermocline.testing.contracts.catalog.drops_days import DropsDaysContract
from thermocline.testing.contracts.catalog.elections import ElectionsContract
from thermocline.testing.contracts.catalog.erasing import ErasingContract
from thermocline.testing.contracts.catalog.intents import IntentsContract
from thermocline.testing.contracts.catalog.job_runs import JobRunsContract
from thermocline.testing.contracts.catalog.move_commits import MoveCommitsContract
from thermocline.testing.contracts.catalog.move_races import MoveRacesContract
from thermocline.testing.contracts.catalog.moves import MovesContract
from thermocline.testing.contracts.catalog.outbox import OutboxContract
from thermocline.testing.contracts.catalog.pages import PagesContract
from thermocline.testing.contracts.catalog.policy_budget import PolicyBudgetContract
from thermocline.testing.contracts.catalog.read_history import ReadHistoryContract
from thermocline.testing.contracts.catalog.record_races import RecordRacesContract
from thermocline.testing.contracts.catalog.records import RecordsContract
from thermocline.testing.contracts.catalog.recovery import RecoveryContract
from thermocline.testing.contracts.catalog.restores import RestoresContract
from thermocline.testing.contracts.catalog.savings import SavingsContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog
from thermocline.testing.contracts.catalog.storage_days import StorageDaysContract
from thermocline.testing.contracts.catalog.sweeps import SweepsContract
from thermocline.testing.contracts.catalog.tier_changes import TierChangesContract
from thermocline.testing.contracts.catalog.tokens import TokensContract
from thermocline.testing.contracts.catalog.totals import TotalsContract
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    url = fresh_postgres_catalog(postgres)
    yield url
    postgres.drop_database(url)


class OnPostgres(CatalogContract):
    @pytest.fixture
    def url(self, database: str) -> str:
        empty_postgres_catalog(database)
        return database

    @pytest.fixture
    def open_catalog(self, url: str) -> OpenCatalog:
        @asynccontextmanager
        async def opened(database_clock: Callable[[], Timestamp]) -> AsyncIterator[Catalog]:
            async with await SqlCatalog.open(url, database_clock=database_clock) as catalog:
                yield catalog

        return opened


class TestRecords(OnPostgres, RecordsContract): ...


class TestRecordRaces(OnPostgres, RecordRacesContract): ...


class TestBulkWrites(OnPostgres, BulkWritesContract): ...


class TestPages(OnPostgres, PagesContract): ...


class TestIntents(OnPostgres, IntentsContract): ...


class TestOutbox(OnPostgres, OutboxContract): ...


class TestSweeps(OnPostgres, SweepsContract): ...


class TestTokens(OnPostgres, TokensContract): ...


class TestAccesses(OnPostgres, AccessesContract): ...


class TestStorageDays(OnPostgres, StorageDaysContract): ...


class TestDropsDays(OnPostgres, DropsDaysContract): ...


class TestChangeFeed(OnPostgres, ChangeFeedContract): ...


class TestJobRuns(OnPostgres, JobRunsContract): ...


class TestTotals(OnPostgres, TotalsContract): ...


class TestElections(OnPostgres, ElectionsContract): ...


class TestCursors(OnPostgres, CursorsContract): ...


class TestRecovery(OnPostgres, RecoveryContract):
    @pytest.fixture
    def restored_catalog(self, open_catalog: OpenCatalog, url: str) -> OpenCatalog:
        with psycopg.connect(url) as raw:
            raw.execute("UPDATE installation SET recovering = true")
        return open_catalog


class TestAdoptedObjects(OnPostgres, AdoptedObjectsContract): ...


class TestCatalog(OnPostgres, WholeCatalogContract): ...


class TestTierChanges(OnPostgres, TierChangesContract): ...


class TestMoves(OnPostgres, MovesContract): ...


class TestMoveCommits(OnPostgres, MoveCommitsContract): ...


class TestMoveRaces(OnPostgres, MoveRacesContract): ...


class TestRestores(OnPostgres, RestoresContract): ...


class TestErasing(OnPostgres, ErasingContract): ...


class TestDescribing(OnPostgres, DescribingContract): ...


class TestColumns(OnPostgres, ColumnsContract): ...


class TestPolicyBudget(OnPostgres, PolicyBudgetContract): ...


class TestSavings(OnPostgres, SavingsContract): ...


class TestReadHistory(OnPostgres, ReadHistoryContract): ...
