"""Four processes on PostgreSQL, a Redis Cluster and a folder, whose operations on a few ids are recorded."""

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.fleet import until
from tests.histories.checking import Act, Bounds, Change, Read, Verdict, check
from tests.histories.partition import Partition
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.testing.servers.redis import RedisCluster

SIZE = 4
IDS = 8
MEMORY_AGE = 1.0
SECOND_PASS = 2.0
TIMEOUT = 0.5
"""Of one call to Redis, in seconds."""
START_SECONDS = 60.0
ANSWER_SECONDS = 120.0


class Member:
    """One process, and the pipe by which it is told what to do."""

    def __init__(self, folder: Path, settings: Path, number: int) -> None:
        self._log: IO[bytes] = (folder / f"actor{number}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.histories.actor", str(settings), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )

    def tell(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def hear(self, wait: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Return the answer to the oldest order that has none yet."""
        lines: list[str] = []
        assert self.process.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(wait)
        assert lines, f"process {self.process.pid} says nothing; see {self._log.name}"
        assert lines[0], f"process {self.process.pid} ended; see {self._log.name}"
        answer: dict[str, Any] = json.loads(lines[0])
        return answer

    def kill(self) -> None:
        self.process.kill()
        self._close()

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self._close()

    def _close(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            if pipe is not None:
                pipe.close()


@dataclass
class Crowd:
    """The processes and what they share."""

    folder: Path
    settings: Path
    postgres: PostgresServer
    database: str
    cluster: RedisCluster
    partition: Partition
    members: list[Member] = field(default_factory=list)
    _runs: int = 0

    def start_member(self, number: int) -> Member:
        member = Member(self.folder, self.settings, number)
        member.hear(START_SECONDS)
        return member

    def run(
        self, seed: int, *, seconds: float, changing: float, share: float, during: Callable[[], None] | None = None
    ) -> "Run":
        """Let all processes act for `seconds`; return what was recorded.

        For the first `changing` seconds a `share` of what they do are changes; all else is reads.
        """
        self._runs += 1
        ids = [f"run{self._runs}/{n}" for n in range(IDS)]
        files = [self.folder / f"run{self._runs}.{number}.jsonl" for number in range(SIZE)]
        begin = time.monotonic()
        order = {"do": "run", "seed": seed, "ids": ids, "seconds": seconds, "changing": changing, "share": share}
        for member, file in zip(self.members, files, strict=True):
            member.tell(order | {"into": str(file)})
        if during is not None:
            during()
        answers = [member.hear(seconds + ANSWER_SECONDS) for member in self.members]
        failed: Counter[str] = Counter()
        for answer in answers:
            failed.update(answer["failed"])
        changes, reads = _recorded(files)
        return Run(seed, begin, changes, reads, failed)

    def wait_for_second_passes(self) -> float:
        """Return how many seconds it takes until no invalidation is owed any more; fail if that never comes."""
        begin = time.monotonic()
        statement = "SELECT count(*) FROM outbox WHERE kind = 'invalidate'"
        until(lambda: not self.postgres.execute(statement, database=self.database)[0][0], "nothing is owed any more")
        return time.monotonic() - begin


@dataclass(frozen=True)
class Run:
    """What was recorded in one run."""

    seed: int
    began: float
    changes: Sequence[Change]
    reads: Sequence[Read]
    failed: Counter[str]

    def check(self, bounds: Bounds) -> Verdict:
        return check(self.changes, self.reads, bounds)


def _recorded(files: Sequence[Path]) -> tuple[list[Change], list[Read]]:
    changes: list[Change] = []
    reads: list[Read] = []
    for file in files:
        for line in file.read_text().splitlines():
            kind, facts = json.loads(line)
            if kind == "Read":
                reads.append(Read(**facts))
            else:
                changes.append(Change(**facts | {"act": Act(facts["act"])}))
        file.unlink()
    return changes, reads


@contextmanager
def gathered(
    folder: Path, postgres: PostgresServer, cluster: RedisCluster, *, objects: str = "", timeout: float = TIMEOUT
) -> Iterator[Crowd]:
    """Four processes for the length of the block; all must end well.

    `objects`: settings of the main object store; `timeout`: seconds that one call to Redis may take.
    """
    url = fresh_postgres_catalog(postgres)
    database = url.rpartition("/")[2]
    installation = f"test-{secrets.token_hex(6)}"
    statement = f"UPDATE installation SET installation_id = '{installation}'"  # noqa: S608 - made above
    postgres.execute(statement, database=database)
    with Partition([node.port for node in cluster.nodes]) as partition:
        for node, port in zip(cluster.nodes, partition.ports, strict=True):
            node.cli("CONFIG", "SET", "cluster-announce-port", str(port))
        settings = folder / "crowd.toml"
        settings.write_text(_settings(folder, url, partition.ports, objects, timeout))
        crowd = Crowd(folder, settings, postgres, database, cluster, partition)
        _make_token(settings)
        try:
            # The first makes the object stores ours.
            crowd.members = [crowd.start_member(0)]
            crowd.members += [Member(folder, settings, number) for number in range(1, SIZE)]
            for member in crowd.members[1:]:
                member.hear(START_SECONDS)
            partition.know([member.process.pid for member in crowd.members])
            yield crowd
        except BaseException:
            for member in crowd.members:
                member.kill()
            raise
        assert [member.stop() for member in crowd.members] == [0] * SIZE
    postgres.drop_database(url)


def _settings(folder: Path, url: str, ports: Sequence[int], objects: str, timeout: float) -> str:
    nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"""
data = "{folder / "data"}"
[catalog]
url = "{url}"
[cache]
url = "redis+cluster://{nodes}"
memory = "8MiB"
timeout = "{timeout}s"
l1_max_age = "{MEMORY_AGE}s"
second_pass = "{SECOND_PASS}s"
negative_ttl = "{MEMORY_AGE}s"
[objects.main]
{objects or f'kind = "local"{chr(10)}path = "{folder / "standard"}"'}
[objects.cold]
kind = "local"
path = "{folder / "cold"}"
[placements.standard]
objects = "main"
[placements.cold]
objects = "cold"
[tiers.cold]
placement = "cold"
[tiers.archive]
placement = "cold"
[log]
level = "warning"
"""


def _make_token(settings: Path) -> None:
    """Close the store to anybody: from now on only public content is shown without a token."""
    made = subprocess.run(
        [sys.executable, "-m", "thermocline", "--config", str(settings), "token", "create", "--scope", "read,write"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )
    assert made.returncode == 0, made.stderr
