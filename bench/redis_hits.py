"""Contents that Redis Cluster serves through `retrieve_content`, against what three clients get from the same cluster.

Memory is switched off, so every read goes to the cluster. All clients run in this process on uvloop, by turns, in
another order each round. CPU is that of this whole process, glide's own threads included; nodes have their own.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import glide
import uvloop
from cashews import Cache
from redis.asyncio.cluster import RedisCluster as RedisPyCluster

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline import Settings, StorageOrchestrator
from thermocline.services.tracking import ReadKind
from thermocline.testing.servers.redis import RedisCluster

BAR = Limit(1.0)
"""At 16 readers at once and more: as many reads a second as the fastest of the others."""
CPU_BAR = Limit(0.5, at_least=False)
CPU_GOAL = Limit(0.3, at_least=False)
CONCURRENCIES = (1, 16, 64)
FROM = 16
OURS = "thermocline"
REDIS_PY = "redis-py cluster"
Read = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Kind:
    """What is read: payloads of one size."""

    name: str
    contents: int
    reads: int
    make: Callable[[random.Random], bytes]

    def payloads(self) -> Mapping[str, bytes]:
        dice = random.Random(self.name)
        return {f"{self.name}-{number}": self.make(dice) for number in range(self.contents)}


def _json(dice: random.Random, size: int) -> bytes:
    words = [dice.randbytes(4).hex() for _ in range(500)]
    rows: list[str] = []
    while sum(map(len, rows)) < size:
        title = " ".join(dice.choices(words, k=6))
        rows.append(f'{{"id": {dice.getrandbits(40)}, "title": "{title}", "score": {dice.random():.4f}}}, ')
    return "".join(rows).encode()[:size]


# More contents than readers: reads of one content at one time are one in ours, and shall not be what is measured.
KINDS = (
    Kind("1 KiB", 512, 6_000, lambda dice: dice.randbytes(2**10)),
    Kind("64 KiB", 128, 2_000, lambda dice: dice.randbytes(2**16)),
    Kind("1 MiB", 72, 192, lambda dice: dice.randbytes(2**20)),
    Kind("64 KiB of JSON", 128, 2_000, lambda dice: _json(dice, 2**16)),
)


@dataclass(frozen=True)
class Figure:
    """One client's round."""

    reads_per_second: float
    cpu_microseconds: float
    """For each read."""


def run(plan: Plan) -> Table:
    cluster = RedisCluster(plan.scratch / "cluster", replicas=0)
    plan.tell("starting a cluster of three")
    cluster.start()
    try:
        rows = uvloop.run(_measure(plan, cluster, plan.scratch / "data"))
    finally:
        cluster.stop()
    return Table(
        name="redis_hits",
        title="Redis Cluster through retrieve_content: reads a second against the fastest of redis-py, glide, cashews",
        rows=rows,
        notes=(
            "All clients run in this process, on uvloop, by turns. CPU is the whole process', other threads included.",
            "Ours includes the frame's checksum, visibility and expiry, and counting the read; cashews unpickles.",
            "Bytes are random, but for the JSON, which ours keeps compressed.",
        ),
    )


async def _measure(plan: Plan, cluster: RedisCluster, data: Path) -> list[Row]:
    cache = {"url": cluster.url, "memory": 0, "timeout": "5s"}
    settings = Settings.model_validate({"data": str(data), "cache": cache})
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(StorageOrchestrator.open(settings))
        peers = await stack.enter_async_context(_peers(cluster))
        for kind in KINDS:
            plan.tell(f"{kind.name}: storing {kind.contents}")
            payloads = kind.payloads()
            for content_id, payload in payloads.items():
                await store.store_content(content_id, payload, initial_tier="warm")
                await store.retrieve_content(content_id)
                for peer in peers.values():
                    await peer.put(content_id, payload)
            clients: dict[str, Read] = {
                OURS: store.retrieve_content,
                **{name: peer.get for name, peer in peers.items()},
            }
            for concurrency in CONCURRENCIES:
                totals = store.services.tracker.totals
                before = totals[ReadKind.REDIS]
                found = await _rounds(plan, kind, clients, list(payloads), concurrency)
                if totals[ReadKind.REDIS] - before < (plan.rounds + 1) * _reads(kind, concurrency):
                    raise AssertionError("not every read was served by Redis")
                rows.append(_row(kind, concurrency, found))
                if kind is KINDS[0] and concurrency == max(CONCURRENCIES):
                    rows.append(_cpu_row(kind, concurrency, found))
            for peer in peers.values():
                for content_id in payloads:
                    await peer.remove(content_id)
    return rows


