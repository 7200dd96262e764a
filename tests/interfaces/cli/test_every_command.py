"""Every command, at a terminal and in a pipe: it runs, its JSON parses, a pipe gets text only, Ctrl-C ends it.

A command without a row in the tables fails here.
"""

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import inventories
from tests.interfaces.cli.commandline import CommandLine, command, run_process
from tests.interfaces.cli.terminals import ESCAPE, at_terminal, without_bar
from tests.interfaces.cli.test_processes import INTERRUPTED, PATIENCE_SECONDS, _until
from tests.interfaces.cli.test_reference import COMMANDS

pytestmark = pytest.mark.server

MIB = 2**20
MANY = 400
SETTINGS = """
[placements.standard]
objects = "main"
[placements.infrequent]
objects = "main"
storage_class = "STANDARD_IA"
[placements.archive]
objects = "main"
storage_class = "ARCHIVE"
[placements.archive.restore.standard]
delay = "1h"
[tiers.cold]
placement = "infrequent"
"""


@dataclass(frozen=True)
class Row:
    """How one command is tried."""

    arguments: str
    """After the command's name. `{data}`, `{tree}` and `{out}` are folders, `{out}` is not there yet."""
    code: int = 0
    lines: bool = False
    """Whether its JSON is any number of objects, one a line; else it is exactly one."""
    notes: bool = False
    """Whether it tells people, not programs, more on standard error."""


TABLE = {
    "put": Row("{tree}/file new"),
    "get": Row("a -o {out}"),
    "stat": Row("a"),
    "ls": Row("--long", lines=True),
    "rm": Row("a b", lines=True),
    "change": Row("a --hold --pin"),
    "tier": Row("a cold"),
    "optimize": Row(""),
    "explain": Row("a"),
    "restore": Row("archived --days 1"),
    "invalidate": Row("p/*"),
    "warm": Row("{tree}/../predictions.csv --dry-run"),
    "simulate": Row("{tree}/../trace.csv"),
    "plan": Row("s3://media --inventory {tree}/../inventory --logs {tree}/../trace.csv"),
    "stats": Row(""),
    "import": Row("{tree}"),
    "export": Row("{out} --prefix p"),
    "fsck": Row("", lines=True),
    "backup": Row("{out}"),
    "doctor": Row(""),
    "migrate": Row(""),
    "config": Row(""),
    "worker": Row("--once", lines=True),
    "token create": Row("--scope read", notes=True),
    "token list": Row("", lines=True),
    "token revoke": Row("000000000000", code=3),
}
MORE = {
    "get --wait": Row("archived --wait 100ms -o {out}", code=4),
    "tier --prefix": Row("--prefix b cold"),
    "tier --dry-run": Row("--prefix b cold --dry-run", lines=True),
    "restore --status": Row("archived --status"),
    "rm --prefix": Row("--prefix b --yes"),
    "rm --erase": Row("a --erase", lines=True),
    "simulate --timeline": Row("{tree}/../trace.csv --prices r2 --split 0 --timeline {out}"),
    "simulate --report": Row("{tree}/../trace.csv --report {out}"),
    "plan without logs": Row("s3://media --inventory {tree}/../inventory"),
    "stats work": Row("work"),
    "stats cache": Row("cache"),
    "stats savings": Row("savings"),
    "optimize --dry-run": Row("--dry-run --prefix p --limit 1"),
    "invalidate --dry-run": Row("'*' --everything --dry-run"),
    "fsck --sweep": Row("--sweep --dry-run", lines=True),
    "migrate --check": Row("--check"),
}
LONG = {"serve"}
"""Runs until it is asked to end: see below."""


