"""The peer: what a flush has to change, by sqlite3 alone."""

import math
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_DAY_MICROS = 86_400_000_000
_HORIZONS = (5, 20, 80, 320)
_ADD_TO_SUMMARIES = """
UPDATE contents SET reads_total = reads_total + ?, storage_reads = storage_reads + ?, last_read_at = ?,
heat_5d = heat_5d + ?, heat_20d = heat_20d + ?, heat_80d = heat_80d + ?, heat_320d = heat_320d + ?,
storage_days = storage_days + ?, last_storage_day = ?, recent_storage_days = recent_storage_days | ?,
storage_visits = storage_visits + ?,
storage_heat_5d = storage_heat_5d + ?, storage_heat_20d = storage_heat_20d + ?,
storage_heat_80d = storage_heat_80d + ?, storage_heat_320d = storage_heat_320d + ?
WHERE content_id = ?
"""
_ADD_TO_DAYS = """
INSERT INTO access_days VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, content_id) DO UPDATE SET
cache_reads = cache_reads + excluded.cache_reads, storage_reads = storage_reads + excluded.storage_reads,
edge_reads = edge_reads + excluded.edge_reads
"""


class BareUpsert:
    """Adds batches of reads; durable when `add` returns, as the catalog is."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None)
        for setting in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -16384"):
            self._connection.execute(f"PRAGMA {setting}")
        (self._since,) = self._connection.execute("SELECT created_at FROM installation").fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, counts: Sequence[tuple[str, int, int, int]]) -> float:
        """Add `(content_id, cache, storage, edge)` to summaries and days; return the seconds that took."""
        began = time.perf_counter()
        now = time.time_ns() // 1000
        weights = [math.exp((now - self._since) / _DAY_MICROS / days) for days in _HORIZONS]
        day = now // _DAY_MICROS
        counts = sorted(counts)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            _ADD_TO_SUMMARIES,
            [
                (
                    cache + storage + edge,
                    storage,
                    now,
                    *((cache + storage + edge) * weight for weight in weights),
                    # As if it knew that the day is a new one.
                    storage > 0,
                    day,
                    storage > 0,
                    storage > 0,
                    *((storage > 0) * weight for weight in weights),
                    content_id,
                )
                for content_id, cache, storage, edge in counts
            ],
        )
        connection.executemany(
            _ADD_TO_DAYS, [(day, content_id, cache, storage, edge) for content_id, cache, storage, edge in counts]
        )
        connection.execute("COMMIT")
        return time.perf_counter() - began
