"""A catalog of contents that were never read."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from thermocline.adapters.catalog.sql import SqlCatalog

COUNT = 100_000
_COLUMNS = (
    "content_id", "revision", "version", "placement", "object_key", "digest", "size", "content_type", "tier",
    "tier_since", "visibility", "created_at", "modified_at", "held", "metadata", "chunk_digests",
)  # fmt: skip


async def fill(database: Path) -> list[str]:
    """Make a catalog there, its rows in random order, as contents come in; return their ids."""
    async with await SqlCatalog.open(f"sqlite:///{database}"):
        pass
    numbers = list(range(COUNT))
    random.Random(0).shuffle(numbers)
    ids = [f"users/{number % 1000:04}/albums/{number // 1000 % 10}/photo-{number:07}.jpg" for number in numbers]
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        places = ", ".join("?" * len(_COLUMNS))
        connection.executemany(
            f"INSERT INTO contents ({', '.join(_COLUMNS)}) VALUES ({places})",  # noqa: S608 - constants
            (
                (
                    content_id, number, number, "standard", f"home/standard/{content_id}/01m88ae05ceg63mnkkq4nqn5kd",
                    bytes(32), 1000, "image/jpeg", "hot", 1, "private", 1, 1, 0, '{"album": "pets"}', bytes(16),
                )
                for number, content_id in enumerate(ids, start=1)
            ),
        )  # fmt: skip
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ids


def sums(database: Path) -> tuple[object, ...]:
    """Return what was added in all."""
    with closing(sqlite3.connect(database)) as connection:
        summaries = connection.execute(
            "SELECT sum(reads_total), sum(storage_reads), count(last_read_at), "
            # A flush a moment later weighs a trifle more.
            "round(sum(heat_5d) / sum(reads_total), 2), round(sum(heat_320d) / sum(reads_total), 2) FROM contents"
        ).fetchone()
        days = connection.execute(
            "SELECT count(*), sum(cache_reads), sum(storage_reads), sum(edge_reads) FROM access_days"
        ).fetchone()
    return (*summaries, *days)
