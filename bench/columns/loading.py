"""One side of the comparison, in its own process: `python -m bench.columns.loading SIDE URL` prints its figures."""

import asyncio
import json
import os
import sys
import time

from bench import processes
from thermocline.adapters.catalog.locations import is_postgres, sqlite_path
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.units import Timestamp
from thermocline.ports.columns import COLUMNS
from thermocline.wiring.settings import Settings

_NOW = Timestamp(1_767_225_600_000_000)
_COLUMNS = tuple(name.replace("rate_", "heat_") for name in COLUMNS)
_BATCH_ROWS = 65_536
_DECIDED_AT = Timestamp(_NOW + 5 * DAY_MICROS)
_FEWEST_CHANGED, _MOST_CHANGED = 0.01, 0.05
_SETTINGS = Settings.model_validate(
    {
        "placements": {
            "standard": {"objects": "main", "prices": "s3.standard"},
            "infrequent": {"objects": "main", "storage_class": "STANDARD_IA", "prices": "s3.standard_ia"},
        },
        "tiers": {"cold": {"placement": "infrequent"}, "archive": {"placement": "infrequent"}},
    }
)

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


async def decide(url: str) -> Figures:
    """Return the same; each content was decided on, and what is to be changed is a list, as for `optimize`."""
    from thermocline.services.chunk_decisions import Decider
    from thermocline.wiring.deciding import make_decision_rules

    changes: list[object] = []
    async with await SqlCatalog.open(url) as catalog:
        began, cpu = time.perf_counter(), time.process_time()
        decider = Decider(make_decision_rules(_SETTINGS, "idle"), policy="idle")
        found = 0
        async for chunk in catalog.columns.sweep(now=_DECIDED_AT):
            decisions = await asyncio.to_thread(decider.decide, chunk, _DECIDED_AT)
            copies = decisions.copy_rows()
            changes += decisions.copy_wishes(copies)
            changes += decisions.tier_changes(decisions.in_place_rows(without_copies=frozenset(copies)))
            found += chunk.count
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if not _FEWEST_CHANGED <= len(changes) / found <= _MOST_CHANGED:
        raise RuntimeError(f"of {found} contents {len(changes)} were to be changed")
    return found, seconds, cpu


def main() -> None:
    side, url = sys.argv[1:]
    match side:
        case "columns":
            found, seconds, cpu = asyncio.run(load_by_port(url))
        case "decide":
            found, seconds, cpu = asyncio.run(decide(url))
        case _:
            found, seconds, cpu = load_by_adbc(url, in_order=side != "adbc")
    figures = {
        "contents": found,
        "seconds": seconds,
        "cpu": cpu,
        "peak_bytes": processes.peak_memory_bytes((os.getpid(),)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
