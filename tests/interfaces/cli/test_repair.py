"""`fsck`, `doctor`, `migrate`: what is found, how it is told, and what mending does."""

import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.wiring import diagnosis

PARTS = [
    "settings",
    "data folder",
    "memory",
    "open files",
    "catalog",
    "placement standard",
    "clock",
    "placement archive",
    "access",
]


def _damage(path: Path) -> None:
    path.chmod(0o600)
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)


def test_fsck_of_a_sound_store(cli: CommandLine) -> None:
    assert cli.ok("fsck").out == "0 contents, 0 objects: nothing is wrong\n"
    cli.put("a", b"x" * 2048)
    assert cli.ok("fsck").out == "1 contents, 2.0 KiB read, 1 objects: nothing is wrong\n"
    assert cli.ok("fsck", "--quick", "--json").json_lines() == [
        {"kind": "summary", "contents": 1, "read_bytes": 0, "objects": 1, "findings": 0}
    ]


def test_fsck_lists_what_is_damaged_and_what_is_missing(cli: CommandLine) -> None:
    for content_id in ("good", "damaged", "missing"):
        cli.put(content_id, b"x" * 5000)
    key = {name: cli.ok("stat", name, "--json").json()["object_key"] for name in ("damaged", "missing")}
    files = {name: path for path in cli.objects() for name in key if key[name].rpartition("/")[2] in path.name}
    _damage(files["damaged"])
    files["missing"].unlink()

    outcome = cli.run("fsck", "--json")

    assert outcome.code == 1
    *findings, summary = outcome.json_lines()
    assert [(finding["damage"], finding["content_id"]) for finding in findings] == [
        ("damaged", "damaged"),
        ("missing", "missing"),
    ]
    for finding in findings:
        assert set(finding) == {"kind", "damage", "content_id", "object_key", "detail"}
        assert finding["object_key"] == key[finding["content_id"]]
    assert summary["findings"] == 2
    assert cli.run("fsck").out.splitlines()[0].startswith("damaged      damaged  ")
    assert cli.run("fsck", "--quick").out.count("\n") == 2  # only the missing one is seen without reading
    assert cli.run("get", "damaged").code == 1
    assert cli.ok("get", "good").out == "x" * 5000


def _orphans(cli: CommandLine, count: int) -> None:
    """Objects that nothing names, old enough to be swept."""
    cli.put("a", b"x")
    (path,) = cli.objects()
    store = sqlite3.connect(cli.data / "catalog.db")
    for number in range(count):
        cli.put(f"orphan-{number}", b"x")
    with store:
        store.execute("DELETE FROM contents WHERE content_id LIKE 'orphan-%'")
    store.close()
    old = time.time() - 86400
    for orphan in cli.objects():
        if orphan != path:
            import os

            os.utime(orphan, (old, old))


def test_a_sweep_quarantines_what_nothing_names(cli: CommandLine) -> None:
    _orphans(cli, 2)
    found = cli.run("fsck", "--sweep", "--dry-run", "--json")
    assert found.code == 1
    assert [line["kind"] for line in found.json_lines()] == ["finding", "finding", "summary"]
    swept = cli.run("fsck", "--sweep", "--json")
    assert swept.code == 1
    assert swept.json_lines()[-2] == {
        "kind": "sweep",
        "placement": "standard",
        "listed": 3,
        "unnamed": 2,
        "quarantined": 2,
        "refused": None,
    }
    # In quarantine they are known: nothing is wrong any more, and a later sweep deletes them.
    assert cli.run("fsck", "--sweep").out.endswith(
        "sweep of standard: 0 of 3 objects quarantined\nsweep of archive: 0 of 0 objects quarantined\n"
    )
    assert cli.ok("get", "a").out == "x"


@pytest.mark.thorough
def test_a_sweep_that_would_take_too_much_asks(cli: CommandLine) -> None:
    _orphans(cli, 12)
    refused = cli.run("fsck", "--sweep", "--quick")
    assert refused.code == 1
    assert "sweep of standard: refused: 12 of 13 objects are named by nothing" in refused.out
    assert cli.run("fsck", "--sweep", "--quick", "--json").json_lines()[-1]["quarantined"] == 0
    assert "12 of 13 objects quarantined" in cli.run("fsck", "--sweep", "--confirm", "--quick").out
    cli.ok("fsck")


def test_doctor_tries_every_part(cli: CommandLine) -> None:
    shown = cli.ok("doctor", "--json").json()
    assert shown["healthy"] is True
    assert [part["part"] for part in shown["parts"]] == PARTS
    assert all(set(part) == {"part", "health", "detail", "remedy"} for part in shown["parts"])
    assert {part["health"] for part in shown["parts"]} <= {"ok", "warn"}
    text = cli.ok("doctor").out
    assert "synchronous=FULL" in text
    assert cli.objects() == []
    assert not list(cli.data.glob(".doctor-*"))


