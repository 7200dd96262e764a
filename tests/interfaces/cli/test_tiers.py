"""`tier`, `restore`, `change`, `get --wait`, `rm --erase`: what they do, print and answer."""

import json
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine

RESTORE_KEYS = {"content_id", "state", "speed", "days", "requested_at", "eta", "readable_until"}
TIER_KEYS = {"content_id", "tier", "target", "state", "placement", "revision", "version", "error"}
COLD_APART = """
[placements.standard]
objects = "main"
[placements.infrequent]
objects = "main"
storage_class = "STANDARD_IA"
[placements.archive]
objects = "main"
storage_class = "ARCHIVE"
[placements.archive.restore.standard]
delay = "400ms"
usd_per_request = 1.0
[placements.archive.restore.bulk]
delay = "1h"
[tiers.cold]
placement = "infrequent"
[restore]
daily_budget = 2.5
"""


@pytest.fixture
def quick(cli: CommandLine) -> CommandLine:
    """COLD has a placement of its own; a restore takes less than half a second, and two and a half a day are paid."""
    Path("thermocline.toml").write_text(COLD_APART)
    return cli


def test_a_content_is_moved(quick: CommandLine) -> None:
    quick.put("a", b"body", "--tier", "hot")
    for target in ("warm", "cold", "archive"):
        told = quick.ok("tier", "a", target, "--json").json()
        assert set(told) == TIER_KEYS
        assert (told["tier"], told["target"], told["state"], told["error"]) == (target, target, "done", None)
    assert quick.ok("stat", "a", "--json").json()["tier"] == "archive"
    assert quick.ok("tier", "a", "archive").out == "a: archive\n"
    planned = quick.ok("tier", "a", "hot").out
    assert planned.startswith("a: archive, its move to hot is planned for 20")
    assert planned.endswith("Z, after its restore\n")
    assert quick.ok("restore", "a", "--wait", "20s", "--json").json()["state"] == "readable"
    assert quick.ok("tier", "a", "hot").out == "a: hot\n"
    assert quick.get("a") == b"body"


def test_a_move_can_be_left_to_a_worker(quick: CommandLine) -> None:
    quick.put("a", b"body", "--tier", "hot")
    assert quick.ok("tier", "a", "cold", "--no-wait").out == "a: hot, its move to cold is planned\n"
    told = quick.ok("tier", "a", "cold", "--no-wait", "--json").json()
    assert (told["tier"], told["target"], told["state"]) == ("hot", "cold", "planned")
    assert quick.ok("stat", "a", "--json").json()["move"]["tier"] == "cold"
    assert quick.ok("stats", "work", "--json").json()["moves"]["waiting"] == 1
    quick.ok("worker", "--once")
    record = quick.ok("stat", "a", "--json").json()
    assert (record["tier"], "move" in record) == ("cold", False)


def test_many_are_moved(quick: CommandLine) -> None:
    for name in ("p/1", "p/2", "p/3", "q/1"):
        quick.put(name, name.encode(), "--tier", "hot")
    quick.ok("tier", "p/3", "cold")
    lines = quick.ok("tier", "--prefix", "p/", "cold", "--dry-run", "--json").json_lines()
    assert [line["content_id"] for line in lines] == ["p/1", "p/2"]
    assert lines[0] == {"content_id": "p/1", "tier": "hot", "target": "cold", "would_move": True}
    assert quick.ok("tier", "--prefix", "p/", "cold", "--dry-run").out.splitlines() == [
        "would move p/1 from hot to cold",
        "would move p/2 from hot to cold",
    ]
    assert quick.ok("stat", "p/1", "--json").json()["tier"] == "hot"
    assert quick.ok("tier", "--prefix", "p/", "cold", "--no-wait", "--json").json() == {
        "prefix": "p/", "target": "cold", "done": 0, "planned": 2, "unchanged": 1, "failed": 0,
    }  # fmt: skip
    assert quick.ok("tier", "cold", "--prefix", "p/").out == "2 done, 0 planned, 1 unchanged, 0 failed\n"
    assert quick.ok("tier", "warm", "--prefix", "").out == "4 done, 0 planned, 0 unchanged, 0 failed\n"
    assert quick.ok("tier", "warm", "--prefix", "none/").out == "0 done, 0 planned, 0 unchanged, 0 failed\n"
    assert quick.ok("tier", "p/1", "hot", "--dry-run").out == "would move p/1 from warm to hot\n"
    assert quick.ok("tier", "p/1", "warm", "--dry-run").out == "p/1 is warm already\n"


