"""`put`, `get`, `stat`, `ls`, `rm`: what they do, print and answer."""

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.interfaces.cli import sinks
from thermocline.wiring.settings import Settings

PART = 4 * 2**20
RECORD_KEYS = {
    "content_id", "revision", "version", "etag", "size", "sha256", "content_type", "cache_control",
    "content_disposition", "metadata", "tier", "tier_since", "placement", "object_key", "visibility", "created_at",
    "modified_at", "expires_at", "held", "pinned", "unproven",
}  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 100, PART, PART + 1, 2 * PART + 5])
def test_what_was_put_comes_back(cli: CommandLine, size: int) -> None:
    data = os.urandom(size)
    receipt = cli.put("a/b c/ü.bin", data)
    assert receipt["size"] == size
    assert receipt["created"] is True
    assert cli.get("a/b c/ü.bin") == data
    record = cli.ok("stat", "a/b c/ü.bin", "--json").json()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert set(record) == RECORD_KEYS | {"access"}


def test_a_receipt_has_the_documented_shape(cli: CommandLine) -> None:
    receipt = cli.put("a", b"x")
    assert set(receipt) == {
        "content_id", "revision", "version", "object_key", "etag", "size", "tier", "created",
    }  # fmt: skip


def test_everything_that_can_be_said_of_a_content(cli: CommandLine) -> None:
    cli.put(
        "report.pdf", b"%PDF", "--tier", "cold", "--visibility", "public", "--expires-in", "7d",
        "--metadata", "album=pets", "-m", "note=a=b", "--metadata", '{"n": 1, "album": "cats"}',
        "--cache-control", "max-age=60", "--content-disposition", "attachment",
    )  # fmt: skip
    record = cli.ok("stat", "report.pdf", "--json").json()
    assert record["tier"] == "cold"
    assert record["visibility"] == "public"
    assert record["metadata"] == {"album": "cats", "note": "a=b", "n": 1}
    assert record["content_type"] == "application/pdf"
    assert (record["cache_control"], record["content_disposition"]) == ("max-age=60", "attachment")
    assert record["expires_at"] > record["created_at"]
    shown = cli.ok("stat", "report.pdf").out
    assert '{"album": "cats", "note": "a=b", "n": 1}' in shown


@pytest.mark.parametrize(
    ("content_id", "content_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.tar.gz", "application/gzip"),
        ("dir.txt/plain", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_the_type_is_guessed_from_the_name(cli: CommandLine, content_id: str, content_type: str) -> None:
    cli.put(content_id, b"x")
    assert cli.ok("stat", content_id, "--json").json()["content_type"] == content_type
    cli.put(content_id, b"x", "--type", "text/x-own")
    assert cli.ok("stat", content_id, "--json").json()["content_type"] == "text/x-own"


def test_conditions(cli: CommandLine) -> None:
    first = cli.put("a", b"1", "--if-none-match", "*")
    source = str(cli.data.parent / "source")
    refused = cli.run("put", source, "a", "--if-none-match", "*", "--json")
    assert (refused.code, refused.error()["error"]) == (1, "precondition-failed")
    assert refused.error()["current_etag"] == first["etag"]
    # Shells eat the quotes of an entity tag, so they may be missing.
    second = cli.put("a", b"2", "--if-match", first["etag"].strip('"'))
    assert cli.run("put", source, "a", "--if-match", first["etag"]).code == 1
    cli.put("a", b"3", "--if-match", second["etag"])
    assert cli.get("a") == b"3"


def test_a_digest_is_verified(cli: CommandLine) -> None:
    cli.put("a", b"x", "--sha256", hashlib.sha256(b"x").hexdigest().upper())
    wrong = cli.run("put", str(cli.data.parent / "source"), "b", "--sha256", hashlib.sha256(b"y").hexdigest())
    assert wrong.code == 1
    assert wrong.err.startswith("error: the bytes received have SHA-256 ")
    assert cli.run("stat", "b").code == 3
    assert len(cli.objects()) == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("0-0", b"0"), ("2-4", b"234"), ("7-", b"789"), ("-3", b"789"), ("bytes=0-1", b"01"), ("5-100", b"56789")],
)
def test_ranges(cli: CommandLine, wanted: str, expected: bytes) -> None:
    cli.put("a", b"0123456789")
    target = cli.data.parent / "part"
    cli.ok("get", "a", "--range", wanted, "-o", str(target))
    assert target.read_bytes() == expected


