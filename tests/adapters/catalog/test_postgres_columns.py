"""A sweep of columns on PostgreSQL reads each row once, also once its statement is prepared for whatever range.

Where nothing was vacuumed the index must ask the row whether it is seen, to find the end of a range: that is twice.
"""

import asyncio
from contextlib import closing

import psycopg
import pytest

from tests.adapters.catalog.test_postgres_query_plans import FILL, RECORDS
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.units import Timestamp
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server
CHUNK = 500
SWEEPS = 4
NOW = Timestamp(5)
READ = """
    SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
    FROM pg_stat_user_tables WHERE relname = 'contents'
"""


@pytest.mark.parametrize(("statistics", "times"), [("", 2), ("VACUUM ANALYZE contents", 1)])
def test_each_row_is_read_once(postgres: PostgresServer, statistics: str, times: int) -> None:
    url = fresh_postgres_catalog(postgres)
    with closing(psycopg.connect(url, autocommit=True)) as raw:
        raw.execute("ALTER TABLE contents SET (autovacuum_enabled = off)")
        # Else the vacuum may find rows whose commit is not yet on disk, and not take them for seen by everybody.
        raw.execute("SET synchronous_commit = on")
        raw.execute(FILL.encode())
        if statistics:
            raw.execute(statistics.encode())
        raw.execute("SELECT pg_stat_force_next_flush()")
        before = _read(raw)
        # One after the other on one connection: it prepares the statement, and soon plans it for all ranges at once.
        assert asyncio.run(_sweep(url)) == SWEEPS * (RECORDS - RECORDS // 10)
        # A server tells what it read when its connection ends.
        read = _read(raw) - before
    postgres.drop_database(url)
    assert times * SWEEPS * RECORDS * 0.9 <= read <= times * SWEEPS * RECORDS * 1.1


def _read(raw: psycopg.Connection[tuple[int]]) -> int:
    while raw.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'thermocline'").fetchone() != (
        0,
    ):
        pass
    row = raw.execute(READ.encode()).fetchone()
    assert row is not None
    return row[0]


async def _sweep(url: str) -> int:
    async with await SqlCatalog.open(url, connections=2) as catalog:
        sweeps = [catalog.columns.sweep(now=NOW, chunk=CHUNK) for _ in range(SWEEPS)]
        return sum([each.count for sweep in sweeps async for each in sweep])
