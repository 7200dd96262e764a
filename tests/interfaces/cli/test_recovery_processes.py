"""Backups and repairs as real processes: beside a service, at a terminal, interrupted, killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import command, run_process
from tests.interfaces.cli.test_processes import (
    INTERRUPTED,
    MIB,
    PATIENCE_SECONDS,
    _on_terminal,
    _shown,
    _until,
)
from tests.service_process import client, running_service

pytestmark = pytest.mark.server

PADDING = 80 * MIB
"""So large that copying the catalog takes longer than a moment."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def large(data: Path) -> Path:
    """A data folder whose catalog is large."""
    assert run_process(data, "put", "-", "a", stdin=b"x").returncode == 0
    with closing(sqlite3.connect(data / "catalog.db")) as raw, raw:
        raw.execute(
            "INSERT INTO ledger (content_id, moved_at, from_tier, to_tier, from_placement, to_placement, size, "
            "by_policy, reason) VALUES ('', 0, 'hot', 'hot', '', '', 0, 0, ?)",
            ("x" * PADDING,),
        )
    return data


def _partials(folder: Path) -> list[Path]:
    return list(folder.glob(".*.thermocline-partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_backup_that_is_ended_leaves_no_backup(large: Path, tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "backups" / "b.db"
    process = subprocess.Popen(command(large, "backup", str(target)), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    _until(lambda: any(path.stat().st_size > 8 * MIB for path in _partials(target.parent)), "it copies")
    process.send_signal(number)
    out, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert out == b""
    assert not target.exists()
    if number is signal.SIGKILL:
        assert len(_partials(target.parent)) == 1
    else:
        assert (process.returncode, told) == (INTERRUPTED, b"error: interrupted\n")
        assert _partials(target.parent) == []
    assert run_process(large, "backup", str(target)).returncode == 0
    assert os.listdir(target.parent) == ["b.db"], "the next backup removes what a killed one left"  # noqa: PTH208 - names


def test_an_interrupted_restore_changed_nothing(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.db"
    assert run_process(large, "backup", str(target)).returncode == 0
    assert run_process(large, "put", "-", "later", stdin=b"y").returncode == 0
    process = subprocess.Popen(command(large, "backup", "--restore", str(target)), stderr=subprocess.PIPE)
    _until(lambda: any(path.stat().st_size > 8 * MIB for path in _partials(large)), "it copies")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, told) == (INTERRUPTED, b"error: interrupted\n")
    assert _partials(large) == []
    assert run_process(large, "get", "later").stdout == b"y"
    assert not list(large.glob("catalog.db.replaced-*"))


def test_a_terminal_shows_how_far_a_backup_is(large: Path, tmp_path: Path) -> None:
    # However quick the disk is.
    at_once = (
        "import sys; from thermocline.interfaces.cli import main, progress; progress.QUICK_SECONDS = 0.0; "
        "sys.exit(main.main())"
    )
    _python, _module, _name, *arguments = command(large, "backup", str(tmp_path / "b.db"))
    with _on_terminal([sys.executable, "-c", at_once, *arguments]) as (process, terminal):
        shown = _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert b"backup" in shown
    assert b"MiB" in shown
    assert b"backed up 1 contents" in shown


def test_a_repair_at_a_terminal(data: Path, tmp_path: Path) -> None:
    assert run_process(data, "put", "-", "a", stdin=b"x").returncode == 0
    target = tmp_path / "b.db"
    assert run_process(data, "backup", str(target)).returncode == 0
    assert run_process(data, "put", "-", "b", stdin=b"y").returncode == 0
    with _on_terminal(command(data, "backup", "--restore", str(target))) as (process, terminal):
        assert b"  thermocline fsck --repair\r\n" in _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == 0
    with _on_terminal(command(data, "fsck", "--repair")) as (process, terminal):
        assert b"1 adopted\r\n" in _shown(process, terminal)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert run_process(data, "get", "b").stdout == b"y"


def test_back_up_beside_a_busy_service_and_restore_once_it_has_stopped(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.db"
    acknowledged: list[str] = []
    with running_service(data) as service, client(service) as http:
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                name = f"c/{number}"
                assert http.put(f"/v1/content/{name}", content=name.encode()).status_code == 201
                acknowledged.append(name)
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            _until(lambda: len(acknowledged) > 20, "it writes")
            before = list(acknowledged)
            assert run_process(data, "backup", str(target)).returncode == 0
            reached = len(acknowledged)
            _until(lambda: len(acknowledged) > reached + 20, "it goes on writing")
        finally:
            stop.set()
            writer.join()
        refused = run_process(data, "backup", "--restore", str(target))
        assert refused.returncode == 1
        assert b"open in another process; stop 'thermocline serve'" in refused.stderr
        work = http.get("/v1/stats/work").json()
        assert work["recovery"] == {"recovering": False}
        assert "scrub" in work["jobs"]
    with closing(sqlite3.connect(target)) as raw:
        assert {row[0] for row in raw.execute("SELECT content_id FROM contents")} >= set(before)
    assert run_process(data, "backup", "--restore", str(target)).returncode == 0
    # The service starts on the restored backup, serves, and repairs go on beside it.
    with running_service(data) as service, client(service) as http:
        work = http.get("/v1/stats/work").json()
        assert work["recovery"]["recovering"] is True
        assert "sweep_orphans" in work["recovery"]["paused"]
        assert http.get(f"/v1/content/{before[0]}").text == before[0]
        assert run_process(data, "fsck", "--repair").returncode == 0
        for name in acknowledged:
            assert http.get(f"/v1/content/{name}").text == name
        run_process(data, "fsck", "--sweep", "--confirm")
        assert http.get("/v1/stats/work").json()["recovery"] == {"recovering": False}
