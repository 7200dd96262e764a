"""Every statement of the request path finds its rows by an index; all statements compile for both dialects."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from thermocline.adapters.catalog import (
    accesses,
    adopted_objects,
    announcing,
    booking,
    bulk_writes,
    change_feed,
    columns,
    commits,
    cursors,
    describing,
    elections,
    erasing,
    finding,
    intents,
    job_runs,
    locking,
    move_commits,
    moves,
    naming,
    outbox,
    policy_budget,
    queueing,
    read_history,
    records,
    recovery,
    restores,
    savings,
    sql,
    sweeps,
    tier_changes,
    tokens,
    totals,
)
from thermocline.adapters.catalog.statements import Statement
from thermocline.testing.catalog import fresh_sqlite_catalog

MODULES = (
    accesses, adopted_objects, announcing, booking, bulk_writes, change_feed, columns, commits, cursors, describing,
    elections, erasing, finding, intents, job_runs, locking, move_commits, moves, naming, outbox, policy_budget,
    queueing, read_history, records, recovery, restores, savings, sql, sweeps, tier_changes, tokens, totals,
)  # fmt: skip
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, Statement)
}
# One row; a list that came as a parameter; the rows that a limited subquery has found.
ALLOWED_SCANS = re.compile(r"SCAN (installation|listed_\w+|news|due|free|swept|latest|living)\b.*|SCAN CONSTANT ROW")
LISTS = {
    "content_ids", "days", "ledger_entries", "listed_versions", "object_keys", "planned_moves",
    "row_ids",
}  # fmt: skip
SCANS_BY_PURPOSE = {
    "adopted_objects.OWN_PREFIX",  # one row
    "adopted_objects.LAST_CONTENT",  # stops at the first row
    "accesses.NEWEST_DAY",  # stops at the first row
    "accesses.OLDEST_DAY",  # stops at the first row
    "accesses.RESCALE",  # once in years
    "accesses.RESTART",  # one row
    "accesses.SINCE",  # one row
    "job_runs.ALL",  # an operator's question
    "totals.QUARANTINE",  # an operator's question
    "totals.TIERS",  # an operator's question, kept for a minute; of an index only, see below
    "moves.LEDGER",  # stops at its limit
    "tier_changes.ANY_PLAN",  # stops at the first row
    "moves.STATE",  # an operator's question
    "restores.STATE",  # an operator's question
    "intents.COUNT",  # an operator's question
    "outbox.REVIVE",  # an operator's wish
    "outbox.STATE",  # an operator's question
    "tokens.ALL",  # an operator's question
    "tokens.ANY",  # stops at the first row
    "sql._INSTALLATION",  # one row
    "records.RAISE_FLOOR",  # one row
    "recovery.RECOVERING",  # one row
    "recovery.CONFIRM",  # one row
    "change_feed.TRIM",  # periodic; what it keeps is short
}
IN_ORDER = {
    "records.PAGE", "records.PAGE_OF_TIER", "records.EXPIRED", "sweeps.DUE", "outbox.CLAIM", "moves.CLAIM",
    "moves.LEDGER", "moves.LEDGER_OF", "restores.CLAIM", "recovery.CANDIDATES", "tier_changes.LOCK_LISTED",
    "columns.SWEEP", "savings.REALISED",
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "catalog.db"
    fresh_sqlite_catalog(path)
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def plan_of(raw: sqlite3.Connection, statement: Statement) -> list[str]:
    text = statement.on("sqlite").text
    names = set(re.findall(r":(\w+)", text))
    parameters = dict.fromkeys(names, 1) | {name: "[]" for name in names if name in LISTS}
    return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]


@pytest.mark.parametrize("name", sorted(set(STATEMENTS) - SCANS_BY_PURPOSE))
def test_no_table_is_scanned(raw: sqlite3.Connection, name: str) -> None:
    plan = plan_of(raw, STATEMENTS[name])
    scans = [line for line in plan if line.startswith("SCAN") and not ALLOWED_SCANS.fullmatch(line)]
    assert scans == [], plan


@pytest.mark.parametrize("name", sorted(IN_ORDER))
def test_nothing_is_sorted_that_an_index_has_in_order(raw: sqlite3.Connection, name: str) -> None:
    plan = plan_of(raw, STATEMENTS[name])
    assert not [line for line in plan if "TEMP B-TREE" in line], plan


@pytest.mark.parametrize(
    "name", ["finding.FIND_ONE", "finding.FIND_MANY", "locking.LOCK", "commits._SWITCH", "bulk_writes.LOCK_LISTED"]
)
def test_a_content_is_found_by_its_id(raw: sqlite3.Connection, name: str) -> None:
    plan = plan_of(raw, STATEMENTS[name])
    assert [
        line for line in plan if re.fullmatch(r"SEARCH contents USING INDEX \w+ \(content_id=\?\)( LEFT-JOIN)?", line)
    ]


@pytest.mark.parametrize(("name", "index"), [("PAGE", "ix_contents_live"), ("PAGE_OF_TIER", "ix_contents_tier")])
def test_pages_begin_where_they_shall(raw: sqlite3.Connection, name: str, index: str) -> None:
    (line,) = plan_of(raw, STATEMENTS[f"records.{name}"])
    assert line.startswith(f"SEARCH contents USING INDEX {index} (")
    assert line.endswith("content_id>? AND content_id<?)")


def test_a_sweep_of_columns_begins_where_it_shall_and_skips_nothing(raw: sqlite3.Connection) -> None:
    statement = STATEMENTS["columns.SWEEP"]
    searches = [line for line in plan_of(raw, statement) if "contents" in line]
    assert searches == ["SEARCH contents USING INDEX ix_contents_live (content_id>? AND content_id<?)"]
    # SQLAlchemy never writes one of SQLite's limits without an offset.
    assert re.findall(r"OFFSET\W+(\w+)", statement.on("sqlite").text) == ["param_1"]
    assert statement.on("sqlite").constants == {"param_1": 0}
    assert "OFFSET" not in statement.on("postgresql").text


def test_totals_are_summed_over_an_index_alone(raw: sqlite3.Connection) -> None:
    assert plan_of(raw, STATEMENTS["totals.TIERS"]) == ["SCAN contents USING COVERING INDEX ix_contents_tier"]


def test_there_are_statements_to_look_at() -> None:
    assert set(STATEMENTS) >= SCANS_BY_PURPOSE | IN_ORDER


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_can_be_written_for_postgresql(name: str) -> None:
    text = STATEMENTS[name].on("postgresql").text
    assert "json_each(" not in text
    assert not re.search(r"(?<!:):\w+_micros", text)
    assert STATEMENTS[name].on("postgresql").needs_clock is False


@pytest.mark.parametrize("name", ["outbox.CLAIM", "intents.CONDEMN", "moves.CLAIM", "restores.CLAIM"])
def test_claims_skip_what_others_have_locked(name: str) -> None:
    assert "FOR UPDATE SKIP LOCKED" in STATEMENTS[name].on("postgresql").text
