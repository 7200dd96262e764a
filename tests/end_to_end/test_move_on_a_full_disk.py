"""A disk that is really full in the middle of moves: it is said clearly, nothing is lost, it goes on by itself."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import run_process
from tests.service_process import client, running_service
from tests.services.trees import picture, plant

pytestmark = pytest.mark.server

PATIENCE_SECONDS = 40.0
CONTENTS = 20
SIZE = 10_000
COLD_APART = {
    "THERMOCLINE_PLACEMENTS__STANDARD__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__INFREQUENT__OBJECTS": "small",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__OBJECTS": "main",
    "THERMOCLINE_OBJECTS__MAIN__KIND": "local",
    "THERMOCLINE_OBJECTS__SMALL__KIND": "local",
    "THERMOCLINE_TIERS__COLD__PLACEMENT": "infrequent",
}
"""COLD lies on the small disk; `with_paths` says where that is."""


def with_paths(home: Path, small: Path) -> dict[str, str]:
    return COLD_APART | {
        "THERMOCLINE_OBJECTS__MAIN__PATH": str(home / "objects"),
        "THERMOCLINE_OBJECTS__SMALL__PATH": str(small / "objects"),
    }


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def stored(folder: Path) -> int:
    """How many objects a folder store holds, finished or not."""
    return sum(1 for path in (folder / "objects").rglob("*") if path.is_file() and "~" in path.name)


def count(data: Path, what: str) -> int:
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        (found,) = database.execute(f"SELECT count(*) FROM {what}").fetchone()  # noqa: S608 - a test's own words
    return int(found)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_the_command_says_so_and_goes_on_when_there_is_room(home: Path, small_disk: Path, tmp_path: Path) -> None:
    data, environment = home / "data", with_paths(home, small_disk)
    bodies = {f"c/{number:02}": os.urandom(SIZE) for number in range(CONTENTS)}
    tree = plant(tmp_path / "tree", bodies)
    put = run_process(data, "import", str(tree), "--tier", "hot", "--json", environment=environment)
    assert json.loads(put.stdout)["copied"] == CONTENTS
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 6 * 4096 * 4))

    stopped = run_process(data, "tier", "--prefix", "c/", "cold", "--json", environment=environment)
    assert stopped.returncode == 1
    counts = json.loads(stopped.stdout)
    assert 0 < counts["done"] < CONTENTS
    assert counts["done"] + counts["failed"] == CONTENTS
    told = [json.loads(line) for line in stopped.stderr.splitlines()]
    assert len(told) == counts["failed"]
    for line in told:
        assert "was not moved to cold: OutOfSpaceError: " in line["message"]
        assert "the disk is full" in line["message"]
        assert "stays planned" in line["hint"]
    failed = next(name for name in bodies if f"{name!r} was not moved" in told[0]["message"])
    move = json.loads(run_process(data, "stat", failed, "--json", environment=environment).stdout)["move"]
    assert move["last_error"].startswith("OutOfSpaceError: ")
    assert stored(small_disk) == counts["done"], "nothing half-done is left"
    assert (count(data, "moves"), count(data, "intents")) == (counts["failed"], 0)
    assert run_process(data, "export", str(tmp_path / "out"), environment=environment).returncode == 0
    assert picture(tmp_path / "out") == picture(tree)

    ballast.unlink()
    again = run_process(data, "tier", "--prefix", "c/", "cold", "--json", environment=environment)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["unchanged"] == counts["done"]
    assert (count(data, "moves"), count(data, "ledger")) == (0, CONTENTS)
    assert run_process(data, "fsck", environment=environment).returncode == 0


def test_a_service_says_so_and_goes_on_by_itself(home: Path, small_disk: Path) -> None:
    data = home / "data"
    bodies = {f"c/{number:02}": os.urandom(SIZE) for number in range(CONTENTS)}
    ballast = small_disk / "ballast"
    with running_service(data, environment=with_paths(home, small_disk)) as service, client(service) as http:
        for content_id, body in bodies.items():
            assert (
                http.put(f"/v1/content/{content_id}", content=body, headers={"Thermocline-Tier": "hot"}).status_code
                == 201
            )
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 6 * 4096 * 4))
        for content_id in bodies:
            assert http.put(f"/v1/tier/{content_id}", json={"tier": "cold"}).status_code == 202
        until(lambda: http.get("/v1/stats/work").json()["moves"]["failing"] > 0, "a move has failed")
        failing = [
            told["move"]["last_error"]
            for told in (http.get(f"/v1/info/{content_id}").json() for content_id in bodies)
            if told.get("move", {}).get("last_error")
        ]
        assert failing
        assert all("the disk is full" in error for error in failing)
        assert http.get("/readyz").status_code == 200, "the service serves"
        for content_id, body in bodies.items():
            assert http.get(f"/v1/content/{content_id}").content == body
        ballast.unlink()
        until(lambda: http.get("/v1/stats/work").json()["moves"]["waiting"] == 0, "all are moved")
        for content_id, body in bodies.items():
            answer = http.get(f"/v1/content/{content_id}")
            assert (answer.status_code, answer.content) == (200, body)
        assert count(data, "ledger") == CONTENTS
        assert stored(small_disk) == CONTENTS
    checked = run_process(data, "fsck", environment=with_paths(home, small_disk))
    assert checked.returncode == 0, checked.stdout
