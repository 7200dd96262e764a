"""`backup`, `fsck --repair`, `fsck --rebuild-catalog`: what they do, say and answer."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.cli.commandline import CommandLine, Outcome


def _recovering(cli: CommandLine) -> bool:
    with closing(sqlite3.connect(cli.data / "catalog.db")) as raw:
        return bool(raw.execute("SELECT recovering FROM installation").fetchone()[0])


def _files(cli: CommandLine, name: str, key: str) -> Path:
    (path,) = [path for path in cli.objects() if key.rpartition("/")[2] in path.name]
    return path


def _key(cli: CommandLine, name: str) -> str:
    return str(cli.ok("stat", name, "--json").json()["object_key"])


def _lose_object(cli: CommandLine, name: str) -> None:
    _files(cli, name, _key(cli, name)).unlink()


@pytest.fixture
def restored(cli: CommandLine) -> CommandLine:
    """A store whose old backup was restored: `kept` as it was, `over` and `new` are newer than it."""
    for name in ("kept", "over"):
        cli.put(name, b"before")
    cli.ok("backup", "old.db")
    cli.put("over", b"after")
    cli.put("new", b"new")
    assert cli.ok("backup", "--restore", "old.db").out
    return cli


def test_backup_goes_where_it_is_told_and_to_a_folder_of_its_own(cli: CommandLine) -> None:
    cli.put("a", b"x")
    told = cli.ok("backup")
    (made,) = (cli.data / "backups").iterdir()
    first, second = told.out.splitlines()
    assert first.startswith(f"backed up 1 contents to {str(made)!r} (")
    assert "it finds every object where it was" in second
    shown = cli.ok("backup", "here.db", "--json").json()
    assert set(shown) == {"path", "size", "contents", "installation", "taken_at", "whole_until"}
    assert (shown["path"], shown["contents"], shown["size"]) == ("here.db", 1, Path("here.db").stat().st_size)
    assert shown["taken_at"] < shown["whole_until"]
    refused = cli.run("backup", "here.db")
    assert (refused.code, refused.out) == (1, "")
    assert "--force" in refused.err
    cli.ok("backup", "here.db", "--force")
    assert not _recovering(cli)


def test_there_is_nothing_to_back_up(cli: CommandLine) -> None:
    outcome = cli.run("backup", "x.db", "--json")
    assert (outcome.code, outcome.error()["error"]) == (1, "configuration")
    assert not Path("x.db").exists()
    assert not cli.data.exists()


@pytest.mark.parametrize("arguments", [("x.db", "--restore", "y.db"), ("--restore", "y.db", "--force")])
def test_restore_takes_one_file(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    assert cli.run("backup", *arguments).code == 2


def test_restore_says_what_is_next(cli: CommandLine) -> None:
    cli.put("a", b"x")
    cli.ok("backup", "old.db")
    lines = cli.ok("backup", "--restore", "old.db").out.splitlines()
    (aside,) = cli.data.glob("catalog.db.replaced-*")
    assert lines[0] == "restored a catalog of 1 contents from 'old.db'"
    assert lines[1] == f"the catalog that was there is kept as {str(aside)!r}"
    assert lines[-2:] == ["  thermocline fsck --repair", "  thermocline fsck --sweep --confirm"]
    assert _recovering(cli)
    for path in cli.data.glob("catalog.db*"):
        path.unlink()
    shown = cli.ok("backup", "--restore", "old.db", "--json").json()
    assert shown["replaced_catalog"] is None
    assert shown["next"] == ["thermocline fsck --repair", "thermocline fsck --sweep --confirm"]


def test_what_is_no_backup_of_this_store_is_refused(cli: CommandLine, capfd: pytest.CaptureFixture[str]) -> None:
    cli.put("a", b"x")
    Path("text").write_text("no backup")
    assert "not an SQLite database" in cli.run("backup", "--restore", "text").err
    assert "there is no file" in cli.run("backup", "--restore", "none").err
    other = CommandLine(cli.data.parent / "other", capfd)
    other.put("a", b"x")
    other.ok("backup", "other.db")
    refused = cli.run("backup", "--restore", "other.db", "--json")
    assert (refused.code, refused.error()["error"]) == (1, "installation-mismatch")
    assert cli.ok("get", "a").out == "x"


def test_every_command_says_that_nothing_is_deleted(restored: CommandLine) -> None:
    shown = {part["part"]: part for part in restored.ok("doctor", "--json").json()["parts"]}
    assert shown["recovery"]["health"] == "warn"
    assert "fsck --repair" in shown["recovery"]["remedy"]
    assert "nothing is deleted until" in restored.run("fsck").out
    assert {
        name: value for name, value in restored.run("fsck", "--json").json_lines()[-1].items() if name != "advice"
    } == {"kind": "recovery", "recovering": True}
    before = restored.objects()
    swept = restored.run("fsck", "--sweep")
    assert swept.code == 1
    assert "refused: the catalog is a restored backup" in swept.out
    early = restored.run("fsck", "--sweep", "--confirm")
    assert early.code == 1
    assert "fsck --repair" in early.err
    assert restored.objects() == before
    assert _recovering(restored)


def test_repair_adopts_and_a_confirmed_sweep_ends_it(restored: CommandLine) -> None:
    dry = restored.run("fsck", "--repair", "--dry-run")
    assert "would be: 2 adopted" in dry.out
    assert restored.get("over") == b"before"
    told = restored.ok("fsck", "--repair").out.splitlines()
    assert told[0].startswith("adopted       over  it is newer than the catalog's record; before it was ")
    assert "4 objects listed, 0 unknown, 8 B read: 2 adopted" in told  # what the dry run noted is known by now
    assert told[-1].endswith("then: thermocline fsck --sweep --confirm")
    assert (restored.get("kept"), restored.get("over"), restored.get("new")) == (b"before", b"after", b"new")
    again = restored.ok("fsck", "--repair", "--json").json_lines()
    assert [line["kind"] for line in again] == ["adoption", "adoption_summary", "finding", "repair", "recovery"]
    assert (again[0]["fate"], again[0]["content_id"]) == ("left", "over")
    restored.run("fsck", "--sweep", "--confirm")
    assert not _recovering(restored)
    assert "restored backup" not in restored.run("fsck").out
    assert len(restored.objects()) == 4


def test_repair_tells_each_adoption_as_json(restored: CommandLine) -> None:
    lines = restored.ok("fsck", "--repair", "--json").json_lines()
    adopted = {line["content_id"]: line for line in lines if line["kind"] == "adoption"}
    assert {name: line["fate"] for name, line in adopted.items()} == {"over": "adopted", "new": "adopted"}
    assert set(adopted["new"]) == {"kind", "fate", "content_id", "object_key", "detail", "replaced", "unproven"}
    (summary,) = [line for line in lines if line["kind"] == "adoption_summary"]
    assert (summary["listed"], summary["unknown"], summary["fates"]) == (4, 2, {"adopted": 2})


def test_repair_answers_1_while_something_needs_a_look(restored: CommandLine) -> None:
    _lose_object(restored, "kept")
    key = [line["object_key"] for line in _orphans(restored) if line["content_id"] == "new"]
    path = _files(restored, "new", key[0])
    path.chmod(0o600)
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    outcome = restored.run("fsck", "--repair")
    assert outcome.code == 1
    assert "contradicted  new  " in outcome.out
    assert "not mended    kept  " in outcome.out
    assert "0 of 1 broken contents mended" in outcome.out


def _orphans(cli: CommandLine) -> list[Any]:
    return [line for line in cli.run("fsck", "--json").json_lines() if line.get("damage") == "orphan"]


def test_repair_mends_in_the_normal_state_and_adopts_nothing(cli: CommandLine) -> None:
    cli.put("a", b"x" * 5000)
    cli.put("b", b"b")
    kept = cli.data.parent / "kept"
    # Another object with the same bytes, as a move leaves one: here that of an overwrite with equal bytes.
    old = _key(cli, "a")
    cli.put("a", b"x" * 5000)
    shutil.move(_files(cli, "a", _key(cli, "a")), kept)
    assert cli.run("get", "a").code == 1
    dry = cli.run("fsck", "--repair", "--dry-run", "--json")
    assert dry.code == 1
    assert dry.json_lines()[-1]["unmended"] == 1
    told = cli.ok("fsck", "--repair").out
    assert "missing       a  " in told
    assert f"mended        a  copied the same bytes from {old!r}" in told
    assert told.endswith("1 of 1 broken contents mended\n")
    assert cli.get("a") == b"x" * 5000
    assert cli.ok("fsck", "--repair", "--quick", "--json").json_lines() == [
        {"kind": "repair", "contents": 2, "objects": 3, "broken": 0, "unmended": 0, "revived": 0, "unnamed": 0}
    ]


def test_repair_tries_dead_letters_again(cli: CommandLine) -> None:
    cli.put("a", b"x")
    cli.ok("rm", "a")
    with closing(sqlite3.connect(cli.data / "catalog.db", isolation_level=None)) as raw:
        raw.execute("UPDATE outbox SET dead = 1")
        (count,) = raw.execute("SELECT count(*) FROM outbox").fetchone()
    assert "dead_letter" in cli.run("fsck").out
    assert cli.run("fsck", "--repair", "--dry-run").code == 1
    assert f"{count} failed pieces of work are tried again" in cli.ok("fsck", "--repair").out
    assert cli.ok("fsck").out.endswith("nothing is wrong\n")


@pytest.mark.thorough
def test_rebuild_makes_the_catalog_from_the_stores_alone(cli: CommandLine) -> None:
    for number in range(5):
        cli.put(f"c/{number}", bytes([number]) * 1000, "--tier", "cold", "--type", "image/png")
    for path in cli.data.glob("catalog.db*"):
        path.unlink()
    lost = cli.run("ls")
    assert lost.code == 1
    assert "fsck --rebuild-catalog" in lost.err
    assert "backup --restore FILE" in lost.err
    lines = cli.ok("fsck", "--rebuild-catalog", "--json").json_lines()
    assert [line["kind"] for line in lines] == [
        "rebuild", *["adoption"] * 5, "adoption_summary", "repair", "recovery",
    ]  # fmt: skip
    for number in range(5):
        assert cli.get(f"c/{number}") == bytes([number]) * 1000
        shown = cli.ok("stat", f"c/{number}", "--json").json()
        assert (shown["tier"], shown["content_type"], shown["unproven"]) == ("cold", "image/png", False)
    refused = cli.run("fsck", "--rebuild-catalog")
    assert refused.code == 1
    assert "knows 5 contents" in refused.err
    assert "move it away" in refused.err


def test_there_is_nothing_to_rebuild_from(cli: CommandLine) -> None:
    outcome = cli.run("fsck", "--rebuild-catalog")
    assert outcome.code == 1
    assert "no object store belongs to an installation yet" in outcome.err
    assert not cli.data.exists()


@pytest.mark.parametrize(
    "arguments",
    [("--repair", "--sweep"), ("--rebuild-catalog", "--sweep", "--confirm"), ("--rebuild-catalog", "--dry-run")],
)
def test_what_does_not_go_together_is_refused(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    outcome: Outcome = cli.run("fsck", *arguments, "--json")
    assert outcome.code == 2
    assert json.loads(outcome.err)["error"] == "usage"