@pytest.mark.parametrize(
    ("wanted", "code"), [("10-", 1), ("-", 2), ("3-2", 2), ("x", 2), ("1", 2), ("-0", 1), ("\u0661-\u0662", 2)]
)
def test_ranges_that_cannot_be(cli: CommandLine, wanted: str, code: int) -> None:
    cli.put("a", b"0123456789")
    target = cli.data.parent / "part"
    assert cli.run("get", "a", "--range", wanted, "-o", str(target)).code == code
    assert not target.exists()


def test_standard_output_is_the_default(cli: CommandLine) -> None:
    cli.put("a", b"text\n")
    assert cli.ok("get", "a").out == "text\n"
    assert cli.ok("get", "a", "-o", "-").out == "text\n"
    assert cli.run("get", "a", "--json").code == 2


def test_get_never_replaces_a_file_unasked(cli: CommandLine) -> None:
    cli.put("a", b"new")
    target = cli.data.parent / "file"
    target.write_text("old")
    target.chmod(0o640)
    refused = cli.run("get", "a", "-o", str(target))
    assert refused.code == 1
    assert refused.err == f"error: {str(target)!r} exists (add --force to replace it)\n"
    assert target.read_text() == "old"
    shown = cli.ok("get", "a", "-o", str(target), "--force", "--json").json()
    assert set(shown) == {"content_id", "path", "size", "etag"}
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_get_never_replaces_a_file_that_came_meanwhile(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.put("a", b"new")
    target = cli.data.parent / "file"
    real = sinks._write_all

    def late(descriptor: int, piece: bytes) -> None:
        target.write_text("somebody else's")
        real(descriptor, piece)

    monkeypatch.setattr(sinks, "_write_all", late)
    assert cli.run("get", "a", "-o", str(target)).code == 1
    assert target.read_text() == "somebody else's"
    assert not list(cli.data.parent.glob(".thermocline-*"))


def test_get_replaces_what_a_link_names_and_keeps_the_link(cli: CommandLine) -> None:
    cli.put("a", b"new")
    (cli.data.parent / "file").write_text("old")
    link = cli.data.parent / "link"
    link.symlink_to("file")
    cli.ok("get", "a", "-o", str(link), "--force")
    assert link.is_symlink()
    assert (cli.data.parent / "file").read_text() == "new"


def test_get_writes_to_a_device_as_it_is(cli: CommandLine) -> None:
    cli.put("a", b"x")
    cli.ok("get", "a", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()
    full = cli.run("get", "a", "-o", "/dev/full")
    assert (full.code, full.err) == (1, "error: '/dev/full' cannot be written: No space left on device\n")


def test_get_leaves_no_file_when_it_fails(cli: CommandLine) -> None:
    cli.put("a", os.urandom(3 * PART), "--tier", "cold")
    (path,) = cli.objects()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(2 * PART + 7)
        file.write(b"damage")
    folder = cli.data.parent / "out"
    folder.mkdir()
    failed = cli.run("get", "a", "-o", str(folder / "file"), "--json")
    assert (failed.code, failed.error()["error"]) == (1, "content-corrupted")
    assert list(folder.iterdir()) == []


def test_what_is_missing_is_code_3(cli: CommandLine) -> None:
    for arguments in (["get", "x", "-o", "out"], ["stat", "x"], ["get", "x"]):
        outcome = cli.run(*arguments)
        assert outcome.code == 3
        assert outcome.err == "error: there is no content 'x' ('thermocline ls' lists what there is)\n"
        assert outcome.out == ""
    assert not Path("out").exists()
    told = cli.run("stat", "x", "--json").error()
    assert told == {
        "error": "content-not-found",
        "message": "there is no content 'x'",
        "hint": "'thermocline ls' lists what there is",
        "exit_code": 3,
        "retryable": False,
        "content_id": "x",
    }


def test_ls(cli: CommandLine) -> None:
    for content_id in ("b", "a/2", "a/1", "a", "Ä"):
        cli.put(content_id, content_id.encode(), *(("--tier", "cold") if content_id == "b" else ()))
    assert cli.ok("ls").out == "a\na/1\na/2\nb\nÄ\n"
    assert cli.ok("ls", "a/").out == "a/1\na/2\n"
    assert cli.ok("ls", "--tier", "cold").out == "b\n"
    assert cli.ok("ls", "--limit", "2").out == "a\na/1\n"
    assert cli.ok("ls", "nothing").out == ""
    long = cli.ok("ls", "--long", "b").out
    assert long.split()[:3] == ["1", "B", "cold"]
    assert long.endswith("  b\n")
    records = cli.ok("ls", "--json").json_lines()
    assert [record["content_id"] for record in records] == ["a", "a/1", "a/2", "b", "Ä"]
    assert all(set(record) == RECORD_KEYS for record in records)


def test_ls_goes_through_every_page(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thermocline.interfaces.cli.commands.listing.PAGE", 3)
    for number in range(7):
        cli.put(f"c/{number}", b"x")
    expected = [f"c/{number}" for number in range(7)]
    assert cli.ok("ls").out.split() == expected
    for limit in range(1, 9):
        assert cli.ok("ls", "--limit", str(limit)).out.split() == expected[:limit]


def test_rm(cli: CommandLine) -> None:
    for content_id in ("a", "b", "c", "d"):
        cli.put(content_id, b"x")
    assert cli.ok("rm", "a").out == "deleted a\n"
    assert cli.ok("rm", "a").out == "a: there was nothing to delete\n"
    assert cli.ok("rm", "b", "nothing", "--dry-run").out == (
        "would delete b (1 B)\nnothing: there was nothing to delete\n"
    )
    assert cli.ok("rm", "b", "c", "nothing", "--json").json_lines() == [
        {"content_id": "b", "deleted": True},
        {"content_id": "c", "deleted": True},
        {"content_id": "nothing", "deleted": False},
    ]
    assert cli.ok("ls").out == "d\n"


def test_rm_erases_the_bytes_at_once(cli: CommandLine) -> None:
    cli.put("a", b"x")
    assert len(cli.objects()) == 1
    assert cli.ok("rm", "--erase", "a").out == "erased a\n"
    assert cli.objects() == []


def test_rm_goes_on_after_a_failure_and_says_so(cli: CommandLine) -> None:
    cli.put("a", b"x")
    cli.put("b", b"x")
    outcome = cli.run("rm", "a", "../x", "b")
    assert (outcome.code, outcome.out) == (1, "deleted a\ndeleted b\n")
    assert outcome.err.startswith("error: a content id must not have a '.' or '..' segment")
    assert cli.run("rm", "../x").code == 2


def test_an_expired_content_is_gone(cli: CommandLine) -> None:
    cli.put("a", b"x", "--expires-in", "1ms")
    assert cli.run("stat", "a").code == 3


def test_options_stand_before_or_after_the_command(cli: CommandLine, tmp_path: Path) -> None:
    cli.put("a", b"x")
    other = str(tmp_path / "other")
    assert cli.run("--data", other, "--json", "stat", "a").json()["content_id"] == "a"  # the later one wins
    config = tmp_path / "some.toml"
    config.write_text("[http]\nport = 7\n")
    for arguments in (
        ["--config", str(config), "config", "--effective"],
        ["config", "--effective", "--config", str(config)],
    ):
        assert "\nport = 7\n" in cli.ok(*arguments).out


def test_content_written_by_one_command_is_seen_by_the_next_at_once(cli: CommandLine) -> None:
    for turn in range(5):
        cli.put("a", str(turn).encode())
        assert cli.get("a") == str(turn).encode()
    assert json.loads(cli.ok("stat", "a", "--json").out)["size"] == 1


@pytest.fixture
def busy_catalog(cli: CommandLine) -> Iterator[None]:
    """Another process is in the middle of a write that does not end."""
    cli.put("a", b"x")
    with contextlib.closing(sqlite3.connect(cli.data / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.usefixtures("busy_catalog")
@pytest.mark.parametrize("arguments", [["stat", "a"], ["get", "a"], ["ls"], ["fsck"], ["token", "list"], ["doctor"]])
def test_reading_does_not_wait_for_writers(cli: CommandLine, arguments: list[str]) -> None:
    began = time.monotonic()
    cli.ok(*arguments)
    assert time.monotonic() - began < Settings().catalog.busy_timeout / 2


@pytest.mark.usefixtures("busy_catalog")
def test_writing_waits_a_bounded_time(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_CATALOG__BUSY_TIMEOUT", "100ms")
    for arguments in (["put", "source", "b"], ["rm", "a"], ["token", "create"]):
        refused = cli.run(*arguments, "--json")
        assert refused.code == 1
        assert (refused.error()["exit_code"], refused.error()["retryable"]) == (1, True)
    assert cli.get("a") == b"x"
    assert len(cli.objects()) == 1  # refused before a byte was sent
