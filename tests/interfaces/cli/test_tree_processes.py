"""The real `import`, `export` and `rm --prefix`: terminals, pipes, signals, a disk that is really full."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import command, run_process
from tests.interfaces.cli.test_processes import INTERRUPTED, PATIENCE_SECONDS, _on_terminal, _shown, _until
from tests.services.trees import picture, plant

pytestmark = pytest.mark.server

MANY = 1500


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that takes a while."""
    return plant(
        tmp_path_factory.mktemp("many") / "tree", {f"{n % 10}/{n}": str(n).encode() * 100 for n in range(MANY)}
    )


def _there(data: Path) -> int:
    """How many contents there are, also while another process writes."""
    if not (data / "catalog.db").exists():
        return 0
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        try:
            (count,) = database.execute("SELECT count(*) FROM contents WHERE object_key IS NOT NULL").fetchone()
        except sqlite3.OperationalError:
            return 0  # it is just being made
    return int(count)


def _leftovers(data: Path) -> tuple[int, int]:
    """Intents, and objects beyond those of contents."""
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        (intents,) = database.execute("SELECT count(*) FROM intents").fetchone()
    files = sum(1 for path in (data / "objects").rglob("*") if path.is_file() and "~" in path.name)
    return int(intents), files - _there(data)


@contextlib.contextmanager
def _importing(data: Path, tree: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An import that is in the middle of its work."""
    process = subprocess.Popen(
        command(data, "import", str(tree), *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        _until(lambda: _there(data) > 100, "it is under way")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_ends_tidily_and_the_same_command_goes_on(
    data: Path, many: Path, number: signal.Signals
) -> None:
    with _importing(data, many) as process:
        process.send_signal(number)
        out, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == INTERRUPTED
    done = _there(data)
    assert 100 < done < MANY
    assert out == b""
    assert told == f"error: interrupted: {done} files are imported; the same command goes on from here\n".encode()
    assert _leftovers(data) == (0, 0)
    report = json.loads(run_process(data, "import", str(many), "--json").stdout)
    assert (report["unchanged"], report["copied"]) == (done, MANY - done)


def test_a_killed_import_loses_nothing_that_was_done(data: Path, many: Path) -> None:
    with _importing(data, many) as process:
        process.kill()
    done = _there(data)
    report = json.loads(run_process(data, "import", str(many), "--json", "--verify").stdout)
    assert (report["unchanged"], report["copied"], report["verified"]) == (done, MANY - done, MANY)


def test_an_interrupted_export_leaves_whole_files_and_goes_on(data: Path, many: Path, tmp_path: Path) -> None:
    assert run_process(data, "import", str(many)).returncode == 0
    out = tmp_path / "out"
    process = subprocess.Popen(command(data, "export", str(out)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _until(lambda: (out / "0").exists() and len(list((out / "0").iterdir())) > 50, "it is under way")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == INTERRUPTED
    assert b"the same command goes on from here" in told
    whole = picture(many)
    there = picture(out)
    assert 50 < len(there) < MANY
    assert all(whole[path] == file for path, file in there.items())
    assert run_process(data, "export", str(out)).returncode == 0
    assert picture(out) == whole


def test_a_terminal_shows_how_far_it_has_come(data: Path, many: Path) -> None:
    with _on_terminal(command(data, "import", str(many))) as (process, terminal):
        shown = _shown(process, terminal, until=b" files")
        assert b"import " in shown
        shown = _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert f"imported {MANY} files".encode() in shown


def test_a_pipe_shows_the_result_only(data: Path, many: Path) -> None:
    done = run_process(data, "import", str(many))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"imported {MANY} files (".encode())
    assert done.stdout.count(b"\n") == 1


def test_ctrl_c_at_a_terminal_takes_the_bar_away_and_tells(data: Path, many: Path) -> None:
    with _on_terminal(command(data, "import", str(many))) as (process, terminal):
        _until(lambda: _there(data) > 100, "it is under way")
        os.write(terminal, b"\x03")
        if process.poll() is None:  # a session without a controlling terminal gets no signal from it
            process.send_signal(signal.SIGINT)
        shown = _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == INTERRUPTED
        assert b"error: interrupted: " in shown


@pytest.mark.parametrize(("answer", "deleted"), [(b"y\n", True), (b"yes\n", True), (b"n\n", False), (b"\n", False)])
def test_rm_by_prefix_asks_at_a_terminal(data: Path, tmp_path: Path, answer: bytes, *, deleted: bool) -> None:
    tree = plant(tmp_path / "tree", {"a/1": b"x" * 1024, "a/2": b"x" * 1024, "b": b"x"})
    assert run_process(data, "import", str(tree)).returncode == 0
    with _on_terminal(command(data, "rm", "--prefix", "a/")) as (process, terminal):
        _shown(process, terminal, until=b"Delete 2 contents (2.0 KiB) under 'a/'? [y/N] ")
        os.write(terminal, answer)
        shown = _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == (0 if deleted else 1)
    assert (b"deleted 2 contents" in shown) == deleted
    assert (b"nothing was deleted" in shown) != deleted
    assert _there(data) == (1 if deleted else 3)


def test_a_question_can_be_interrupted(data: Path, tmp_path: Path) -> None:
    assert run_process(data, "import", str(plant(tmp_path / "tree", {"a/1": b"x"}))).returncode == 0
    with _on_terminal(command(data, "rm", "--prefix", "a/")) as (process, terminal):
        _shown(process, terminal, until=b"[y/N] ")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == INTERRUPTED
    assert _there(data) == 1


def test_an_interrupted_rm_goes_on(data: Path, many: Path) -> None:
    assert run_process(data, "import", str(many)).returncode == 0
    process = subprocess.Popen(
        command(data, "rm", "--prefix", "1/", "-y"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _until(lambda: _there(data) < MANY, "it is under way")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    # What comes when all is done, and the process ends, is told without how to go on.
    assert (process.returncode, told.startswith(b"error: interrupted")) in {(INTERRUPTED, True), (0, False)}
    assert run_process(data, "rm", "--prefix", "1/", "-y").returncode == 0
    assert _there(data) == MANY - MANY // 10


def test_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    """The import says so, everything acknowledged stays, and it goes on when there is room.

    There is room for several groups of files, because one that does not fit is given up as a whole.
    """
    files = 400
    subprocess.run(["mount", "-o", "remount,size=16m,nr_inodes=4000", str(small_disk)], check=True)
    data = small_disk / "data"
    ballast = small_disk / "ballast"
    assert run_process(data, "ls").returncode == 0
    tree = plant(tmp_path / "tree", {f"{n:03}": os.urandom(10_000) for n in range(files)})
    ballast.write_bytes(bytes(12_500_000))
    stopped = run_process(data, "import", str(tree))
    assert stopped.returncode == 1
    assert b"stopped early: the same command goes on from here" in stopped.stdout
    assert b"full" in stopped.stderr
    assert b"free" in stopped.stderr
    assert stopped.stderr.count(b"\n") == 1
    done = _there(data)
    assert 0 < done < files
    assert run_process(data, "get", "000").stdout == (tree / "000").read_bytes()
    ballast.unlink()
    report = json.loads(run_process(data, "import", str(tree), "--json", "--verify").stdout)
    assert (report["unchanged"], report["copied"], report["verified"]) == (done, files - done, files)
    assert run_process(data, "fsck").returncode == 0


def test_an_export_onto_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    tree = plant(tmp_path / "tree", {f"{n:02}": os.urandom(100_000) for n in range(40)})
    assert run_process(data, "import", str(tree)).returncode == 0
    stopped = run_process(data, "export", str(small_disk / "out"))
    assert stopped.returncode == 1
    assert b"the disk is full; free space" in stopped.stderr
    there = picture(small_disk / "out")
    assert 5 < len(there) < 40
    whole = picture(tree)
    assert all(whole[path] == file for path, file in there.items())
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    report = json.loads(run_process(data, "export", str(small_disk / "out"), "--json").stdout)
    assert (report["unchanged"], report["copied"]) == (len(there), 40 - len(there))
    assert picture(small_disk / "out") == whole


def test_memory_does_not_grow_with_the_files(data: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    with (big / "file").open("wb") as file:
        file.truncate(256 * 2**20)
    peaks = []
    for tree in (plant(tmp_path / "small", {"x": b"x"}), big):
        process = subprocess.Popen(command(data, "import", str(tree)), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss * 1024)
    assert peaks[1] - peaks[0] < 64 * 2**20


def test_a_small_import_is_quick(data: Path, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"x": b"x"})
    run_process(data, "import", str(tree))
    began = time.monotonic()
    assert run_process(data, "import", str(tree)).returncode == 0
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
