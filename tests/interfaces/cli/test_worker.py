"""`worker` as real processes: it ends when asked, shares the work, is visible to others."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.interfaces.cli.commandline import command, run_process

pytestmark = pytest.mark.server

PATIENCE_SECONDS = 20.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextmanager
def started(data: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(data, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_works_until_it_is_asked_to_stop(data: Path, number: signal.Signals) -> None:
    with started(data, "worker") as process:
        assert line_of(process).startswith("Thermocline does the background work: ")
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)  # as supervisors do that signal a group and its leader
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert line_of(process) == ""


def test_two_workers_beside_a_service_that_leaves_them_the_work(data: Path) -> None:
    with started(data, "serve", "--port", "0", "--json", "--no-work") as service:
        url = json.loads(line_of(service))["address"]
        work = httpx.get(f"{url}/v1/stats/work").json()
        assert work["is_worker"] is False
        assert work["jobs"]["expire"]["last_run"] is None
        with started(data, "worker", "--json") as one, started(data, "worker", "--json") as other:
            for process in (one, other):
                assert "expire" in json.loads(line_of(process))["jobs"]
            for number in range(5):
                content = f"{url}/v1/content/{number}"
                headers = {"Thermocline-Expires-In": "0.5"}
                assert httpx.put(content, content=b"x", headers=headers).status_code == 201
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (shown := httpx.get(f"{url}/v1/stats/work").json()["jobs"]["expire"])["done"] < 5:
                assert time.monotonic() < deadline, shown
                time.sleep(0.1)
            assert shown["last_run"] is not None
            assert shown["next_run"] is not None
            assert shown["here"]["runs"] == 0
            assert run_process(data, "ls").stdout == b""
            for process in (one, other):
                process.send_signal(signal.SIGTERM)
            for process in (one, other):
                assert process.wait(PATIENCE_SECONDS) == 0
        told = json.loads(run_process(data, "stats", "work", "--json").stdout)["jobs"]["expire"]
        assert told["done"] == 5, "no two workers did the same"


def test_a_reader_that_leaves_ends_it(data: Path) -> None:
    with started(data, "worker", "--json") as process:
        line_of(process)
        assert process.stdout is not None
        process.stdout.close()
        assert run_process(data, "put", "-", "a", "--expires-in", "100ms", stdin=b"x").returncode == 0
        assert process.wait(PATIENCE_SECONDS) in {0, 1}
