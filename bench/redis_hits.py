"""Contents of 1 KiB from Redis, 64 readers at once, against redis-py's cluster client asking one by one.

Memory is switched off, so every read goes to the cluster. CPU time of this process, which reads; nodes have their own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from redis.asyncio.cluster import RedisCluster as RedisPyCluster

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline import Settings, StorageOrchestrator
from thermocline.services.tracking import ReadKind
from thermocline.testing.servers.redis import RedisCluster

CONTENTS = 512
SIZE = 1024
BAR = Limit(0.5, at_least=False)
GOAL = Limit(0.3, at_least=False)
CONCURRENCIES = (1, 16, 64)
READS = 6_000
Read = Callable[[str], Awaitable[object]]


def run(plan: Plan) -> Table:
    cluster = RedisCluster(plan.scratch / "cluster")
    plan.tell("starting a cluster of 3+3")
    cluster.start()
    try:
        rows = uvloop.run(_measure(plan, cluster.url, plan.scratch / "data"))
    finally:
        cluster.stop()
    return Table(
        name="redis_hits",
        title=f"{SIZE // 1024} KiB from Redis Cluster through retrieve_content: CPU per read against redis-py's GET",
        rows=rows,
        notes=(
            "Both clients run in this process, on uvloop, by turns. CPU is what the process took; less is better.",
            "Ours includes the frame's checksum, visibility and expiry, and counting the read.",
        ),
    )


async def _measure(plan: Plan, url: str, data: Path) -> list[Row]:
    settings = Settings.model_validate({"data": str(data), "cache": {"url": url, "memory": 0, "timeout": "5s"}})
    ids = [f"content-{number}" for number in range(CONTENTS)]
    nodes = url.removeprefix("redis+cluster://").split(",")[0].split(":")
    peer = RedisPyCluster(host=nodes[0], port=int(nodes[1]))
    try:
        async with StorageOrchestrator.open(settings) as store:
            plan.tell(f"storing {CONTENTS} contents")
            for content_id in ids:
                await store.store_content(content_id, bytes(SIZE), initial_tier="warm")
                await store.retrieve_content(content_id)
                await peer.set(content_id, bytes(SIZE))
            totals = store.services.tracker.totals
            rows = []
            for concurrency in CONCURRENCIES:
                ours: list[float] = []
                theirs: list[float] = []
                for number in range(plan.rounds + 1):
                    plan.tell(f"{concurrency} at once: round {number} of {plan.rounds}")
                    before = totals[ReadKind.REDIS]
                    pair = await _cpu(store.retrieve_content, ids, concurrency), await _cpu(peer.get, ids, concurrency)
                    asked = READS // concurrency * concurrency
                    if totals[ReadKind.REDIS] - before < asked:
                        raise AssertionError("not every read was served by Redis")
                    if number:  # the first round warms up
                        ours.append(pair[0])
                        theirs.append(pair[1])
                rows.append(
                    Row(
                        case=f"{concurrency} at once",
                        peer_name="redis-py cluster",
                        unit="CPU us/read",
                        peer=Spread.of(theirs),
                        ours=Spread.of(ours),
                        compared=Spread.of_ratios(ours, theirs),
                        bar=BAR if concurrency == max(CONCURRENCIES) else None,
                        goal=GOAL if concurrency == max(CONCURRENCIES) else None,
                    )
                )
            return rows
    finally:
        await peer.aclose()


async def _cpu(read: Read, ids: list[str], concurrency: int) -> float:
    """Return microseconds of this process's CPU for one read."""

    async def reader(first: int) -> None:
        for number in range(READS // concurrency):
            await read(ids[(first * 37 + number) % CONTENTS])

    began = time.process_time()
    await asyncio.gather(*(reader(first) for first in range(concurrency)))
    return (time.process_time() - began) * 1e6 / (READS // concurrency * concurrency)
