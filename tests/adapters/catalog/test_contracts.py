"""The catalog's contracts, on SQLite files."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.units import Timestamp
from thermocline.ports.catalog import Catalog
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.contracts.catalog.accesses import AccessesContract
from thermocline.testing.contracts.catalog.adopted_objects import AdoptedObjectsContract
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.bulk_writes import BulkWritesContract
from thermocline.testing.contracts.catalog.catalog import WholeCatalogContract
from thermocline.testing.contracts.catalog.change_feed import ChangeFeedContract
from thermocline.testing.contracts.catalog.columns import ColumnsContract
from thermocline.testing.contracts.catalog.cursors import CursorsContract
from thermocline.testing.contracts.catalog.describing import DescribingContract
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


class OnSqlite(CatalogContract):
    @pytest.fixture
    def open_catalog(self, tmp_path: Path) -> OpenCatalog:
        url = fresh_sqlite_catalog(tmp_path / "catalog.db")

        @asynccontextmanager
        async def opened(database_clock: Callable[[], Timestamp]) -> AsyncIterator[Catalog]:
            async with await SqlCatalog.open(url, database_clock=database_clock, unsafe_fast=True) as catalog:
                yield catalog

        return opened


class TestRecords(OnSqlite, RecordsContract): ...


class TestRecordRaces(OnSqlite, RecordRacesContract): ...


class TestBulkWrites(OnSqlite, BulkWritesContract): ...


class TestPages(OnSqlite, PagesContract): ...


class TestIntents(OnSqlite, IntentsContract): ...


class TestOutbox(OnSqlite, OutboxContract): ...


class TestSweeps(OnSqlite, SweepsContract): ...


class TestTokens(OnSqlite, TokensContract): ...


class TestAccesses(OnSqlite, AccessesContract): ...


class TestStorageDays(OnSqlite, StorageDaysContract): ...


class TestChangeFeed(OnSqlite, ChangeFeedContract): ...


class TestJobRuns(OnSqlite, JobRunsContract): ...


class TestTotals(OnSqlite, TotalsContract): ...


class TestElections(OnSqlite, ElectionsContract): ...


class TestCursors(OnSqlite, CursorsContract): ...


class TestRecovery(OnSqlite, RecoveryContract):
    @pytest.fixture
    def restored_catalog(self, open_catalog: OpenCatalog, tmp_path: Path) -> OpenCatalog:
        with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as raw:
            raw.execute("UPDATE installation SET recovering = 1")
        return open_catalog


class TestAdoptedObjects(OnSqlite, AdoptedObjectsContract): ...


class TestCatalog(OnSqlite, WholeCatalogContract): ...


class TestTierChanges(OnSqlite, TierChangesContract): ...


class TestMoves(OnSqlite, MovesContract): ...


class TestMoveCommits(OnSqlite, MoveCommitsContract): ...


class TestMoveRaces(OnSqlite, MoveRacesContract): ...


class TestRestores(OnSqlite, RestoresContract): ...


class TestErasing(OnSqlite, ErasingContract): ...


class TestDescribing(OnSqlite, DescribingContract): ...


class TestColumns(OnSqlite, ColumnsContract): ...


class TestPolicyBudget(OnSqlite, PolicyBudgetContract): ...


class TestSavings(OnSqlite, SavingsContract): ...


class TestReadHistory(OnSqlite, ReadHistoryContract): ...
