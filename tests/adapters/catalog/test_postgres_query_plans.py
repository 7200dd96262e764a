"""Every statement finds its rows by an index on PostgreSQL too, and those of the request path touch one content id."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.adapters.catalog.test_query_plans import SCANS_BY_PURPOSE, STATEMENTS
from thermocline.adapters.catalog import columns, postgres_accesses, postgres_change_feed, read_history
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import IN_INDEX_ORDER
from thermocline.ports.columns import CHUNK
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server
RECORDS = 5000
FILL = f"""
    INSERT INTO contents (content_id, revision, version, object_key, placement, size, content_type, tier, tier_since,
        visibility, created_at, modified_at, held, metadata, digest, deleted_at)
    SELECT 'content/' || n, n, n, CASE WHEN n % 10 > 0 THEN 'key/' || n END, 'standard', 1, 'x/y', 'hot', 1, 'public',
        1, 1, false, '{{}}', '', CASE WHEN n % 10 = 0 THEN 1 END
    FROM generate_series(1, {RECORDS}) AS n
"""  # noqa: S608 - constants
ON_THE_REQUEST_PATH = (
    "finding.FIND_ONE", "finding.FIND_MANY", "locking.LOCK", "commits._SWITCH", "commits._CHANGE", "commits._BURY",
    "describing.DESCRIBE", "restores.IS_CURRENT", "bulk_writes.LOCK_LISTED", "tier_changes.LOCK_LISTED",
    "move_commits.KEEP_CONTENTS", "move_commits.SWITCH_TO_COPY", "accesses.ADD_TO_SUMMARY",
)  # fmt: skip
# Scanned whole by their purpose, or by what the planner makes of a list.
ALLOWED = re.compile(r"Seq Scan on (installation|access_days\w*)|Function Scan.*|(CTE|Subquery) Scan .*")


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def raw(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    url = fresh_postgres_catalog(postgres)
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("ALTER TABLE contents SET (autovacuum_enabled = off)")
        raw.execute(FILL.encode())
        if request.param == "with statistics":
            raw.execute("VACUUM ANALYZE contents")
        yield raw
    postgres.drop_database(url)


def plan_of(raw: psycopg.Connection[Any], statement: Statement, *, settings: str = "") -> list[str]:
    """Return the lines of the plan for parameters that nobody knows: what a prepared statement runs by."""
    compiled = statement.on("postgresql")
    text, names = compiled.text, list[str]()

    def numbered(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", numbered, text).replace("%%", "%")
    with raw.transaction(force_rollback=True):
        raw.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        if settings:
            raw.execute(settings.encode())
        raw.execute(f"PREPARE asked AS {text}".encode())
        try:
            nothing = ", ".join("NULL" for _ in names)
            rows = raw.execute(
                f"EXPLAIN (COSTS off) EXECUTE asked{f'({nothing})' if names else ''}".encode()
            ).fetchall()
        finally:
            if raw.info.transaction_status.name == "INTRANS":
                raw.execute("DEALLOCATE asked")
    return [row[0].strip().removeprefix("->").strip() for row in rows]


@pytest.mark.parametrize("name", ON_THE_REQUEST_PATH)
def test_the_request_path_looks_at_the_contents_that_it_is_asked_for(raw: psycopg.Connection[Any], name: str) -> None:
    plan = plan_of(raw, STATEMENTS[name])
    scans = [line for line in plan if re.search(r"Scan.* on (\w+\.)?contents|Bitmap Index Scan on \w+contents", line)]
    assert scans, plan
    assert not [line for line in scans if line.startswith("Seq Scan")], plan
    conditions = [line for line in plan if line.startswith("Index Cond") and "content_id" in line]
    assert conditions, plan
    assert all(re.search(r"content_id = (ANY )?", line) for line in conditions), plan


@pytest.mark.parametrize("name", sorted(set(STATEMENTS) - SCANS_BY_PURPOSE))
def test_there_is_an_index_for_every_statement(raw: psycopg.Connection[Any], name: str) -> None:
    # The tables are small: left to itself, the planner would rightly read some of them whole.
    plan = plan_of(raw, STATEMENTS[name], settings="SET LOCAL enable_seqscan = off")
    scans = [line for line in plan if "Seq Scan" in line and not ALLOWED.match(line)]
    assert scans == [], plan


@pytest.mark.parametrize("chunk", [1, 1000, CHUNK])
def test_a_sweep_of_columns_walks_along_an_index_of_ids(raw: psycopg.Connection[Any], chunk: int) -> None:
    plan = plan_of(raw, columns.statement_for(chunk), settings=IN_INDEX_ORDER)
    scans = [line for line in plan if "Scan" in line and " on contents" in line]
    assert len(scans) == 1, plan
    assert re.fullmatch(r"Index Scan using (ix_contents_live|pk_contents) on contents", scans[0]), plan
    (condition,) = [line for line in plan if line.startswith("Index Cond")]
    assert re.search(r"content_id >= .* AND \(?content_id <= ", condition), plan
    assert not [line for line in plan if "Sort" in line], plan


def test_a_sweep_of_the_history_looks_at_the_content_of_each_row(raw: psycopg.Connection[Any]) -> None:
    raw.execute("CREATE TABLE IF NOT EXISTS access_days_5 PARTITION OF access_days FOR VALUES FROM (5) TO (6)")
    plan = plan_of(raw, read_history.SWEEP, settings=IN_INDEX_ORDER)
    assert any(re.match(r"Index Scan using pk_contents on contents", line) for line in plan), plan
    assert any(re.match(r"Index (Only )?Scan using access_days_5_pkey on access_days_5", line) for line in plan), plan
    assert not [line for line in plan if re.match(r"Sort|Seq Scan|Hash Join|Merge Join", line)], plan


@pytest.mark.parametrize("statement", [postgres_change_feed.SINCE, postgres_change_feed.MISSING])
def test_a_look_at_the_feed_reads_what_is_new(raw: psycopg.Connection[Any], statement: Statement) -> None:
    plan = plan_of(raw, statement, settings="SET LOCAL enable_seqscan = off")
    assert not [line for line in plan if line.startswith("Seq Scan")], plan


def test_a_flush_looks_at_the_contents_that_were_read(raw: psycopg.Connection[Any]) -> None:
    plan = plan_of(raw, postgres_accesses.ADD)
    assert [line for line in plan if re.match(r"Index Scan using pk_contents on contents", line)], plan
    assert not [line for line in plan if "Seq Scan on contents" in line], plan


def test_the_partitions_of_days_are_found(raw: psycopg.Connection[Any]) -> None:
    assert plan_of(raw, postgres_accesses.PARTITIONS)
