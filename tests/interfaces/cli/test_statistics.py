"""`stat` shows reads, `stats` what there is, `worker --once` does what is due."""

import sqlite3
import time
from contextlib import closing

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.domain.errors import UnavailableError
from thermocline.services.expiring import ExpiryService


def test_a_read_shows_in_what_is_known_of_the_content(cli: CommandLine) -> None:
    cli.put("a", b"x" * 100)
    assert "reads" in cli.ok("stat", "a").out
    assert cli.ok("stat", "a", "--json").json()["access"]["reads_total"] == 0
    for _ in range(2):
        cli.get("a")
    access = cli.ok("stat", "a", "--json").json()["access"]
    assert (access["reads_total"], access["storage_reads"]) == (2, 2)
    assert access["last_read_at"] is not None
    assert [(day["cache"], day["storage"]) for day in access["days"]] == [(0, 2)]
    shown = cli.ok("stat", "a").out
    assert "2 (2 from storage)" in shown
    assert "0.4 (5d)" in shown


def test_a_catalog_that_others_keep_locked_makes_no_read_wait_or_fail(cli: CommandLine) -> None:
    cli.put("a", b"data")
    with closing(sqlite3.connect(cli.data / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert cli.get("a") == b"data"
        assert time.monotonic() - began < 5, "[catalog] busy_timeout is 10 s"
        other.execute("ROLLBACK")
    assert cli.ok("stat", "a", "--json").json()["access"]["reads_total"] == 0


def test_what_is_stored(cli: CommandLine) -> None:
    cli.put("a", b"x" * 2048)
    cli.put("b", b"x" * 10, "--tier", "cold")
    storage = cli.ok("stats", "storage", "--json").json()
    assert storage["tiers"]["hot"] == {"count": 1, "bytes": 2048, "usd_per_month": pytest.approx(2048 * 0.015e-9)}
    assert storage["tiers"]["cold"] == {"count": 1, "bytes": 10, "usd_per_month": pytest.approx(10 * 0.015e-9)}
    assert storage["total"] == {"count": 2, "bytes": 2058, "usd_per_month": pytest.approx(2058 * 0.015e-9)}
    assert set(storage) == {"as_of", "tiers", "total"}
    lines = cli.ok("stats", "storage").out.splitlines()
    assert [line.split() for line in lines] == [
        ["tier", "contents", "size", "USD/month"],
        ["hot", "1", "2.0", "KiB", "3.072e-08"],
        ["warm", "0", "0", "B", "0"],
        ["cold", "1", "10", "B", "1.5e-10"],
        ["archive", "0", "0", "B", "0"],
        ["total", "2", "2.0", "KiB", "3.087e-08"],
    ]


def test_work_that_ran_in_another_process(cli: CommandLine) -> None:
    before = cli.ok("stats", "work", "--json").json()
    assert all(job["last_run"] is None for job in before["jobs"].values())
    assert "never" in cli.ok("stats").out
    cli.put("a", b"data")
    cli.put("a", b"other data")
    ran = cli.ok("worker", "--once", "--json").json_lines()
    assert [run["job"] for run in ran] == list(before["jobs"])
    assert all((run["elsewhere"], run["error"]) == (False, None) for run in ran)
    after = cli.ok("stats", "work", "--json").json()
    assert all(job["last_run"] is not None for job in after["jobs"].values())
    assert after["outbox"]["delete_object"]["waiting"] == 1, "not before its grace"
    assert set(after) == {"jobs", "outbox", "recovery", "scrub", "intents", "quarantine", "moves", "restores", "policy"}
    table = cli.ok("stats", "work").out
    assert "never" not in table
    assert "outbox: delete_object" in table
    assert set(cli.ok("stats", "--json").json()) == {"storage", "work"}


def test_what_restores_cost_stands_beside_the_budget(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.put("a", b"data", "--tier", "archive")
    assert cli.run("get", "a").code == 4
    restores = cli.ok("stats", "work", "--json").json()["restores"]
    assert (round(restores["spent_today_usd"], 6), restores["daily_budget_usd"]) == (0.0001, 10.0)
    assert cli.ok("stats", "work").out.endswith("spent on restores today: 0.0001 USD, at most 10\n")
    monkeypatch.setenv("THERMOCLINE_RESTORE__DAILY_BUDGET", "none")
    assert cli.ok("stats").out.endswith("USD, no limit\n")


def test_caches_are_each_process_s_own(cli: CommandLine) -> None:
    cache = cli.ok("stats", "cache", "--json").json()
    assert cache["scope"] == "this process"
    assert cache["content"]["memory"]["hits"] == 0
    assert "/v1/stats/cache" in cli.ok("stats", "cache").out


def test_one_round_of_work_tells_what_failed(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_service: ExpiryService) -> int:
        raise UnavailableError("the store is down")

    monkeypatch.setattr(ExpiryService, "run", fail)
    done = cli.run("worker", "--once")
    assert done.code == 1
    failed = [line.split(maxsplit=1) for line in done.out.splitlines() if "failed" in line]
    assert failed == [["expire", "failed: UnavailableError: the store is down"]]
    monkeypatch.undo()
    shown = cli.ok("stats", "work", "--json").json()["jobs"]["expire"]
    assert (shown["failures"], shown["last_error"]) == (1, "UnavailableError: the store is down")
    cli.ok("worker", "--once")
    again = cli.ok("stats", "work", "--json").json()["jobs"]["expire"]
    assert (again["failures"], again["last_error"], again["last_failure"]) == (1, None, shown["last_failure"])


def test_work_that_another_process_does_is_left_to_it(cli: CommandLine) -> None:
    cli.put("a", b"x")
    with closing(sqlite3.connect(cli.data / "catalog.db")) as other:
        other.execute("INSERT INTO leases VALUES ('expire', 'another', ?)", [(time.time_ns() // 1000) + 60_000_000])
        other.commit()
    lines = cli.ok("worker", "--once").out.splitlines()
    assert [line for line in lines if "another process" in line] == ["expire                another process does it"]


def test_an_unknown_subject_is_refused(cli: CommandLine) -> None:
    assert cli.run("stats", "everything").code == 2
