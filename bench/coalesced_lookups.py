"""Looking contents up in a PostgreSQL catalog: through the port, where concurrent look-ups go together, and one by one.

The server is real and on this machine; everything that is asked for is in its memory. The peer runs one prepared
statement for each id on a pool of as many connections as the catalog's readers have, and yields bare rows. Ours yields
records. Callers are independent: each asks for its next content when it has the last one, in the next turn of the event
loop or a few turns later, as requests of different clients do.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg_pool

from bench import processes
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline.adapters.catalog.sql import SqlCatalog
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.ports.records import Write
from thermocline.testing.catalog import fresh_postgres_catalog
from thermocline.testing.servers.postgres import PostgresServer

_RECORDS = 20_000
_BATCH = 500
_CONNECTIONS = 8
_READERS = 4
_PLACEMENT = "standard"
_NOW = Timestamp(1_767_225_600_000_000)
_BAR = Limit(5.0)
_BUSY_PERCENT = 20.0
_ONE = (
    "SELECT content_id, revision, version, placement, object_key, digest, size, content_type, cache_control, "
    "content_disposition, metadata, tier, tier_since, visibility, created_at, modified_at, expires_at, held, pinned, "
    "unproven, chunk_digests FROM contents WHERE content_id = %s AND deleted_at IS NULL"
)

_Find = Callable[[ContentId], Awaitable[object]]


@dataclass(frozen=True)
class _Turn:
    per_second: float
    cpu_us: float
    others_percent: float


def run(plan: Plan) -> Table:
    with _server() as server, asyncio.Runner() as runner:
        url = fresh_postgres_catalog(server)
        plan.tell("storing the records")
        contents = runner.run(_fill(url))
        server.execute("VACUUM ANALYZE contents", database=url.rpartition("/")[2])
        rows = [
            runner.run(_row(plan, server, url, contents, callers, apart))
            for callers, apart in ((64, False), (64, True), (16, False), (1, False))
        ]
    return Table(
        name="coalesced_lookups",
        title=f"look-ups of {_RECORDS} contents in PostgreSQL: the catalog's port against one statement for each",
        rows=rows,
        notes=(f"Peer: psycopg_pool, {_READERS} asynchronous connections, one prepared statement, bare rows.",),
    )


@contextmanager
def _server() -> Iterator[PostgresServer]:
    # Not under the folder that is measured: another user must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="thermocline-bench-") as folder:
        server = PostgresServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


async def _row(
    plan: Plan,
    server: PostgresServer,
    url: str,
    contents: Sequence[ContentId],
    callers: int,
    apart: bool,  # noqa: FBT001
) -> Row:
    case = f"{callers} at once" + (", in different turns" if apart else "")
    peer_turns: list[_Turn] = []
    our_turns: list[_Turn] = []
    pool = psycopg_pool.AsyncConnectionPool(
        url, min_size=_READERS, max_size=_READERS, open=False, kwargs={"autocommit": True, "prepare_threshold": 0}
    )
    async with pool, await SqlCatalog.open(url, connections=_CONNECTIONS) as catalog:

        async def one_by_one(content_id: ContentId) -> object:
            async with pool.connection() as connection:
                cursor = await connection.execute(_ONE, (content_id,), binary=True)
                return await cursor.fetchone()

        sides = ((peer_turns, one_by_one), (our_turns, catalog.records.find))
        for _, find in sides:
            await _load(find, contents, callers, apart=apart, seconds=0.3)
        for number in range(plan.rounds):
            plan.tell(f"{case}: round {number + 1} of {plan.rounds}")
            for turns, find in sides if number % 2 else reversed(sides):
                seconds = 1.0 if plan.quick else plan.seconds / 2
                turns.append(await _measured(server, find, contents, callers, apart=apart, seconds=seconds))
    return Row(
        case=case,
        peer_name="one by one",
        unit="ids/s",
        peer=Spread.of([turn.per_second for turn in peer_turns]),
        ours=Spread.of([turn.per_second for turn in our_turns]),
        compared=Spread.of_ratios([turn.per_second for turn in our_turns], [turn.per_second for turn in peer_turns]),
        bar=_BAR if callers > 16 and not apart else None,
        details={
            "CPU us/id with the server: peer": statistics.median(turn.cpu_us for turn in peer_turns),
            "ours": statistics.median(turn.cpu_us for turn in our_turns),
            "other programs %": statistics.median(turn.others_percent for turn in our_turns),
        },
        is_doubtful=statistics.median(turn.others_percent for turn in (*our_turns, *peer_turns)) > _BUSY_PERCENT,
    )


async def _measured(
    server: PostgresServer, find: _Find, contents: Sequence[ContentId], callers: int, *, apart: bool, seconds: float
) -> _Turn:
    def cpu_used() -> float:
        return time.process_time() + processes.cpu_seconds(processes.tree(server.process.pid))

    machine, cpu = processes.MachineTime.now(), cpu_used()
    found, took = await _load(find, contents, callers, apart=apart, seconds=seconds)
    cpu = cpu_used() - cpu
    machine = processes.MachineTime.now() - machine
    return _Turn(found / took, cpu / found * 1e6, 100 * max(machine.busy - cpu, 0) / machine.total)


async def _load(
    find: _Find, contents: Sequence[ContentId], callers: int, *, apart: bool, seconds: float
) -> tuple[int, float]:
    """Let callers look contents up for that long; return how many they found, and in which time."""
    numbers = itertools.count()
    began = time.perf_counter()

    async def call() -> int:
        found = 0
        while time.perf_counter() - began < seconds:
            number = next(numbers)
            for _ in range(number % 7 if apart else 0):
                await asyncio.sleep(0)
            if await find(contents[number * 7919 % len(contents)]) is None:
                raise RuntimeError("a content was not found")
            found += 1
        return found

    found = sum(await asyncio.gather(*(call() for _ in range(callers))))
    return found, time.perf_counter() - began


async def _fill(url: str) -> Sequence[ContentId]:
    contents = [ContentId(f"users/{number % 1000:04}/photo-{number:07}.jpg") for number in range(_RECORDS)]
    async with await SqlCatalog.open(url) as catalog:
        for start in range(0, _RECORDS, _BATCH):
            writes = [_write(content_id) for content_id in contents[start : start + _BATCH]]
            keys = [write.object_key for write in writes]
            await catalog.bulk.declare(keys, _PLACEMENT, lease=Seconds(60.0))
            await catalog.bulk.commit(writes, now=_NOW, delete_at=_NOW, evict_at=_NOW)
    return contents


def _write(content_id: ContentId) -> Write:
    return Write(
        content_id=content_id,
        placement=_PLACEMENT,
        object_key=f"home/{_PLACEMENT}/{content_id}/{'0' * 26}",
        digest=bytes(32),
        chunk_digests=bytes(16),
        size=Bytes(1000),
        headers=StoredHeaders("image/jpeg"),
        metadata={"album": "pets"},
        tier=StorageTier.WARM,
        visibility=Visibility.PRIVATE,
        expires_at=None,
    )