def test_held_content_stays_and_the_others_are_moved(quick: CommandLine) -> None:
    for name in ("p/1", "p/2", "p/3"):
        quick.put(name, b"x", "--tier", "hot")
    quick.ok("change", "p/2", "--hold")
    outcome = quick.run("tier", "p/2", "cold")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "error: content 'p/2' is on hold; release the hold first\n"
    outcome = quick.run("tier", "--prefix", "p/", "cold", "--json")
    assert outcome.code == 1
    assert outcome.json() == {
        "prefix": "p/", "target": "cold", "done": 2, "planned": 0, "unchanged": 0, "failed": 1,
    }  # fmt: skip
    assert (outcome.error()["error"], outcome.error()["content_id"]) == ("content-held", "p/2")
    quick.ok("change", "p/2", "--release")
    assert quick.ok("tier", "--prefix", "p/", "cold").out == "1 done, 0 planned, 2 unchanged, 0 failed\n"


def test_a_move_that_fails_is_told(quick: CommandLine) -> None:
    """The bytes are damaged: they stay where they are, and the move stays planned."""
    for name in ("damaged", "whole"):
        quick.put(name, b"body", "--tier", "hot")
    (path,) = (path for path in quick.objects() if path.read_bytes().startswith(b"body") and "damaged" in path.name)
    path.chmod(0o600)
    path.write_bytes(b"BODY" + path.read_bytes()[4:])
    outcome = quick.run("tier", "damaged", "cold")
    assert (outcome.code, outcome.out) == (1, "")
    told = "error: content 'damaged' was not moved to cold: IntegrityError: content 'damaged' is damaged"
    assert outcome.err.startswith(told)
    assert "nothing was lost; the move stays planned" in outcome.err
    assert outcome.err.count("\n") == 1
    outcome = quick.run("tier", "--prefix", "", "cold", "--json")
    assert outcome.code == 1
    assert outcome.error()["error"] == "failed"
    assert {name: outcome.json()[name] for name in ("done", "failed")} == {"done": 1, "failed": 1}
    move = quick.ok("stat", "damaged", "--json").json()["move"]
    assert move["last_error"].startswith("IntegrityError")
    assert "IntegrityError" in quick.ok("stat", "damaged").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["tier"],
        ["tier", "a"],
        ["tier", "a", "lukewarm"],
        ["tier", "a", "cold", "--prefix", "p/"],
        ["tier", "--prefix", "p/"],
        ["tier", "a", "cold", "hot"],
        ["tier", "a/", "cold"],
        ["restore"],
        ["restore", "a", "--speed", "now"],
        ["restore", "a", "--days", "0"],
        ["restore", "a", "--days", "366"],
        ["restore", "a", "--days", "x"],
        ["restore", "a", "--wait", "soon"],
        ["restore", "a", "--wait", "0s"],
        ["restore", "a", "--status", "--days", "1"],
        ["restore", "a", "--speed", "expedited"],
        ["change", "a"],
        ["change", "a", "--expires-in", "soon"],
        ["change", "a", "--metadata", "x"],
        ["change", "a", "--visibility", "secret"],
        ["get", "a", "--wait", "x"],
    ],
)
def test_usage(quick: CommandLine, arguments: list[str]) -> None:
    quick.put("a", b"x", "--tier", "archive")
    outcome = quick.run(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert quick.run(*arguments, "--json").error()["exit_code"] == 2
    assert quick.ok("stats", "work", "--json").json()["restores"]["requested"] == 0


def test_what_is_not_there(quick: CommandLine) -> None:
    for arguments in (
        ["tier", "none", "cold"],
        ["tier", "none", "cold", "--dry-run"],
        ["restore", "none"],
        ["restore", "none", "--status"],
        ["change", "none", "--hold"],
        ["get", "none", "--wait", "1s"],
    ):
        outcome = quick.run(*arguments)
        assert (outcome.code, outcome.out) == (3, ""), arguments
        assert "there is no content 'none'" in outcome.err


def test_restoring(quick: CommandLine) -> None:
    quick.put("a", b"body", "--tier", "archive")
    assert quick.ok("restore", "a", "--status").out == "a: archived\n"
    told = quick.ok("restore", "a", "--speed", "bulk", "--days", "3", "--json").json()
    assert set(told) == RESTORE_KEYS
    assert (told["content_id"], told["state"], told["speed"], told["days"]) == ("a", "requested", "bulk", 3)
    assert quick.ok("restore", "a").out == f"a: requested, expected {told['eta']}\n"
    assert quick.ok("restore", "a", "--status", "--json").json() == told
    quick.put("b", b"body", "--tier", "archive")
    told = quick.ok("restore", "b", "--days", "1", "--wait", "20s", "--json").json()
    assert (told["state"], told["days"], told["speed"]) == ("readable", 1, "standard")
    assert told["requested_at"] < told["readable_until"]
    assert quick.ok("restore", "b", "--status").out == f"b: readable until {told['readable_until']}\n"
    assert quick.get("b") == b"body"
    quick.put("hot", b"x")
    assert quick.ok("restore", "hot", "--wait", "1s").out == "hot: readable\n"


def test_waiting_is_bounded(quick: CommandLine) -> None:
    quick.put("a", b"body", "--tier", "archive")
    told = quick.ok("restore", "a", "--speed", "bulk", "--wait", "200ms", "--json").json()
    assert told["state"] == "requested"
    outcome = quick.run("get", "a", "--wait", "200ms", "-o", "copy")
    assert (outcome.code, outcome.out) == (4, "")
    assert not Path("copy").exists()


def test_getting_archived_content(quick: CommandLine) -> None:
    quick.put("a", b"body", "--tier", "archive")
    outcome = quick.run("get", "a", "--json", "-o", "copy")
    assert (outcome.code, outcome.out) == (4, "")
    error = outcome.error()
    assert (error["error"], error["exit_code"], error["content_id"]) == ("content-archived", 4, "a")
    assert error["eta"] == quick.ok("restore", "a", "--status", "--json").json()["eta"], "it is on its way"
    outcome = quick.run("get", "a")
    assert outcome.code in {0, 4}
    if outcome.code == 4:
        assert outcome.err.startswith("error: content 'a' is archived")
        assert error["eta"][:19] in outcome.err, "it says when"
    assert quick.ok("get", "a", "--wait", "20s", "-o", "copy").out == "copy: 4 bytes\n"
    assert Path("copy").read_bytes() == b"body"
    until = quick.ok("restore", "a", "--status", "--json").json()["readable_until"]
    quick.ok("get", "a", "--wait", "20s", "-o", "copy", "--force")
    assert quick.ok("restore", "a", "--status", "--json").json()["readable_until"] == until, "nothing asks for more"


def test_a_budget_that_is_spent(quick: CommandLine) -> None:
    for name in "abc":
        quick.put(name, b"x", "--tier", "archive")
    quick.ok("restore", "a")
    quick.ok("restore", "b")
    outcome = quick.run("restore", "c", "--json")
    assert outcome.code == 1
    assert (outcome.error()["error"], outcome.error()["retryable"]) == ("restore-budget", True)
    assert quick.run("get", "c").code == 4
    outcome = quick.run("tier", "c", "hot")
    assert outcome.code == 1
    assert "daily_budget" in outcome.err
    assert outcome.err.count("\n") == 1


def test_changing(quick: CommandLine) -> None:
    etag = quick.put("a", b"x", "--metadata", "k=1")["etag"]
    told = quick.ok(
        "change", "a", "-m", "l=2", "-m", '{"k": null}', "--visibility", "public", "--expires-in", "7d", "--hold",
        "--pin", "--if-match", etag, "--json",
    ).json()  # fmt: skip
    assert (told["metadata"], told["visibility"]) == ({"l": "2"}, "public")
    assert (told["held"], told["pinned"], told["etag"]) == (True, True, etag)
    assert told["expires_at"] > told["modified_at"]
    assert set(told) == set(quick.ok("stat", "a", "--json").json()) - {"access"}
    for arguments in (["rm", "a"], ["rm", "--erase", "a"], ["tier", "a", "archive"]):
        outcome = quick.run(*arguments, "--json")
        assert (outcome.code, outcome.error()["error"]) == (1, "content-held"), arguments
    changed = quick.ok("change", "a", "--release", "--unpin", "--expires-in", "never", "--json").json()
    assert (changed["held"], changed["pinned"], changed["expires_at"]) == (False, False, None)
    assert quick.ok("change", "a", "--pin").out == f"a: version {changed['version'] + 1}\n"
    outcome = quick.run("change", "a", "--hold", "--if-match", '"1"', "--json")
    assert (outcome.code, outcome.error()["error"]) == (1, "precondition-failed")


def test_erasing_tells_each_step(quick: CommandLine) -> None:
    quick.put("a", b"one", "--tier", "archive")
    quick.ok("restore", "a")
    quick.put("a", b"two", "--tier", "hot")
    quick.ok("tier", "a", "warm")
    quick.ok("tier", "a", "cold", "--no-wait")
    shown = quick.ok("rm", "a", "--erase").out.splitlines()
    assert shown[0] == "erased a"
    steps = dict(line.strip().split(": ") for line in shown[1:])
    assert {name: steps[name] for name in ("objects", "planned moves", "restores", "ledger entries")} == {
        "objects": "2", "planned moves": "1", "restores": "1", "ledger entries": "1",
    }  # fmt: skip
    assert quick.objects() == []
    told = quick.ok("rm", "a", "--erase", "--json").json()
    assert (told["content_id"], told["erased"], told["removed"]["objects"]) == ("a", False, 0)
    assert json.loads(json.dumps(told)) == told
