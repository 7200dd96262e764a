"""One service of several processes, for real: they count together, outlive one another, and end together."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.service_process import ServiceProcess, running_service

pytestmark = pytest.mark.server

PROCESSES = 3
PATIENCE_SECONDS = 90.0
SEVERAL = ("--workers", str(PROCESSES))


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def _members(service: ServiceProcess) -> list[int]:
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return [int(child) for child in children]


def _metric(service: ServiceProcess, line: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=PATIENCE_SECONDS).text
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _ask(service: ServiceProcess, times: int) -> None:
    for _ in range(times):  # each time on a connection of its own
        assert httpx.get(f"{service.url}/v1/content").status_code == 200


def _listed(service: ServiceProcess) -> float:
    return _metric(service, 'thermocline_requests_total{route="/v1/content",status="200"}')


def _answering(service: ServiceProcess) -> float:
    return _metric(service, 'thermocline_server_processes{state="answering"}')


def test_they_count_together_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=SEVERAL) as service:
        _ask(service, 40)
        assert _listed(service) == 40
        assert _answering(service) == PROCESSES
        victim = _members(service)[0]
        os.kill(victim, signal.SIGKILL)
        _until(lambda: victim not in _members(service), "it is gone")
        # What it had told before stays, and the others go on.
        assert _listed(service) == 40
        _ask(service, 10)
        assert _listed(service) == 50
        _until(lambda: _answering(service) == PROCESSES, "it is replaced")
        assert len(_members(service)) == PROCESSES
        _ask(service, 10)
        assert _listed(service) == 60


def test_one_that_stands_still_is_left_out_and_its_counts_are_not(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=SEVERAL) as service:
        _ask(service, 30)
        assert _listed(service) == 30
        paused = _members(service)[0]
        os.kill(paused, signal.SIGSTOP)
        try:
            _until(lambda: _answers(service), "another takes a connection")
        finally:
            os.kill(paused, signal.SIGCONT)


def _answers(service: ServiceProcess) -> bool:
    try:
        return _answering(service) == PROCESSES - 1 and _listed(service) == 30
    except httpx.TransportError:
        return False


def test_what_one_writes_all_read(tmp_path: Path) -> None:
    with running_service(tmp_path / "data", arguments=SEVERAL) as service:
        url = f"{service.url}/v1/content/a"
        for number in range(20):
            body = b"%d" % number
            assert httpx.put(url, content=body).status_code in {200, 201}
            read = [httpx.get(url) for _ in range(6)]
            # A process that has not yet heard of the change serves the bytes before it, never older ones.
            assert {each.content for each in read} <= {body, b"%d" % (number - 1)}
            _until(lambda body=body: all(httpx.get(url).content == body for _ in range(6)), "all have heard")  # type: ignore[misc]


def test_a_drain_lets_uploads_end(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data", arguments=SEVERAL)
    begun, go_on = threading.Event(), threading.Event()
    answers: list[int] = []

    def upload() -> None:
        def body() -> object:
            yield b"first"
            begun.set()
            assert go_on.wait(PATIENCE_SECONDS)
            yield b"last"

        answers.append(httpx.put(f"{service.url}/v1/content/slow", content=body(), timeout=60).status_code)  # type: ignore[arg-type]

    uploading = threading.Thread(target=upload)
    uploading.start()
    assert begun.wait(PATIENCE_SECONDS)
    members = _members(service)
    service.process.send_signal(signal.SIGTERM)
    _until(lambda: len(_alive(members)) == 1, "those that have nothing to do end")
    go_on.set()
    uploading.join()
    assert service.stop() == 0, service.log()
    assert answers == [201]
    assert _alive(members) == []


def test_without_their_supervisor_they_end(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data", arguments=SEVERAL)
    members = _members(service)
    assert len(members) == PROCESSES
    service.kill()
    _until(lambda: not _alive(members), "all have ended")


def test_a_service_that_cannot_start_says_so_once(tmp_path: Path) -> None:
    everywhere = ["--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "data")]  # noqa: S104
    ended = subprocess.run(
        [sys.executable, "-m", "thermocline", "serve", *SEVERAL, *everywhere],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("no access token exists") == 1
    assert "Traceback" not in ended.stderr


def _alive(pids: list[int]) -> list[int]:
    """Which of the processes run; one whose parent has not looked yet has ended all the same."""
    alive = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            alive.append(pid)
    return alive