def test_every_command_has_a_row() -> None:
    assert set(TABLE) | LONG == set(COMMANDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some contents, to be copied, and the settings and files that go with it."""
    home = tmp_path_factory.mktemp("made")
    (home / "thermocline.toml").write_text(SETTINGS)
    (home / "tree").mkdir()
    (home / "tree" / "file").write_bytes(b"a file")
    (home / "predictions.csv").write_text("content_id,access_probability\na,0.9\nnone,0.8\n")
    (home / "trace.csv").write_text(
        "ts,obj,size\n" + "".join(f"{day * 86_400},o{day % 7},1000000\n" for day in range(90))
    )
    inventories.write_inventory(
        home / "inventory", [inventories.Row(f"o{number}", 1_000_000, 0) for number in range(7)]
    )
    for name, tier in (("a", "hot"), ("b", "hot"), ("p/c", "hot"), ("archived", "archive")):
        run_process(
            home / "data", "put", "-", name, "--tier", tier, "--config", str(home / "thermocline.toml"), stdin=b"x"
        )
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of all that, the present folder."""
    # The paths inside are not absolute, so a copy is an installation like the first.
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _filled(row: Row, home: Path) -> list[str]:
    return [part.format(data=home / "data", tree=home / "tree", out=home / "out") for part in row.arguments.split()]


def _words(name: str) -> list[str]:
    return name.split() if name in TABLE else name.split()[:1]


def _check_json(row: Row, out: str) -> None:
    objects = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(each, dict) for each in objects)
    if row.code == 0 and not row.lines:
        assert len(objects) == 1, out


@pytest.mark.parametrize("name", [*TABLE, *MORE])
def test_in_a_pipe(home: Path, name: str) -> None:
    row = {**TABLE, **MORE}[name]
    plain = run_process(home / "data", *_words(name), *_filled(row, home))
    assert plain.returncode == row.code, plain
    assert ESCAPE not in plain.stdout + plain.stderr
    assert b"\r" not in plain.stdout + plain.stderr
    assert bool(plain.stderr) == bool(row.code or row.notes), plain.stderr
    plain.stdout.decode()