def _parts(cli: CommandLine) -> dict[str, dict[str, Any]]:
    return {part["part"]: part for part in cli.run("doctor", "--json").json()["parts"]}


def test_doctor_sees_a_clock_that_is_off(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from thermocline.adapters.clock import SystemClock

    real = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: real(clock) + 3600 * 10**6)
    assert _parts(cli)["clock"]["health"] == "fail"
    assert "NTP" in _parts(cli)["clock"]["remedy"]
    monkeypatch.setattr(SystemClock, "now", lambda _: 0)
    assert "years off" in _parts(cli)["clock"]["detail"]


def test_doctor_sees_prices_that_nobody_knows(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_PLACEMENTS__STANDARD__OBJECTS", "main")
    monkeypatch.setenv("THERMOCLINE_PLACEMENTS__STANDARD__PRICES", "s3.nonsense")
    assert _parts(cli)["prices"]["health"] == "warn"
    assert "[placements.standard] prices" in _parts(cli)["prices"]["remedy"]
    monkeypatch.setenv("THERMOCLINE_PLACEMENTS__STANDARD__PRICES", "none")
    assert "prices" not in _parts(cli)


def test_doctor_sees_budgets_beyond_the_machine(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_LIMITS__MEMORY", "100TiB")
    assert _parts(cli)["memory"]["health"] == "warn"
    monkeypatch.setattr(diagnosis, "_CGROUP_LIMITS", (Path("limit"), Path("gone")))
    monkeypatch.delenv("THERMOCLINE_LIMITS__MEMORY")
    Path("limit").write_text("1000000\n")
    assert "machine has 1 MiB" in _parts(cli)["memory"]["detail"]


def test_doctor_sees_too_few_open_files(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    assert _parts(cli)["open files"]["health"] == "warn"


def test_doctor_sees_a_service_open_to_others(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_HTTP__HOST", "0.0.0.0")  # noqa: S104 - to be found
    access = _parts(cli)["access"]
    assert access["health"] == "fail"
    assert "thermocline token create" in access["remedy"]
    token = cli.run("token", "create", "--json").json()
    assert _parts(cli)["access"]["health"] == "ok"
    cli.ok("token", "revoke", token["token_id"])
    assert _parts(cli)["access"]["health"] == "warn"


@pytest.mark.parametrize(("free", "health"), [(2**20, "fail"), (2**29, "warn"), (2**40, "ok")])
def test_doctor_sees_a_disk_that_fills(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, free: int, health: str
) -> None:
    import os

    real = os.statvfs(".")

    class Status:
        f_bavail = free // real.f_frsize
        f_frsize = real.f_frsize
        f_files = 0
        f_favail = 0

    monkeypatch.setattr("os.statvfs", lambda _: Status)
    assert _parts(cli)["data folder"]["health"] == health


@pytest.mark.thorough
def test_doctor_sees_a_damaged_catalog(cli: CommandLine) -> None:
    for number in range(50):
        cli.put(f"c/{number}", b"x", "--metadata", "note=" + "y" * 500)
    catalog = cli.data / "catalog.db"
    raw = bytearray(catalog.read_bytes())
    assert len(raw) > 40_000
    raw[20_000:36_000] = b"\xa5" * 16_000
    catalog.write_bytes(raw)
    outcome = cli.run("doctor")
    assert outcome.code == 1
    assert "fail   catalog" in outcome.out or "fail   store" in outcome.out


def test_migrate(cli: CommandLine) -> None:
    assert cli.ok("migrate", "--check", "--json").json() == {"current": None, "newest": "0006", "is_current": False}
    assert not (cli.data / "catalog.db").exists()
    assert cli.ok("migrate", "--json").json() == {"before": None, "after": "0006", "backup": None}
    assert cli.ok("migrate").out == "the catalog is current: schema 0006\n"
    assert cli.ok("migrate", "--check").out == "the catalog is current: schema 0006\n"
    cli.put("a", b"x")


def test_migrate_check_answers_1_if_an_upgrade_is_due(cli: CommandLine) -> None:
    cli.ok("migrate")
    with sqlite3.connect(cli.data / "catalog.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    database.close()
    outcome = cli.run("migrate", "--check")
    assert (outcome.code, outcome.out) == (1, "the catalog has schema 0000, this program needs 0006\n")


def test_a_lost_object_folder_is_found_not_hidden(cli: CommandLine) -> None:
    cli.put("a", b"x")
    shutil.rmtree(cli.data / "objects")
    assert cli.run("fsck").code == 1
    lost = cli.run("get", "a")
    assert lost.code == 1
    assert "is damaged: its object is missing" in lost.err
