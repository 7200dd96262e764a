"""One side of the comparison, in its own process: `python -m bench.columns.loading SIDE URL` prints its figures."""

import asyncio
import json
import os
import sys
import time

from bench import processes
from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.units import Timestamp
from thermocline.ports.columns import COLUMNS

_NOW = Timestamp(1_767_225_600_000_000)
_COLUMNS = tuple(name.replace("rate_", "heat_") for name in COLUMNS)
_BATCH_ROWS = 65_536

Figures = tuple[int, float, float]


def load_by_adbc(url: str, *, in_order: bool) -> Figures:
    """Return how many contents there are, and seconds and CPU seconds without opening and closing."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM contents WHERE deleted_at IS NULL"  # noqa: S608 - ours
    if in_order:
        query += " ORDER BY content_id"
    if is_postgres(url):
        from adbc_driver_postgresql.dbapi import connect

        connection, options = connect(url), {}
    else:
        from adbc_driver_sqlite.dbapi import connect

        connection, options = connect(str(sqlite_path(url))), {"adbc.sqlite.query.batch_rows": str(_BATCH_ROWS)}
    with connection, connection.cursor() as cursor:
        began, cpu = time.perf_counter(), time.process_time()
        cursor.adbc_statement.set_options(**options)
        cursor.execute(query)
        found = sum(batch.num_rows for batch in cursor.fetch_record_batch())
        return found, time.perf_counter() - began, time.process_time() - cpu


async def load_by_port(url: str) -> Figures:
    """Return the same."""
    import pyarrow as pa

    async with await SqlCatalog.open(url) as catalog:
        began, cpu = time.perf_counter(), time.process_time()
        found = 0
        async for chunk in catalog.columns.sweep(now=_NOW):
            found += pa.record_batch(chunk.columns).num_rows
        return found, time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    side, url = sys.argv[1:]
    found, seconds, cpu = (
        asyncio.run(load_by_port(url)) if side == "ours" else load_by_adbc(url, in_order=side != "adbc")
    )
    figures = {
        "contents": found,
        "seconds": seconds,
        "cpu": cpu,
        "peak_bytes": processes.peak_memory_bytes((os.getpid(),)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
