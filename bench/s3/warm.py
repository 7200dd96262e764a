"""Warming 1,000 contents of 64 KiB from a bucket, and bare obstore reading their objects, 10 at once each."""

import asyncio
import os
import time
from collections.abc import Iterator

import obstore
import uvloop

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from bench.s3 import buckets
from thermocline import StorageOrchestrator, StorageTier
from thermocline.domain.predictions import Prediction
from thermocline.services.warming import CONCURRENCY

_SIZE_BYTES = 64 * 1024
_BAR = Limit(0.7)


def run(plan: Plan) -> Table:
    count = 200 if plan.quick else 1000
    with buckets.running(plan.scratch / "ceph") as server:
        # As the service runs; both on the same loop.
        bare, ours, cpu_bare, cpu_ours = uvloop.run(_compare(plan, server.endpoint, count))
    return Table(
        name="warm",
        title=f"warming {count} contents of 64 KiB from a bucket, {CONCURRENCY} at once",
        rows=[
            Row(
                case="warm",
                peer_name="obstore",
                unit="contents/s",
                peer=Spread.of(bare),
                ours=Spread.of(ours),
                compared=Spread.of_ratios(ours, bare),
                bar=_BAR,
                details={"CPU us/content: obstore": cpu_bare, "ours": cpu_ours},
            )
        ],
        notes=("Ours looks each content up in the catalog, takes leases, compares its SHA-256, and fills memory.",),
    )


async def _compare(plan: Plan, endpoint: str, count: int) -> tuple[list[float], list[float], float, float]:
    rates: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    store = buckets.bare(endpoint)
    async with StorageOrchestrator.open(buckets.settings(plan.scratch / "data", endpoint)) as ours:
        plan.tell("storing")
        names = [f"c/{number}" for number in range(count)]
        keys: list[str] = []
        for start in range(0, count, CONCURRENCY):
            receipts = await asyncio.gather(
                *(
                    ours.store_content(name, os.urandom(_SIZE_BYTES), initial_tier=StorageTier.WARM)
                    for name in names[start : start + CONCURRENCY]
                )
            )
            keys += [receipt.object_key for receipt in receipts]
        predictions = [Prediction((await ours.stat(name)).content_id, 0.9) for name in names]

        async def bare_turn() -> None:
            left: Iterator[str] = iter(keys)

            async def some() -> None:
                for key in left:
                    if len(await obstore.get_range_async(store, key, start=0, end=_SIZE_BYTES)) != _SIZE_BYTES:
                        raise RuntimeError("other bytes came")

            await asyncio.gather(*(some() for _ in range(CONCURRENCY)))

        async def our_turn() -> None:
            report = await ours.services.warming.warm_cache(predictions)
            if report.warmed != count:
                raise RuntimeError(f"warmed {report.as_dict()}")

        for turn in (bare_turn, our_turn):
            await turn()
        for number in range(plan.rounds):
            plan.tell(f"round {number + 1} of {plan.rounds}")
            for index, turn in enumerate((bare_turn, our_turn)):
                await ours.services.cache.clear()
                began, used = time.perf_counter(), time.process_time()
                await turn()
                rates[index].append(count / (time.perf_counter() - began))
                cpu[index] += (time.process_time() - used) / count / plan.rounds * 1e6
    return rates[0], rates[1], cpu[0], cpu[1]
