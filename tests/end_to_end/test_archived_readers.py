"""Fifty readers of one archived content, over HTTP from a real service: one restore, by those who may pay for it."""

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.interfaces.cli.commandline import command
from tests.service_process import ServiceProcess, client, running_service

pytestmark = pytest.mark.server

READERS = 50
PATIENCE_SECONDS = 20.0
BODY = b"archived bytes"
QUICK = {
    "THERMOCLINE_PLACEMENTS__STANDARD__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__STORAGE_CLASS": "ARCHIVE",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__RESTORE__STANDARD__DELAY": "2s",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__RESTORE__STANDARD__USD_PER_REQUEST": "0.01",
}


def token(data: Path, scope: str) -> dict[str, str]:
    """Make a token; the header that shows it."""
    made = subprocess.run(
        command(data, "token", "create", "--scope", scope, "--json"), capture_output=True, check=True, timeout=60
    )
    return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}


def charged(data: Path) -> tuple[int, float]:
    """How many restores were asked for, and what they cost."""
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        count, spent = database.execute("SELECT sum(requests), sum(spent_usd) FROM restore_days").fetchone()
    return count or 0, spent or 0.0


def marks(data: Path) -> int:
    """How many restores the folder store knows."""
    return sum(1 for path in (data / "objects" / ".restores").rglob("*") if path.is_file())


def read_at_once(service: ServiceProcess, headers: dict[str, str]) -> list[httpx.Response]:
    """What fifty readers get who ask at the same time."""
    with client(service, connections=READERS) as http, ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda _: http.get("/v1/content/a", headers=headers), range(READERS)))


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def test_fifty_readers_cause_one_restore_and_readers_without_the_right_none(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_service(data, environment=QUICK) as service:
        writer, reader = token(data, "read,write"), token(data, "read")
        with client(service) as http:
            put = http.put(
                "/v1/content/a",
                content=BODY,
                headers={**writer, "Thermocline-Tier": "archive", "Thermocline-Visibility": "public"},
            )
            assert put.status_code == 201

        for headers in (reader, {}):
            for answer in read_at_once(service, headers):
                assert answer.status_code == 409
                assert answer.json()["type"] == "urn:thermocline:error:content-archived"
                assert "Retry-After" not in answer.headers
        assert (charged(data), marks(data)) == ((0, 0.0), 0)

        answers = read_at_once(service, writer)
        assert {answer.status_code for answer in answers} == {409}
        assert {answer.headers["Retry-After"] for answer in answers} <= {"1", "2"}
        assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
        count, spent = charged(data)
        assert (count, round(spent, 6), marks(data)) == (1, 0.01, 1)

        with client(service) as http:
            work = http.get("/v1/stats/work", headers=reader).json()
            assert work["restores"]["requested"] == 1
            # By reading alone: no other command is needed.
            until(lambda: http.get("/v1/content/a").status_code == 200, "it is readable")
            until(
                lambda: http.get("/v1/stats/work", headers=reader).json()["restores"]["readable"] == 1,
                "a worker has noticed",
            )
        for headers in (reader, writer, {}):
            assert {answer.content for answer in read_at_once(service, headers)} == {BODY}
        assert charged(data)[0] == 1, "reading what is readable asks for nothing"
