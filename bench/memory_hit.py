"""Reads from memory through the library, against a coroutine function that does nothing but look into a dictionary."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from thermocline import Settings, StorageOrchestrator
from thermocline.services.tracking import ReadKind

BAR = Limit(3.0, at_least=False)
_CONTENTS = 500
_READS = 100_000
_READS_OF_A_COLLECTION = 50_000
Read = Callable[[str], Awaitable[bytes]]


def run(plan: Plan) -> Table:
    return Table(
        name="memory_hit",
        title="1 KiB from memory through `await retrieve_content(id)`: CPU per read",
        rows=asyncio.run(_measure(plan)),
        notes=(
            "The peer is `await bare(id)`, where `bare` is a coroutine function that returns an item of a dictionary.",
            "Ours sees that the value may still be shown, and counts the read: for statistics, eviction and tiering.",
            f"Collected: the tracker takes all counts after {_READS_OF_A_COLLECTION} reads of {_CONTENTS} contents.",
            "Ending: contents with `expires_in`, whose end is a moment of the wall clock, looked at for every read.",
        ),
    )


async def _measure(plan: Plan) -> list[Row]:
    settings = Settings.model_validate({"data": plan.scratch / "data", "tracking": {"flush_every": "1h"}})
    async with StorageOrchestrator.open(settings) as store:
        lasting = [f"lasting-{number}" for number in range(_CONTENTS)]
        ending = [f"ending-{number}" for number in range(_CONTENTS)]
        table: dict[str, bytes] = {}
        for content_id in (*lasting, *ending):
            await store.store_content(
                content_id, bytes(1024), expires_in=86400.0 if content_id.startswith("ending") else None
            )
        while any(store.services.cache.peek(content_id) is None for content_id in (*lasting, *ending)):
            for content_id in (*lasting, *ending):
                table[content_id] = await store.retrieve_content(content_id)

        async def bare(content_id: str) -> bytes:
            return table[content_id]

        tracker = store.services.tracker

        def collect() -> None:
            tracker.drain()

        async def measure(case: str, ids: Sequence[str], between: Callable[[], None], bar: Limit | None) -> Row:
            ours: list[float] = []
            peer: list[float] = []
            for number in range(plan.rounds + 1):
                plan.tell(f"{case}: round {number} of {plan.rounds}")
                before = tracker.totals[ReadKind.MEMORY]
                pair = await _cpu(store.retrieve_content, ids, between), await _cpu(bare, ids, lambda: None)
                if (counted := tracker.totals[ReadKind.MEMORY] - before) != _READS:
                    raise RuntimeError(f"{counted} of {_READS} reads were counted as reads from memory")
                if number:  # the first round warms up
                    ours.append(pair[0])
                    peer.append(pair[1])
            return Row(
                case=case,
                peer_name="a bare coroutine",
                unit="CPU ns/read",
                peer=Spread.of(peer),
                ours=Spread.of(ours),
                compared=Spread.of_ratios(ours, peer),
                bar=bar,
            )

        return [
            await measure("a hit, counted", lasting, lambda: None, BAR),
            await measure("the same, collected", lasting, collect, BAR),
            await measure("ending contents", ending, lambda: None, None),
        ]


async def _cpu(read: Read, ids: Sequence[str], between: Callable[[], None]) -> float:
    """Return nanoseconds of CPU for one read."""
    began = time.process_time()
    for _ in range(_READS // _READS_OF_A_COLLECTION):
        for _ in range(_READS_OF_A_COLLECTION // len(ids)):
            for content_id in ids:
                await read(content_id)
        between()
    return (time.process_time() - began) * 1e9 / _READS
