"""Catalogs of many contents, half of which were read, one in ten of which expires in ten thousand years.

Most are a few seconds old; one in fifty was written 60 days before and never read, one in fifty 10 days before: some
of these are what a policy changes five days later.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg

_NOW: Final = 1_767_225_600_000_000
_COLUMNS: Final = (
    "content_id, revision, version, placement, object_key, digest, size, content_type, tier, tier_since, visibility, "
    "created_at, modified_at, expires_at, held, pinned, metadata, chunk_digests, reads_total, storage_reads, "
    "last_read_at, heat_5d, heat_20d, heat_80d, heat_320d, storage_days, last_storage_day, "
    "recent_storage_days, storage_visits, storage_heat_5d, storage_heat_20d, storage_heat_80d, storage_heat_320d"
)
_INDEXES: Final = ("ix_contents_live", "ix_contents_tier", "ix_contents_expires_at", "ix_contents_deleted_at")
_ROWS: Final = """
    SELECT {content_id}, n, n, 'standard', 'home/standard/' || {content_id} || '/00000000000000000000000000', {digest},
        n * 2654435761 % 8589934592, 'image/jpeg', CASE n % 3 WHEN 0 THEN 'hot' WHEN 1 THEN 'warm' ELSE 'cold' END,
        {written}, 'private', {written}, {written}, CASE n % 10 WHEN 0 THEN {now} * 100 END, false, false,
        '{{"album":"pets"}}', {digests}, n % 2 * (n % 1000), n % 2 * (n % 100), CASE n % 2 WHEN 1 THEN {now} + n END,
        n % 2 / (n + 0.7), n % 2 / (n + 0.7) * 1e3, n % 2 / (n + 0.7) * 1e6, n % 2 / (n + 0.7) * 1e9,
        n % 2 * (n % 50), CASE n % 2 WHEN 1 THEN 20000 + n % 400 END, n % 2 * (n * 2654435761 % 4611686018427387904),
        n % 2 * (n % 7),
        n % 2 / (n + 0.9), n % 2 / (n + 0.9) * 1e3, n % 2 / (n + 0.9) * 1e6, n % 2 / (n + 0.9) * 1e9
    FROM {numbers}
"""
_WRITTEN: Final = "{now} + n - CASE n % 50 WHEN 0 THEN 60 WHEN 2 THEN 10 ELSE 0 END * 86400000000"
_IN_ORDER: Final = {
    "sqlite": "format('users/%04d/photo-%08d.jpg', n / 10000, n)",
    "postgresql": "'users/' || lpad((n / 10000)::text, 4, '0') || '/photo-' || lpad(n::text, 8, '0') || '.jpg'",
}
_AT_RANDOM: Final = {
    # Multiplied by a large odd number modulo 2^32: each number once, neighbours far from each other.
    "sqlite": "format('users/%08x/photo-%08d.jpg', n * 2654435761 % 4294967296, n)",
    "postgresql": "'users/' || lpad(to_hex(n * 2654435761 % 4294967296), 8, '0') || '/photo-' "
    "|| lpad(n::text, 8, '0') || '.jpg'",
}


def fill_file(path: Path, contents: int, *, in_order: bool) -> None:
    numbers = (
        f"(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT {contents}) "  # noqa: S608 - ours
        "SELECT n FROM numbers)"
    )
    rows = _rows("sqlite", numbers, in_order=in_order, digest="zeroblob(32)", digests="zeroblob(16)")
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -1000000"):
            raw.execute(f"PRAGMA {pragma}")
        definitions = [
            raw.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] for name in _INDEXES
        ]
        # Indexes are made at once at the end; they come out as if each row had been added.
        for name in _INDEXES:
            raw.execute(f"DROP INDEX {name}")
        raw.execute("BEGIN")
        raw.execute(f"INSERT INTO contents ({_COLUMNS}) {rows}")
        for definition in definitions:
            raw.execute(definition)
        raw.execute("COMMIT")


def fill_database(url: str, contents: int, *, in_order: bool) -> None:
    rows = _rows(
        "postgresql",
        f"generate_series(1::bigint, {contents}) AS n",
        in_order=in_order,
        digest="decode(repeat('64', 32), 'hex')",
        digests="decode(repeat('64', 16), 'hex')",
    )
    with psycopg.connect(url, autocommit=True) as raw:
        # Else the vacuum finds rows whose commit is not yet on disk, and does not take them for seen by everybody.
        raw.execute("SET synchronous_commit = on")
        raw.execute(f"INSERT INTO contents ({_COLUMNS}) {rows}".encode())
        raw.execute("VACUUM ANALYZE contents")


def _rows(dialect: str, numbers: str, *, in_order: bool, digest: str, digests: str) -> str:
    content_id = (_IN_ORDER if in_order else _AT_RANDOM)[dialect]
    written = _WRITTEN.format(now=_NOW)
    return _ROWS.format(
        content_id=content_id, now=_NOW, written=written, numbers=numbers, digest=digest, digests=digests
    )
