"""Storage reads of 64 KiB, 16 at once on distinct contents that no cache has: `retrieve_content` and bare obstore."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import obstore

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from bench.s3 import buckets
from thermocline import StorageOrchestrator, StorageTier

_SIZE_BYTES = 64 * 1024
_AT_ONCE = 16
_BAR = Limit(0.6)
_GOAL = Limit(0.9)


def run(plan: Plan) -> Table:
    count = 300 if plan.quick else 2000
    with buckets.running(plan.scratch / "ceph") as server:
        bare, ours, cpu_bare, cpu_ours = asyncio.run(_compare(plan, server.endpoint, count))
    return Table(
        name="s3_reads",
        title=f"reads of {count} contents of 64 KiB from a bucket, {_AT_ONCE} at once, none cached",
        rows=[
            Row(
                case="read",
                peer_name="obstore",
                unit="reads/s",
                peer=Spread.of(bare),
                ours=Spread.of(ours),
                compared=Spread.of_ratios(ours, bare),
                bar=_BAR,
                goal=_GOAL,
                details={"CPU us/read: obstore": cpu_bare, "ours": cpu_ours},
            )
        ],
        notes=("Ours looks each content up in the catalog and compares its SHA-256. Ceph keeps all in memory.",),
    )


async def _compare(plan: Plan, endpoint: str, count: int) -> tuple[list[float], list[float], float, float]:
    rates: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    store = buckets.bare(endpoint)
    async with StorageOrchestrator.open(buckets.settings(plan.scratch / "data", endpoint)) as ours:
        plan.tell("storing")
        names = [f"c/{number}" for number in range(count)]
        keys: dict[str, str] = {}

        async def put(name: str) -> None:
            receipt = await ours.store_content(name, os.urandom(_SIZE_BYTES), initial_tier=StorageTier.COLD)
            keys[name] = receipt.object_key

        async def get_bare(name: str) -> None:
            data = await obstore.get_range_async(store, keys[name], start=0, end=_SIZE_BYTES)
            if len(data) != _SIZE_BYTES:
                raise RuntimeError(f"{len(data)} bytes came")

        async def get_ours(name: str) -> None:
            if len(await ours.retrieve_content(name)) != _SIZE_BYTES:
                raise RuntimeError("other bytes came")

        await _all(names, put)
        for side in (get_bare, get_ours):
            await _all(names[: count // 4], side)
        for number in range(plan.rounds):
            plan.tell(f"round {number + 1} of {plan.rounds}")
            for index, side in enumerate((get_bare, get_ours)):
                began, used = time.perf_counter(), time.process_time()
                await _all(names, side)
                rates[index].append(count / (time.perf_counter() - began))
                cpu[index] += (time.process_time() - used) / count / plan.rounds * 1e6
    return rates[0], rates[1], cpu[0], cpu[1]


async def _all(names: Sequence[str], act: Callable[[str], Awaitable[None]]) -> None:
    left = iter(names)

    async def some() -> None:
        while batch := list(islice(left, 1)):
            await act(batch[0])

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
