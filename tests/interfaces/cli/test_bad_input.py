"""Whatever is wrong: one line that says what to do, the right exit code, never a traceback."""

import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine, command, run_process

pytestmark = pytest.mark.thorough

BAD_IDS = ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\nb", "a\x1b[2J", "a\x7f", "a\x85", "é" * 451]


def _one_line(text: str) -> None:
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text


@pytest.mark.parametrize("content_id", [*BAD_IDS, "x" * 901, "a\udcffb"])
@pytest.mark.parametrize("arguments", [["stat"], ["get", "-o", "out"], ["rm"], ["put", "source"]])
def test_bad_ids(cli: CommandLine, arguments: list[str], content_id: str) -> None:
    Path("source").write_bytes(b"x")
    outcome = cli.run(*arguments, content_id)
    assert outcome.code == 2
    for line in outcome.err.splitlines():
        assert line.startswith("error: ")
        assert "\x1b" not in line
    assert not Path("out").exists()


@pytest.mark.parametrize("content_id", [*BAD_IDS, "x" * 901, "a\udcffb"])
def test_a_bad_id_is_a_usage_error_that_names_the_rule(cli: CommandLine, content_id: str) -> None:
    outcome = cli.run("stat", content_id)
    assert outcome.code == 2
    _one_line(outcome.err)
    assert "a content id must " in outcome.err
    assert cli.run("stat", content_id, "--json").error()["error"] == "invalid-content-id"
    assert cli.run("ls", "a\nb").code == 2


def test_the_longest_id_is_fine(cli: CommandLine) -> None:
    for content_id in ("x" * 900, "é" * 450, "/".join("a" * 450), " ", "-", "a\u202eb", "%2e%2e", "CON", "a" + "\\"):
        source = Path("source")
        source.write_bytes(b"x")
        cli.ok("put", "source", content_id)
        assert cli.ok("ls", content_id[:200]).out.splitlines()[0].startswith(content_id[:200])


@pytest.mark.server
def test_an_id_that_is_not_utf8(tmp_path: Path) -> None:
    done = run_process(tmp_path / "data", "stat", b"a\xff\xfe")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: a content id must be valid UTF-8")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Missing command"),
        (["nonsense"], "No such command 'nonsense'"),
        (["stta"], "Did you mean 'stat'"),
        (["stat"], "Missing argument"),
        (["stat", "a", "b"], "unexpected extra argument"),
        (["stat", "a", "--nonsense"], "No such option"),
        (["ls", "--limit", "0"], "--limit"),
        (["ls", "--limit", "x"], "valid integer"),
        (["ls", "--tier", "tepid"], "tepid"),
        (["serve", "--port", "99999"], "--port"),
        (["put", "source", "a", "--expires-in", "soon"], "not a duration"),
        (["put", "source", "a", "--expires-in", "0s"], "longer than nothing"),
        (["put", "source", "a", "--metadata", "x"], "has no key"),
        (["put", "source", "a", "--metadata", "{x"], "is not JSON"),
        (["put", "source", "a", "--sha256", "12"], "not a SHA-256 digest"),
        (["put", "source", "a", "--type", "no type"], "not a content type"),
        (["put", "source", "a", "--cache-control", "a\nb"], "printable ASCII"),
        (["put", "source", "a", "--if-match", 'x"y'], "not a list of entity tags"),
        (["put", "source", "a", "--metadata", "k=" + "x" * 20_000], "at most 16384 bytes"),
        (["token", "create", "--scope", "fly"], "read, write and admin"),
        (["token", "create", "--scope", ","], "at least one scope"),
        (["token", "create", "--prefix", "a\nb"], "control characters"),
        (["token", "create", "--expires", "-1d"], "-1d"),
        (["fsck", "--confirm"], "add --sweep"),
        (["config", "--preset", "nonsense"], "the presets are"),
    ],
)
def test_wrong_command_lines(cli: CommandLine, arguments: list[str], part: str) -> None:
    Path("source").write_bytes(b"x")
    outcome = cli.run(*arguments)
    assert outcome.code == 2, outcome
    _one_line(outcome.err)
    assert part.lower() in outcome.err.lower()
    told = cli.run(*arguments, "--json")
    assert told.code == 2
    assert {"error", "message", "exit_code"} <= set(told.error())
    assert told.out == ""


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("gone", "No such file"),
        (".", "is a folder"),
        ("gone/deeper", "No such file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_sources_that_cannot_be_read(cli: CommandLine, source: str, part: str) -> None:
    outcome = cli.run("put", source, "a")
    assert outcome.code == 1
    _one_line(outcome.err)
    assert part in outcome.err
    assert cli.objects() == []


@pytest.mark.parametrize("target", [".", "gone/file", "file/below", "x" * 300])
def test_targets_that_cannot_be_written(cli: CommandLine, target: str) -> None:
    Path("file").write_text("")
    cli.put("a", b"x")
    outcome = cli.run("get", "a", "-o", target)
    assert outcome.code == 1
    _one_line(outcome.err)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("porto = 1", "porto: there is no such setting; 'thermocline config' prints all of them"),
        ("[http", "not valid TOML"),
        ("[limits]\nmemory = 'lots'", "limits.memory"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [["ls"], ["doctor"], ["serve", "--port", "0"], ["migrate"], ["config", "--effective"]]
)
def test_wrong_settings(cli: CommandLine, arguments: list[str], text: str, part: str) -> None:
    Path("thermocline.toml").write_text(text)
    outcome = cli.run(*arguments)
    assert outcome.code == 1
    _one_line(outcome.err)
    assert part in outcome.err


def test_a_settings_file_that_is_not_there(cli: CommandLine) -> None:
    outcome = cli.run("ls", "--config", "gone.toml")
    assert (outcome.code, outcome.err) == (1, "error: there is no settings file 'gone.toml'\n")


COMMANDS = [["ls"], ["stat", "a"], ["put", "source", "a"], ["fsck"], ["token", "list"], ["rm", "a"], ["migrate"]]


def _refused(cli: CommandLine, arguments: list[str], *parts: str) -> None:
    Path("source").write_bytes(b"x")
    outcome = cli.run(*arguments)
    assert outcome.code == 1, outcome
    _one_line(outcome.err)
    assert "bug" not in outcome.err
    for part in parts:
        assert part in outcome.err
    examined = cli.run("doctor")
    assert examined.code == 1
    assert "fail " in examined.out
    assert "->" in examined.out


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_catalog_that_is_no_database(cli: CommandLine, arguments: list[str]) -> None:
    cli.data.mkdir()
    (cli.data / "catalog.db").write_bytes(b"this is not a database at all, not even nearly" * 100)
    _refused(cli, arguments, "catalog.db")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_catalog_of_something_else(cli: CommandLine, arguments: list[str]) -> None:
    cli.data.mkdir()
    with sqlite3.connect(cli.data / "catalog.db") as database:
        database.execute("CREATE TABLE cooking (recipe TEXT)")
    database.close()
    _refused(cli, arguments, "not a catalog")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_catalog_of_a_newer_version(cli: CommandLine, arguments: list[str]) -> None:
    cli.put("a", b"x")
    with sqlite3.connect(cli.data / "catalog.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    _refused(cli, arguments, "9999", "newer")
    assert cli.run("stat", "a", "--json").error()["error"] == "catalog-version"


@pytest.mark.parametrize("arguments", COMMANDS[:-1])
def test_an_object_store_of_another_installation(cli: CommandLine, arguments: list[str]) -> None:
    cli.put("a", b"x")
    (cli.data / "objects" / ".installation").chmod(0o600)
    (cli.data / "objects" / ".installation").write_text("0123456789abcdef")
    _refused(cli, arguments, "belongs to installation")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_data_folder_that_is_a_file(cli: CommandLine, arguments: list[str]) -> None:
    cli.data.write_text("a file")
    _refused(cli, arguments, str(cli.data))
    assert cli.data.read_text() == "a file"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_data_folder_below_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (tmp_path / "file").write_text("")
    _refused(CommandLine(tmp_path / "file" / "data", capfd), arguments)


@pytest.mark.server
def test_a_full_disk(small_disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cli = CommandLine(small_disk / "data", capfd)
    Path("source").write_bytes(os.urandom(3 * 2**20))
    Path("little").write_bytes(b"kept")
    cli.ok("put", "little", "kept")

    outcome = cli.run("put", "source", "a")

    assert outcome.code == 1
    _one_line(outcome.err)
    assert "bug" not in outcome.err
    assert cli.run("stat", "a").code == 3
    assert cli.ok("get", "kept").out == "kept"
    assert "fail   data folder" in cli.run("doctor").out
    assert cli.run("get", "kept", "-o", str(small_disk / "copy")).code in {0, 1}
    (small_disk / "filler").write_bytes(b"")
    assert cli.run("fsck").code == 0


@pytest.mark.server
def test_a_target_on_a_full_disk_is_not_left_half(small_disk: Path, cli: CommandLine) -> None:
    cli.put("a", os.urandom(4 * 2**20))
    outcome = cli.run("get", "a", "-o", str(small_disk / "copy"))
    assert outcome.code == 1
    assert outcome.err.endswith("cannot be written: No space left on device\n")
    assert list(small_disk.iterdir()) == []


@pytest.mark.server
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_read_only_data_folder(small_disk: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    cli = CommandLine(small_disk / "data", capfd)
    Path("source").write_bytes(b"x")
    cli.ok("put", "source", "a")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    outcome = cli.run(*arguments)
    if outcome.code:
        _one_line(outcome.err)
        assert "bug" not in outcome.err
    if arguments[0] in {"put", "rm"}:
        assert outcome.code == 1
    examined = cli.run("doctor")
    assert examined.code == 1
    assert "Read-only file system" in examined.out


@pytest.mark.parametrize("where", ["source", "target"])
def test_a_file_without_the_right(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    # Root ignores permission bits, so the refusal is injected where the system would refuse.
    cli.put("a", b"x")
    real = os.open

    def refusing(path: str | Path, flags: int, mode: int = 0o777, **options: int) -> int:
        wanted = "source" if where == "source" else ".part"
        if str(path).endswith(wanted):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", refusing)
    arguments = ["put", "source", "b"] if where == "source" else ["get", "a", "-o", "copy"]
    outcome = cli.run(*arguments)
    assert outcome.code == 1
    _one_line(outcome.err)
    assert "Permission denied" in outcome.err


def test_a_bug_is_one_line_that_says_how_to_report_it(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("thermocline.orchestrator.StorageOrchestrator.stat", broken)
    outcome = cli.run("stat", "a")
    assert outcome.code == 1
    _one_line(outcome.err)
    assert "unexpected ZeroDivisionError: two lines (this is a bug" in outcome.err
    assert cli.run("stat", "a", "--json").error()["exit_code"] == 1


@pytest.mark.server
def test_a_traceback_is_shown_on_request(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, "stat", "a"),
        env=os.environ | {"THERMOCLINE_TRACEBACK": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert b"Traceback" in done.stderr
