"""SIGKILL at random moments under concurrent load: every acknowledged write is there, whole.

Each writer owns ids and writes bodies that name their own id and number, so that any mix-up, loss or tearing shows.
After each kill the store is opened again and every id is read back: it must show the last acknowledged write or a
later one that was sent but not answered.
"""

import hashlib
import os
import random
import re
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.counts import SOAK
from tests.service_process import ServiceProcess, client

pytestmark = [pytest.mark.server, pytest.mark.timeout(0)]

WRITERS = 8
IDS_PER_WRITER = 6


def body_of(content_id: str, number: int) -> bytes:
    """Return the body of one write: any size from empty to several parts, recomputable from its name."""
    seed = random.Random(f"{content_id} {number}")
    size = seed.choice([0, 1, 700, 64 * 1024, 300_000]) if seed.random() < 0.97 else 9_000_000
    block = hashlib.sha256(f"{content_id} {number}".encode()).digest() * 64
    return (block * (size // len(block) + 1))[:size]


@dataclass
class Ledger:
    """What one id may show: the last acknowledged write, or any sent after it."""

    acknowledged: int | None = None
    """None: a delete, or nothing yet."""
    unanswered: set[int | None] = field(default_factory=set)


def load(url: str, mine: dict[str, Ledger], stop: threading.Event, seed: int, counter: list[int]) -> None:
    """Write until the service dies; every answer is booked at once."""
    dice = random.Random(seed)
    with httpx.Client(base_url=url, timeout=20.0) as http:
        while not stop.is_set():
            content_id = dice.choice(list(mine))
            ledger = mine[content_id]
            counter[0] += 1
            number: int | None = counter[0] if dice.random() < 0.9 else None
            ledger.unanswered.add(number)
            try:
                if number is None:
                    answer = http.delete(f"/v1/content/{content_id}")
                else:
                    answer = http.put(f"/v1/content/{content_id}", content=body_of(content_id, number))
            except httpx.HTTPError:
                return
            assert answer.status_code in {200, 201, 204}, answer.text
            ledger.acknowledged = number
            ledger.unanswered = set()


def verify(url: str, ledgers: dict[str, Ledger]) -> None:
    with httpx.Client(base_url=url, timeout=20.0) as http:
        for content_id, ledger in ledgers.items():
            answer = http.get(f"/v1/content/{content_id}")
            allowed = {ledger.acknowledged} | ledger.unanswered
            if answer.status_code == 404:
                assert None in allowed, f"{content_id}: write {ledger.acknowledged} is lost"
                ledger.acknowledged = None
            else:
                assert answer.status_code == 200, answer.text
                shown = [n for n in allowed if n is not None and body_of(content_id, n) == answer.content]
                assert shown, f"{content_id}: {len(answer.content)} bytes that are none of {allowed}"
                ledger.acknowledged = shown[0]
            ledger.unanswered = set()


@pytest.mark.parametrize("lane", range(4 if SOAK else 1))
def test_nothing_acknowledged_is_lost(tmp_path: Path, lane: int) -> None:
    """Lanes are independent machines, so that a soak's 1000 kills can run side by side."""
    kills = 250 if SOAK else 20
    seed = int(os.environ.get("THERMOCLINE_SEED", time.time_ns() % 2**32))
    print(f"seed {seed}")  # noqa: T201 - a failure can be repeated with it
    dice = random.Random(seed)
    ledgers = {f"w{w}/c{c}": Ledger() for w in range(WRITERS) for c in range(IDS_PER_WRITER)}
    counters = [[w * 10_000_000] for w in range(WRITERS)]
    data = tmp_path / "data"
    # A lease shorter than the default, so that what kills leave behind is cleaned while the test still looks.
    fast_cleaning = {"THERMOCLINE_LIMITS__UPLOAD_LEASE": "3s", "THERMOCLINE_LIMITS__LONGEST_REQUEST": "1s"}

    def guarded(w: int, url: str, stop: threading.Event, failures: list[BaseException]) -> None:
        try:
            mine = {content_id: ledger for content_id, ledger in ledgers.items() if content_id.startswith(f"w{w}/")}
            load(url, mine, stop, dice.randrange(2**32), counters[w])
        except BaseException as exc:  # noqa: BLE001 - told to the main thread
            failures.append(exc)

    for _ in range(kills):
        service = ServiceProcess(data, environment=fast_cleaning)
        verify(service.url, ledgers)
        stop = threading.Event()
        failures: list[BaseException] = []
        threads = [threading.Thread(target=guarded, args=(w, service.url, stop, failures)) for w in range(WRITERS)]
        for thread in threads:
            thread.start()
        threading.Event().wait(dice.uniform(0.05, 0.7))  # the moment of the kill is the point of this test
        service.kill()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]
    written = sum(counter[0] % 10_000_000 for counter in counters)
    print(f"{kills} kills, {written} operations")  # noqa: T201 - reported by soak runs
    assert written > kills * WRITERS
    service = ServiceProcess(data, environment=fast_cleaning)
    verify(service.url, ledgers)
    _wait_until_clean(data, service)
    assert service.stop() == 0


def _wait_until_clean(data: Path, service: ServiceProcess) -> None:
    """What the kills left half-done is removed: no intent, no unfinished upload, no file that nothing names."""
    deadline = time.monotonic() + 60.0
    while True:
        with sqlite3.connect(data / "catalog.db") as database:
            (intents,) = database.execute("SELECT count(*) FROM intents").fetchone()
            live = {key for (key,) in database.execute("SELECT object_key FROM contents WHERE object_key IS NOT NULL")}
            promised = {key for (key,) in database.execute("SELECT subject FROM outbox WHERE kind = 'delete_object'")}
        database.close()
        files = sum(1 for path in (data / "objects").rglob("*") if path.is_file() and "~" in path.name)
        if not intents and files <= len(live | promised):
            break
        assert time.monotonic() < deadline, (
            f"{intents} intents, {files} files for {len(live | promised)} names\n{service.log()[-2000:]}"
        )
        threading.Event().wait(0.2)
    assert files == len(live | promised)


def test_the_service_really_syncs(tmp_path: Path) -> None:
    """Before the answer leaves, three things were synced in order: the object's file, its folder, the catalog's log."""
    service = ServiceProcess(tmp_path / "data")
    trace_path = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,linkat,sendto,sendmsg,write,writev"
    trace = subprocess.Popen(
        ["strace", "-f", "-y", "-s", "40", "-e", calls, "-o", str(trace_path), "-p", str(service.pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert trace.stderr is not None
        assert "attached" in trace.stderr.readline()
        with client(service) as http:
            assert http.put("/v1/content/a", content=b"x" * 100_000).status_code == 201
    finally:
        trace.terminate()
        trace.communicate(timeout=10)
    assert service.stop() == 0
    lines = trace_path.read_text().splitlines()
    answered = next(n for n, line in enumerate(lines) if "HTTP/1.1 201" in line)
    before = lines[:answered]

    def first(what: str, after: int = 0) -> int:
        found = [n for n, line in enumerate(before) if n >= after and re.search(what, line)]
        assert found, f"no {what} before the answer:\n" + "\n".join(before[-60:])
        return found[0]

    file_synced = first(r"f(data)?sync\(\d+<[^>]*/objects/[^>]*\.uploads/")
    published = first(r"(rename|renameat2?|linkat)\(.*\.uploads", file_synced)
    folder_synced = first(r"fsync\(\d+<[^>]*/objects/[^>~]*>\)", published)
    first(r"f(data)?sync\(\d+<[^>]*catalog\.db-wal>\)", folder_synced)
