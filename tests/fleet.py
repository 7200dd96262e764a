"""A fleet for tests: servers and workers that share PostgreSQL, a Redis Cluster and a bucket, and a load on them."""

import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import httpx

from tests.s3_servers import new_bucket
from tests.service_process import ServiceProcess
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.testing.servers.redis import RedisCluster

PATIENCE_SECONDS = 90.0
IDS_EACH = 6
"""Contents of one writer: few, so that they are overwritten and read often."""


def until(holds: Callable[[], bool], what: str) -> None:
    """Return once it holds; fail after a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


class WorkerProcess:
    """`thermocline worker` in a process of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log: IO[bytes] = (folder / "worker.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "thermocline", "worker", "--data", str(folder)],
            env=os.environ | environment,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(60)
        self._log.close()
        return code


@dataclass
class Fleet:
    """What runs, by the names of the tests."""

    folder: Path
    postgres: PostgresServer
    cluster: RedisCluster
    ceph: CephServer
    bucket: str
    environment: dict[str, str]
    servers: list[ServiceProcess] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    _started: int = 0

    def start_server(self) -> ServiceProcess:
        self._started += 1
        data = self.folder / f"server-{self._started}"
        return ServiceProcess(data, arguments=("--no-work",), environment=self.environment)

    def start_worker(self) -> WorkerProcess:
        self._started += 1
        return WorkerProcess(self.folder / f"worker-{self._started}", self.environment)

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the command line on the fleet's settings."""
        return subprocess.Popen(
            [sys.executable, "-m", "thermocline", *arguments],
            env=os.environ | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on the fleet's settings."""
        return subprocess.run(
            [sys.executable, "-m", "thermocline", *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


@contextmanager
def running_fleet(
    folder: Path, postgres: PostgresServer, cluster: RedisCluster, ceph: CephServer, *, servers: int, workers: int
) -> Iterator[Fleet]:
    """Migrate a fresh catalog and start the fleet; what still runs at the end must stop cleanly."""
    bucket = new_bucket(ceph)
    settings = folder / "fleet.toml"
    settings.write_text(
        f"""
[catalog]
url = "{postgres.create_database()}"
[cache]
url = "{cluster.url}"
memory = "16MiB"
second_pass = "10s"
[objects.main]
kind = "s3"
dialect = "ceph"
endpoint = "{ceph.endpoint}"
bucket = "{bucket}"
region = "{ceph.region}"
access_key_id = "{ceph.access_key}"
secret_access_key = "{ceph.secret_key}"
[placements.standard]
objects = "main"
[limits]
max_wait = "3s"
"""
    )
    fleet = Fleet(folder, postgres, cluster, ceph, bucket, {"THERMOCLINE_CONFIG": str(settings)})
    migrated = fleet.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    try:
        # One after the other: the first makes the bucket ours.
        fleet.servers = [fleet.start_server() for _ in range(servers)]
        fleet.workers = [fleet.start_worker() for _ in range(workers)]
        yield fleet
    except BaseException:
        for server in fleet.servers:
            if server.process.poll() is None:
                server.kill()
        for worker in fleet.workers:
            worker.kill()
        raise
    for server in fleet.servers:
        assert server.stop() == 0, server.log()[-4000:]
    assert [worker.stop() for worker in fleet.workers] == [0] * workers


class Load:
    """Writers, each with contents of its own, and readers of all of them; they remember what was acknowledged."""

    def __init__(self, fleet: Fleet, *, seed: int, writers: int = 4, readers: int = 3) -> None:
        self.fleet = fleet
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._possible: dict[str, set[bytes | None]] = {}
        """What each content may be: one body, or several after an unclear answer; None stands for no content."""
        self._tried: dict[str, int] = {}
        self._unclear: dict[str, set[bytes | None]] = defaultdict(set)
        """What writes without a clear answer would have made of it."""
        mark = secrets.token_hex(3)  # contents that no load before has written
        self._threads = [
            *(
                threading.Thread(target=self._write, args=(f"{mark}-{n}", random.Random(seed + n)))
                for n in range(writers)
            ),
            *(threading.Thread(target=self._read, args=(random.Random(seed + 100 + n),)) for n in range(readers)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def done(self, kind: str) -> int:
        """How many writes or reads have succeeded."""
        with self._lock:
            return sum(self.statuses[f"{kind} {status}"] for status in ("200", "201", "204"))

    def goes_on(self, *, more: int) -> None:
        """Return once so many more writes and so many more reads have succeeded."""
        for kind in ("write", "read"):
            wanted = self.done(kind) + more
            until(lambda: self.done(kind) >= wanted, f"the load goes on: {self.statuses}")  # noqa: B023

    def check_everything(self) -> None:
        """Compare each content, as each server shows it, with what was acknowledged."""
        assert self.wrong == []
        unexpected = {status for status in self.statuses if status[-3:] not in EXPECTED}
        assert unexpected == set(), self.statuses
        for server in self.fleet.servers:
            with httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
                for content_id, possible in self._possible.items():
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    while (shown := self._shown(client, content_id)) not in possible:
                        assert time.monotonic() < deadline, (
                            f"{server.url} shows {_head(shown)} of {content_id}, not one of "
                            f"{sorted(map(_head, possible))}; unclear: {sorted(map(_head, self._unclear[content_id]))}"
                        )
                        time.sleep(0.1)

    def _shown(self, client: httpx.Client, content_id: str) -> bytes | None:
        answer = client.get(f"/v1/content/{content_id}")
        return None if answer.status_code == 404 else answer.content

    def _write(self, name: str, chance: random.Random) -> None:
        with httpx.Client(timeout=20.0) as client:
            while not self._stopping.is_set():
                content_id = f"load/{name}/{chance.randrange(IDS_EACH)}"
                possible = self._possible.setdefault(content_id, {None})
                self._tried[content_id] = number = self._tried.get(content_id, 0) + 1
                body = None if chance.random() < 0.1 else _body(content_id, number, chance)
                possible.add(body)
                url = f"{chance.choice(self.fleet.servers).url}/v1/content/{content_id}"
                try:
                    answer = client.delete(url) if body is None else client.put(url, content=body)
                except httpx.TransportError:
                    self._count("write lost 503")  # its server was killed; the write may have been made
                    self._unclear[content_id].add(body)
                    continue
                self._count(f"write {answer.status_code}")
                if answer.is_success:
                    possible.clear()
                    possible.add(body)
                else:
                    self._unclear[content_id].add(body)

    def _read(self, chance: random.Random) -> None:
        with httpx.Client(timeout=20.0) as client:
            while not self._stopping.is_set():
                content_id = chance.choice(list(self._possible) or ["load/none"])
                try:
                    answer = client.get(f"{chance.choice(self.fleet.servers).url}/v1/content/{content_id}")
                except httpx.TransportError:
                    self._count("read lost 503")
                    continue
                self._count(f"read {answer.status_code}")
                if answer.status_code == 200 and not _is_of(content_id, answer.content):
                    self.wrong.append(f"{content_id} was answered with {answer.content[:80]!r}")

    def _count(self, status: str) -> None:
        with self._lock:
            self.statuses[status] += 1


EXPECTED = {"200", "201", "204", "404", "503"}


def _body(content_id: str, number: int, chance: random.Random) -> bytes:
    head = f"{content_id} {number} ".encode()
    return head + chance.randbytes(chance.choice([10, 3000, 200_000]))


def _head(body: bytes | None) -> str:
    return "nothing" if body is None else body[:20].decode(errors="replace")


def _is_of(content_id: str, body: bytes) -> bool:
    return body.startswith(f"{content_id} ".encode())