@pytest.mark.parametrize("name", [*TABLE, *MORE])
def test_json_in_a_pipe(home: Path, name: str) -> None:
    row = {**TABLE, **MORE}[name]
    done = run_process(home / "data", *_words(name), *_filled(row, home), "--json")
    assert done.returncode == row.code, done
    assert done.stdout.isascii()
    assert ESCAPE not in done.stdout + done.stderr
    _check_json(row, done.stdout.decode())
    if row.code:
        assert json.loads(done.stderr)["exit_code"] == row.code
    else:
        assert done.stderr == b""


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("name", TABLE)
def test_at_a_terminal(home: Path, name: str, as_json: bool) -> None:
    row = {**TABLE, **MORE}[name]
    with at_terminal(home, *_words(name), *_filled(row, home), *(["--json"] if as_json else [])) as terminal:
        shown = terminal.shown()
        assert terminal.ended() == row.code, shown
    assert "Traceback" not in shown
    if as_json and row.code == 0:
        # A bar may have been there and gone; what stays are the lines.
        lines = without_bar(shown).splitlines()
        _check_json(row, "\n".join(line for line in lines if line.strip() and "\u2501" not in line))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_option_is_refused_before_anything_is_done(cli: CommandLine, name: str) -> None:
    for arguments in (["--nonsense"], ["--json=perhaps"], ["--nonsense", "x"]):
        outcome = cli.run(*name.split(), *arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        told = cli.run("--json", *name.split(), *arguments).error()
        assert (told["error"], told["exit_code"]) == ("usage", 2)
    assert not cli.data.exists()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def _count(home: Path, what: str) -> int:
    with contextlib.closing(sqlite3.connect(home / "data" / "catalog.db")) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {what}").fetchone()  # noqa: S608 - a test's own words
    return int(count)


@pytest.fixture
def many(home: Path) -> Path:
    for number in range(MANY):
        (home / "tree" / f"{number:03}").write_bytes(str(number).encode())
    done = run_process(home / "data", "import", str(home / "tree"), "--prefix", "m/", "--tier", "hot", "--json")
    assert json.loads(done.stdout)["copied"] == MANY + 1
    return home


@pytest.mark.parametrize("way", ["terminal", "pipe"])
def test_ctrl_c_while_many_are_moved(many: Path, way: str) -> None:
    """What is moved is moved, the rest is not touched, and the same command goes on."""
    arguments = ["tier", "--prefix", "m/", "cold"]
    if way == "terminal":
        with at_terminal(many, *arguments) as terminal:
            shown = terminal.shown(until=lambda: _count(many, "ledger") > 20 and "move to cold" in terminal.seen)
            assert ESCAPE.decode() in shown, "a bar"
            terminal.press_ctrl_c()
            told = without_bar(terminal.shown())
            assert terminal.ended() == INTERRUPTED
    else:
        process = subprocess.Popen(
            command(many / "data", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=many
        )
        _until(lambda: _count(many, "ledger") > 20, "it is under way")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out) == (INTERRUPTED, b"")
        told = err.decode()
        assert ESCAPE not in err
    moved = _count(many, "ledger")
    assert 20 < moved <= MANY
    assert re.search(r"error: interrupted: \d+ contents are moved; the same command goes on from here", told)
    assert int(re.findall(r"(\d+) contents are moved", told)[0]) in {moved, moved - 1}
    assert _count(many, "moves") <= 1
    done = run_process(many / "data", *arguments, "--json")
    counts = json.loads(done.stdout)
    # The one that was being moved may stay claimed by who was interrupted, until that claim ends.
    assert counts["planned"] <= 1
    assert (counts["unchanged"], counts["done"] + counts["planned"], counts["failed"]) == (moved, MANY + 1 - moved, 0)
    assert run_process(many / "data", "get", "m/399").stdout == b"399"


@pytest.mark.parametrize("way", ["terminal", "pipe"])
@pytest.mark.parametrize("name", ["restore", "get"])
def test_ctrl_c_while_a_restore_is_waited_for(home: Path, name: str, way: str) -> None:
    """The restore goes on; there is no half file."""
    target = ["-o", str(home / "out")] if name == "get" else []
    arguments = [name, "archived", "--wait", "30m", *target]
    if way == "terminal":
        with at_terminal(home, *arguments) as terminal:
            assert "restore archived" in without_bar(terminal.shown(until=lambda: "restore archived" in terminal.seen))
            terminal.press_ctrl_c()
            assert "error: interrupted" in terminal.shown()
            assert terminal.ended() == INTERRUPTED
    else:
        process = subprocess.Popen(
            command(home / "data", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=home
        )
        _until(lambda: _count(home, "restores"), "it is asked for")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out, err) == (INTERRUPTED, b"", b"error: interrupted\n")
    assert not (home / "out").exists()
    assert json.loads(run_process(home / "data", "restore", "archived", "--status", "--json").stdout)["state"] == (
        "requested"
    )


@pytest.mark.parametrize("way", ["terminal", "pipe"])
@pytest.mark.parametrize("name", ["serve", "worker"])
def test_ctrl_c_ends_what_runs_until_then(home: Path, name: str, way: str) -> None:
    arguments = [name, *(["--port", "0"] if name == "serve" else []), "--json"]
    key = '"address"' if name == "serve" else '"jobs"'
    if way == "terminal":
        with at_terminal(home, *arguments) as terminal:
            terminal.shown(until=lambda: key in terminal.seen)
            terminal.press_ctrl_c()
            terminal.shown()
            assert terminal.ended() == 0
        return
    process = subprocess.Popen(
        command(home / "data", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=home
    )
    assert process.stdout is not None
    first: Any = json.loads(process.stdout.readline())
    assert key.strip('"') in first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert ESCAPE not in out + err


def test_ctrl_c_during_a_backup_leaves_a_whole_file_or_none(many: Path) -> None:
    target = many / "backup.db"
    ends = set()
    for delay in range(0, 900, 150):
        target.unlink(missing_ok=True)
        process = subprocess.Popen(
            command(many / "data", "backup", str(target)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=many
        )
        time.sleep(0.1 + delay / 1000)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=PATIENCE_SECONDS)
        ends.add(process.returncode)
        assert process.returncode in {0, INTERRUPTED, -signal.SIGINT}, told
        # Its name appears with the whole file; an interrupt may come between that and the last line.
        assert process.returncode != 0 or (out and target.exists())
        left = [path.name for path in many.iterdir() if path.name.startswith((".backup", "backup")) and path != target]
        assert left == []
        if target.exists():
            with contextlib.closing(sqlite3.connect(target)) as database:
                assert database.execute("SELECT count(*) FROM contents").fetchone()[0] > MANY
    assert ends & {INTERRUPTED, -signal.SIGINT}
