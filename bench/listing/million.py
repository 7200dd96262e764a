"""A data folder with a million records, made once for each schema and kept between runs.

The service itself makes the catalog and stores one content of each tier; their rows are then copied under other
ids, whatever columns they have. So only the names of the columns that identify a content are known here.
"""

import hashlib
import http.client
import random
import shutil
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench import servers
from bench.plan import Plan

RECORDS = 1_000_000
USERS = 1000
RARE_TIER = "archive"
COMMON_TIER = "warm"
_TIERS = ("hot", "warm", "cold", RARE_TIER)
_SHARES = (0.1, 0.3, 0.599, 0.001)
_FORM = 1
"""Raise it when the records made here change."""


def prepare(plan: Plan) -> Path:
    """Return the data folder; the service has not touched it since its last run here."""
    plan.tell("making a fresh catalog")
    fresh = plan.scratch / "service"
    with servers.thermocline(fresh) as server:
        for tier in _TIERS:
            _put(server.url, _template(tier), tier)
    database = fresh / "catalog.db"
    kept = plan.kept / f"million-{_schema_digest(database)}-{_FORM}"
    if not kept.exists():
        _fill(database, plan)
        plan.kept.mkdir(parents=True, exist_ok=True)
        # In one step, so that a run that is interrupted leaves nothing half made.
        fresh.rename(kept)
    shutil.rmtree(fresh, ignore_errors=True)
    return kept


def _template(tier: str) -> str:
    return f"template-{tier}"


def _put(url: str, content_id: str, tier: str) -> None:
    with closing(http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)) as connection:
        headers = {"Content-Type": "image/jpeg", "Thermocline-Tier": tier, "Thermocline-Meta-Album": "pets"}
        connection.request("PUT", f"/v1/content/{content_id}", body=b"x" * 1000, headers=headers)
        status = connection.getresponse().status
    if status != http.client.CREATED:
        raise RuntimeError(f"storing {content_id} was answered {status}")


def _schema_digest(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return hashlib.sha256(repr(statements).encode()).hexdigest()[:16]


def _fill(database: Path, plan: Plan) -> None:
    """Copy the rows of the templates in random order, as contents come in, so that no index is packed by chance."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(contents)")]
        templates = {
            tier: dict(
                zip(
                    columns,
                    connection.execute("SELECT * FROM contents WHERE content_id = ?", [_template(tier)]).fetchone(),
                    strict=True,
                )
            )
            for tier in _TIERS
        }
        names = ", ".join(f'"{column}"' for column in columns)
        places = ", ".join("?" * len(columns))
        connection.execute("BEGIN")
        connection.execute("DELETE FROM contents")
        connection.executemany(f"INSERT INTO contents ({names}) VALUES ({places})", _rows(templates, plan))  # noqa: S608 - names from the schema
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rows(templates: dict[str, dict[str, object]], plan: Plan) -> Iterator[tuple[object, ...]]:
    chance = random.Random(0)
    numbers = list(range(RECORDS))
    chance.shuffle(numbers)
    tiers = chance.choices(_TIERS, _SHARES, k=RECORDS)
    for made, (number, tier) in enumerate(zip(numbers, tiers, strict=True)):
        if made % 50_000 == 0:
            plan.tell(f"making records: {made} of {RECORDS}")
        row = dict(templates[tier])
        content_id = f"users/{number % USERS:04}/albums/{number // USERS % 10}/photo-{number:07}.jpg"
        row["content_id"] = content_id
        row["object_key"] = str(row["object_key"]).replace(_template(tier), content_id)
        for column in ("revision", "version"):
            row[column] = int(str(row[column])) + made
        yield tuple(row.values())