async def _rounds(
    plan: Plan, kind: Kind, clients: Mapping[str, Read], ids: Sequence[str], concurrency: int
) -> Mapping[str, list[Figure]]:
    found: dict[str, list[Figure]] = {name: [] for name in clients}
    for number in range(plan.rounds + 1):
        plan.tell(f"{kind.name}, {concurrency} at once: round {number} of {plan.rounds}")
        order = list(clients)
        order = order[number % len(order) :] + order[: number % len(order)]
        for name in order:
            figure = await _figure(clients[name], ids, _reads(kind, concurrency), concurrency)
            if number:  # the first round warms up
                found[name].append(figure)
    return found


def _reads(kind: Kind, concurrency: int) -> int:
    return kind.reads // concurrency * concurrency


async def _figure(read: Read, ids: Sequence[str], reads: int, concurrency: int) -> Figure:
    async def reader(first: int) -> None:
        for number in range(reads // concurrency):
            if await read(ids[(first * 37 + number) % len(ids)]) is None:
                raise AssertionError("a read found nothing")

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(reader(first) for first in range(concurrency)))
    return Figure(reads / (time.perf_counter() - began), (time.process_time() - cpu) * 1e6 / reads)


def _row(kind: Kind, concurrency: int, found: Mapping[str, list[Figure]]) -> Row:
    speeds = {name: [figure.reads_per_second for figure in figures] for name, figures in found.items()}
    fastest = max((name for name in speeds if name != OURS), key=lambda name: Spread.of(speeds[name]).median)
    details = {
        f"CPU us: {name}": Spread.of([figure.cpu_microseconds for figure in figures]).median
        for name, figures in found.items()
    }
    others = {f"reads/s: {name}": Spread.of(speeds[name]).median for name in speeds if name not in {OURS, fastest}}
    return Row(
        case=f"{kind.name}, {concurrency} at once",
        peer_name=fastest,
        unit="reads/s",
        peer=Spread.of(speeds[fastest]),
        ours=Spread.of(speeds[OURS]),
        compared=Spread.of_ratios(speeds[OURS], speeds[fastest]),
        bar=BAR if concurrency >= FROM else None,
        details=details | others,
    )


def _cpu_row(kind: Kind, concurrency: int, found: Mapping[str, list[Figure]]) -> Row:
    cpu = {name: [figure.cpu_microseconds for figure in found[name]] for name in (OURS, REDIS_PY)}
    return Row(
        case=f"{kind.name}, {concurrency} at once",
        peer_name=REDIS_PY,
        unit="CPU us/read",
        peer=Spread.of(cpu[REDIS_PY]),
        ours=Spread.of(cpu[OURS]),
        compared=Spread.of_ratios(cpu[OURS], cpu[REDIS_PY]),
        bar=CPU_BAR,
        goal=CPU_GOAL,
    )


@dataclass(frozen=True)
class Peer:
    """A client, as it is meant to be used."""

    get: Read
    put: Callable[[str, bytes], Awaitable[object]]
    remove: Read


@asynccontextmanager
async def _peers(cluster: RedisCluster) -> AsyncIterator[Mapping[str, Peer]]:
    port = cluster.nodes[0].port
    redis_py = RedisPyCluster(host="127.0.0.1", port=port)
    glides = await glide.GlideClusterClient.create(
        glide.GlideClusterClientConfiguration([glide.NodeAddress("127.0.0.1", port)], request_timeout=5000)
    )
    cashews = Cache()
    cashews.setup(f"redis://127.0.0.1:{port}", cluster=True, suppress=False, max_connections=100, socket_timeout=5)
    await cashews.init()

    async def nothing(key: str, value: bytes = b"") -> None:
        """Do nothing: what redis-py put there is read by both."""

    try:
        yield {
            REDIS_PY: Peer(redis_py.get, redis_py.set, redis_py.delete),
            "glide": Peer(glides.get, nothing, nothing),
            "cashews": Peer(
                lambda key: cashews.get(f"cashews:{key}"),
                lambda key, value: cashews.set(f"cashews:{key}", value),
                lambda key: cashews.delete(f"cashews:{key}"),
            ),
        }
    finally:
        await cashews.close()
        await glides.close()
        await redis_py.aclose()
