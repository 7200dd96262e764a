"""The real command: pipes, signals, terminals, other processes beside it."""

import contextlib
import os
import pty
import select
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import command, run_process

pytestmark = pytest.mark.server

PART = 4 * 2**20
MIB = 2**20
PATIENCE_SECONDS = 20.0
INTERRUPTED = 130


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _objects(data: Path) -> list[Path]:
    return [path for path in (data / "objects").rglob("*") if path.is_file() and path.name != ".installation"]


def _intents(data: Path) -> int:
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM intents").fetchone()
    return int(count)


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


@contextmanager
def _slow_put(data: Path, *, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A `put` from a pipe that has given two parts and gives no more; its upload has begun."""
    process = subprocess.Popen(
        command(data, "put", "-", "a"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    try:
        assert process.stdin is not None
        process.stdin.write(os.urandom(2 * PART + 10))
        process.stdin.flush()
        _until(lambda: _objects(data), "the upload has begun")
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_put_leaves_nothing(data: Path, number: signal.Signals) -> None:
    with _slow_put(data) as process:
        process.send_signal(number)
        code = process.wait(PATIENCE_SECONDS)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b""
        assert process.stderr.read() == b"error: interrupted while reading standard input; nothing was stored\n"
    assert code == INTERRUPTED
    assert run_process(data, "stat", "a").returncode == 3
    # The body failed definitely, so the write cleaned up by itself: no cleaner has to come.
    assert _objects(data) == []
    assert _intents(data) == 0
    assert run_process(data, "fsck").returncode == 0


def test_an_interrupted_overwrite_leaves_the_old_content(data: Path) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"old").returncode == 0
    process = subprocess.Popen(
        command(data, "put", "-", "a"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(os.urandom(2 * PART + 10))
    process.stdin.flush()
    _until(lambda: len(_objects(data)) == 2, "the upload has begun")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == INTERRUPTED
    process.stdin.close()
    assert run_process(data, "get", "a").stdout == b"old"


def test_a_killed_put_is_cleaned_up_by_later_commands(data: Path) -> None:
    soon = {"THERMOCLINE_LIMITS__UPLOAD_LEASE": "300ms", "THERMOCLINE_LIMITS__LONGEST_REQUEST": "200ms"}
    with _slow_put(data, environment=soon) as process:
        process.kill()
        process.wait()
    assert run_process(data, "stat", "a").returncode == 3

    def clean() -> bool:
        assert run_process(data, "rm", "nothing", environment=soon).returncode == 0
        return _objects(data) == [] and _intents(data) == 0

    _until(clean, "the unfinished upload is gone")


def test_an_ignored_signal_stays_ignored(data: Path) -> None:
    process = subprocess.Popen(
        ["nohup", *command(data, "put", "-", "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(os.urandom(2 * PART + 10))
    process.stdin.flush()
    _until(lambda: _objects(data), "the upload has begun")
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert process.wait(PATIENCE_SECONDS) == 0


def test_waiting_for_a_pipe_that_nobody_writes_to_can_be_interrupted(data: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(command(data, "put", str(fifo), "a"), stderr=subprocess.PIPE)
    _until((data / "objects" / ".installation").exists, "the store is open")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, told) == (INTERRUPTED, b"error: interrupted\n")


def test_a_named_pipe_is_a_source(data: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(command(data, "put", str(fifo), "a"), stdout=subprocess.DEVNULL)
    fifo.write_bytes(b"through a pipe")
    assert process.wait(PATIENCE_SECONDS) == 0
    assert run_process(data, "get", "a").stdout == b"through a pipe"


def test_an_interrupted_get_leaves_no_file(data: Path, tmp_path: Path) -> None:
    """The target is a pipe that nobody reads; then a file, interrupted in the middle."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(8 * MIB))
    assert run_process(data, "put", str(source), "a").returncode == 0
    process = subprocess.Popen(command(data, "get", "a", "-o", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == INTERRUPTED
    assert process.stderr is not None
    assert process.stderr.read() == b"error: interrupted\n"
    process.stdout.close()
    process.stderr.close()


def _peak_memory(arguments: list[str], *, stdin: int | None = None, stdout: int | None = None) -> int:
    process = subprocess.Popen(arguments, stdin=stdin, stdout=stdout or subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_put_and_get_stream_in_bounded_memory(data: Path, tmp_path: Path) -> None:
    size = 256 * MIB
    feeder = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
    assert feeder.stdout is not None
    written = _peak_memory(command(data, "put", "-", "big"), stdin=feeder.stdout.fileno())
    feeder.stdout.close()
    feeder.wait()
    counter = subprocess.Popen(["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert counter.stdin is not None
    read = _peak_memory(command(data, "get", "big", "-o", "-"), stdout=counter.stdin.fileno())
    counted, _ = counter.communicate()
    assert int(counted) == size
    target = tmp_path / "copy"
    to_file = _peak_memory(command(data, "get", "big", "-o", str(target)))
    assert target.stat().st_size == size
    idle = _peak_memory(command(data, "ls"))
    for peak in (written, read, to_file):
        assert peak - idle < 64 * MIB


def test_a_reader_that_leaves_is_no_noise(data: Path) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"x" * MIB).returncode == 0
    for arguments in (["get", "a", "-o", "-"], ["ls"], ["fsck"], ["config"], ["--version"], ["ls", "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(command(data, *arguments), stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writer)
        assert done.stderr == b"", arguments
        assert done.returncode in {0, 1}


def test_an_output_that_cannot_be_written_is_told(data: Path) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"x").returncode == 0
    for arguments in (["get", "a", "-o", "-"], ["ls"], ["stat", "a", "--json"], ["config"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command(data, *arguments), stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(b'{"error": "failed"' if "--json" in arguments else b"error: ")
        assert done.stderr.count(b"\n") == 1
        assert b"No space left" in done.stderr


@pytest.mark.parametrize("arguments", [["ls"], ["get", "a"], ["get", "a", "-o", "-"], ["stat", "a"]])
def test_a_closed_standard_output_is_told(data: Path, arguments: list[str]) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"x").returncode == 0
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command(data, *arguments)]
    done = subprocess.run(shell, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard output is closed")


def test_a_closed_standard_input_is_told(data: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *command(data, "put", "-", "a")]
    done = subprocess.run(shell, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    assert (done.returncode, done.stderr[:6]) == (1, b"error:")
    assert run_process(data, "stat", "a").returncode == 3


@contextmanager
def _on_terminal(arguments: list[str], *, stdin: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process whose outputs are a terminal of its own, and the other end of that terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments,
        stdin=theirs if stdin is None else stdin,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _shown(process: subprocess.Popen[bytes], terminal: int, *, until: bytes | None = None) -> bytes:
    """What the terminal shows until the process ends, or until it shows `until`."""
    shown = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        readable, _, _ = select.select([terminal], [], [], 0.05)
        if readable:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
        if until is not None and until in shown:
            return shown
    assert until is None, shown
    return shown


def test_long_work_shows_progress_on_a_terminal(data: Path) -> None:
    reader, writer = os.pipe()
    with _on_terminal(command(data, "put", "-", "a"), stdin=reader) as (process, terminal):
        os.close(reader)
        os.write(writer, b"x" * 1000)
        _until((data / "objects" / ".installation").exists, "the store is open")
        time.sleep(0.8)
        os.write(writer, b"x" * 1000)
        assert b"put a" in _shown(process, terminal, until=b"put a")
        os.close(writer)
        shown = _shown(process, terminal)
        assert b"a: 2000 bytes" in shown
        assert process.wait(PATIENCE_SECONDS) == 0


def test_there_is_no_progress_in_a_pipe(data: Path) -> None:
    with _slow_put(data) as process:
        time.sleep(0.6)
        assert process.stdin is not None
        process.stdin.write(b"x" * MIB)
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read().startswith(b"a: ")
        assert process.stderr.read() == b""


def test_there_is_no_progress_if_only_the_errors_go_to_a_terminal(data: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(data, "put", "-", "a"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(b"x" * 1000)
    process.stdin.flush()
    _until((data / "objects" / ".installation").exists, "the store is open")
    time.sleep(0.8)
    output, _ = process.communicate(b"x" * 1000, timeout=PATIENCE_SECONDS)
    assert output.startswith(b"a: 2000 bytes")
    assert _shown(process, ours) == b""
    os.close(ours)


def test_a_terminal_is_not_garbled(data: Path) -> None:
    assert run_process(data, "put", "-", "text", stdin="schön\tund gut\n".encode()).returncode == 0
    assert run_process(data, "put", "-", "binary", stdin=b"\x00\x1b[2J\xff").returncode == 0
    with _on_terminal(command(data, "get", "text")) as (process, terminal):
        assert "schön" in _shown(process, terminal).decode()
        assert process.wait(PATIENCE_SECONDS) == 0
    with _on_terminal(command(data, "get", "binary")) as (process, terminal):
        shown = _shown(process, terminal)
        assert b"error: the content is not text" in shown
        assert b"\x1b" not in shown
        assert process.wait(PATIENCE_SECONDS) == 1
    with _on_terminal(command(data, "get", "binary", "-o", "-")) as (process, terminal):
        assert b"\x1b[2J" in _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_put_that_waits_for_the_keyboard_can_be_interrupted(data: Path) -> None:
    with _on_terminal(command(data, "put", "-", "a")) as (process, terminal):
        _until((data / "objects" / ".installation").exists, "the store is open")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == INTERRUPTED
        assert b"nothing was stored" in _shown(process, terminal)


def test_ctrl_c_at_any_moment_is_one_line(data: Path) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"x").returncode == 0
    for delay in range(0, 600, 40):
        process = subprocess.Popen(command(data, "fsck"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(0.06 + delay / 1000)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
        if b"Traceback" in told:
            # Before the first line of `main` the interpreter itself answers; that is beyond reach.
            assert b"interfaces/cli" not in told
        else:
            silent = {(0, b""), (-signal.SIGINT, b"")}  # it was done, or Python had not begun
            assert (process.returncode, told) in silent | {(INTERRUPTED, b"error: interrupted\n")}


def test_the_installed_command_is_the_same(data: Path) -> None:
    script = Path(command(data)[0]).parent / "thermocline"
    if not script.exists():
        found = shutil.which("thermocline")
        assert found is not None, "the package is installed with its command"
        script = Path(found)
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "thermocline 0.1.0\n"


def test_completion(data: Path) -> None:
    done = run_process(
        data, environment={"_THERMOCLINE_COMPLETE": "complete_bash", "COMP_WORDS": "thermocline fs", "COMP_CWORD": "1"}
    )
    assert done.stdout.split() == [b"fsck"]
