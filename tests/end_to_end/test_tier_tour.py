"""A thousand files of a real tree go through all tiers and back while a real service serves them."""

import contextlib
import hashlib
import json
import sqlite3
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.interfaces.cli.commandline import run_process
from tests.service_process import client, running_service

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

FILES = 1000
CLIENTS = 8
PATIENCE_SECONDS = 180.0
TOUR = ("warm", "cold", "archive", "hot")
SETTINGS = {
    "THERMOCLINE_PLACEMENTS__STANDARD__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__INFREQUENT__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__INFREQUENT__STORAGE_CLASS": "STANDARD_IA",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__OBJECTS": "main",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__STORAGE_CLASS": "ARCHIVE",
    "THERMOCLINE_PLACEMENTS__ARCHIVE__RESTORE__STANDARD__DELAY": "1s",
    "THERMOCLINE_TIERS__COLD__PLACEMENT": "infrequent",
}


def real_files() -> Iterator[Path]:
    """Yield files of this Python's standard library, the largest ones left out."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1_000_000:
            yield path


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def rows(data: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        return database.execute(statement).fetchall()


def test_a_thousand_files_go_through_all_tiers_and_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = {
        f"t/{path.relative_to(sys.base_prefix)}": path for path, _ in zip(real_files(), range(FILES), strict=False)
    }
    assert len(files) == FILES, "this Python's standard library has too few files"
    digests = {content_id: hashlib.sha256(path.read_bytes()).hexdigest() for content_id, path in files.items()}

    with (
        running_service(data, environment=SETTINGS) as service,
        client(service) as http,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def put(content_id: str) -> int:
            body = files[content_id].read_bytes()
            answer = http.put(f"/v1/content/{quote(content_id)}", content=body, headers={"Thermocline-Tier": "hot"})
            assert answer.status_code == 201, answer.text
            return int(answer.json()["revision"])

        def move(content_id: str, tier: str) -> httpx.Response:
            return http.put(f"/v1/tier/{quote(content_id)}", json={"tier": tier})

        def read(content_id: str) -> str:
            answer = http.get(f"/v1/content/{quote(content_id)}")
            assert answer.status_code == 200, answer.text
            return hashlib.sha256(answer.content).hexdigest()

        revisions = dict(zip(files, pool.map(put, files), strict=True))
        for tier in TOUR:
            answers = Counter(
                answer.status_code for answer in pool.map(lambda content_id, to=tier: move(content_id, to), files)
            )
            assert answers == {200 if tier == "warm" else 202: FILES}
            until(lambda: http.get("/v1/stats/work").json()["moves"]["waiting"] == 0, f"all are {tier}")
            assert rows(data, "SELECT DISTINCT tier FROM contents") == [(tier,)]
            if tier == "cold":
                assert dict(zip(files, pool.map(read, files), strict=True)) == digests
            if tier == "archive":
                refused = http.get(f"/v1/content/{quote(next(iter(files)))}")
                assert refused.json()["type"] == "urn:thermocline:error:content-archived"

        # What the move out of the archive restored, and only that, was paid for: once each.
        assert rows(data, "SELECT sum(requests) FROM restore_days") == [(FILES,)]
        assert dict(zip(files, pool.map(read, files), strict=True)) == digests
        some = next(iter(files))
        assert http.get(f"/i/{revisions[some]}/{quote(some)}").status_code == 200, "the bytes never changed"

    steps = list(zip(("hot", *TOUR[:-1]), TOUR, strict=True))
    made = Counter(rows(data, "SELECT content_id, from_tier, to_tier FROM ledger"))
    assert made == Counter((content_id, *step) for content_id in files for step in steps)
    assert rows(data, "SELECT count(*) FROM moves") == [(0,)]
    assert rows(data, "SELECT count(*) FROM intents") == [(0,)]
    # What is stored beyond the live objects is what the outbox deletes after the grace.
    checked = run_process(data, "fsck", "--json", environment=SETTINGS)
    summary = next(line for line in map(json.loads, checked.stdout.splitlines()) if line["kind"] == "summary")
    assert (checked.returncode, summary["contents"], summary["findings"]) == (0, FILES, 0)
