"""What Redis' trouble costs readers: a cluster that stands still, and an eviction by pattern beside them.

1. The slowest percentile of reads that a standing cluster should have served, against reads of a store without one.
2. That of another client's hits while keys by the hundred thousand are evicted by pattern, against its hits in quiet.
"""

import asyncio
import time
from collections.abc import Sequence

import uvloop

from bench.figures import Row, Spread, Table
from bench.plan import Plan
from thermocline import Settings, StorageOrchestrator
from thermocline.testing.servers.redis import RedisCluster

_SIZE = 64 * 1024
_CONTENTS = 256
_READERS = 16
_READS = 4_000
_KEYS = 100_000
_QUICK_KEYS = 10_000
_PERCENTILE = 0.99
_AT_ONCE = 500


def run(plan: Plan) -> Table:
    cluster = RedisCluster(plan.scratch / "cluster")
    plan.tell("starting a cluster of 3+3")
    cluster.start()
    try:
        rows = uvloop.run(_measure(plan, cluster))
    finally:
        cluster.stop()
    return Table(
        name="redis_trouble",
        title="What Redis' trouble costs readers, in the slowest hundredth of their reads",
        rows=rows,
        notes=(
            f"{_READERS} readers of 64 KiB, memory off. The cluster is stopped (SIGSTOP) before the first read: what",
            "is read before its circuits open waits for one timeout (1 s), and counts.",
            "The eviction runs in a process' own client beside the reader; at most half of the time it works.",
        ),
    )


async def _measure(plan: Plan, cluster: RedisCluster) -> list[Row]:
    return [await _standing(plan, cluster), await _evicting(plan, cluster)]


async def _standing(plan: Plan, cluster: RedisCluster) -> Row:
    alone: list[float] = []
    standing: list[float] = []
    settings = {"data": str(plan.scratch / "data")}
    shared = _settings(settings, {"url": cluster.url, "memory": 0})
    without = _settings(settings, {"memory": 0})
    async with StorageOrchestrator.open(without) as store:
        for number in range(_CONTENTS):
            await store.store_content(f"c{number}", number.to_bytes(2) * (_SIZE // 2), initial_tier="warm")
    for number in range(plan.rounds):
        plan.tell(f"a cluster that stands still: round {number + 1} of {plan.rounds}")
        async with StorageOrchestrator.open(without) as store:
            alone.append(_percentile(await _reads(store)))
        async with StorageOrchestrator.open(shared) as store:
            for node in cluster.nodes:
                node.pause()
            try:
                standing.append(_percentile(await _reads(store)))
            finally:
                for node in cluster.nodes:
                    node.resume()
                cluster.wait_until_whole()
    return _row("reads while Redis stands still", "storage alone", alone, standing)


async def _evicting(plan: Plan, cluster: RedisCluster) -> Row:
    keys = _QUICK_KEYS if plan.quick else _KEYS
    quiet: list[float] = []
    beside: list[float] = []
    settings = _settings({"data": str(plan.scratch / "data")}, {"url": cluster.url, "memory": 0, "timeout": "5s"})
    async with StorageOrchestrator.open(settings) as store, StorageOrchestrator.open(settings) as other:
        await _reads(store)  # fills Redis
        for number in range(plan.rounds):
            plan.tell(f"an eviction by pattern: round {number + 1} of {plan.rounds}")
            quiet.append(_percentile(await _reads(store)))
            await _put_many(other, keys)
            evicting = asyncio.get_running_loop().create_task(other.cache.invalidate("many/*", "metadata"))
            found: list[float] = []
            while not evicting.done():
                found += await _reads(store)
            if await evicting != keys:
                raise AssertionError("not every key was evicted")
            beside.append(_percentile(found))
    return _row(f"hits while {keys} keys are evicted", "quiet hits", quiet, beside)


async def _put_many(store: StorageOrchestrator, keys: int) -> None:
    for first in range(0, keys, _AT_ONCE):
        ids = (f"many/{number}" for number in range(first, first + _AT_ONCE))
        await asyncio.gather(*(store.cache.put(content_id, b"x" * 100, cache_type="metadata") for content_id in ids))


async def _reads(store: StorageOrchestrator) -> list[float]:
    """Return the seconds of each read."""
    taken: list[float] = []

    async def reader(first: int) -> None:
        for number in range(first, _READS, _READERS):
            began = time.perf_counter()
            await store.retrieve_content(f"c{number % _CONTENTS}")
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(reader(first) for first in range(_READERS)))
    return taken


def _percentile(taken: Sequence[float]) -> float:
    """Return the milliseconds that all but the slowest hundredth stay below."""
    return sorted(taken)[int(len(taken) * _PERCENTILE)] * 1000


def _settings(base: dict[str, str], cache: dict[str, object]) -> Settings:
    return Settings.model_validate({**base, "cache": cache})


def _row(case: str, peer_name: str, peer: list[float], ours: list[float]) -> Row:
    return Row(
        case=case,
        peer_name=peer_name,
        unit="ms, 99%",
        peer=Spread.of(peer),
        ours=Spread.of(ours),
        compared=Spread.of_ratios(ours, peer),
    )
