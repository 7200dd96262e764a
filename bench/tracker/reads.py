"""Reads of contents in memory, through the library's hit path, counted and not."""

import time
from collections.abc import AsyncIterator, Callable, Sequence

from bench.plan import Plan
from thermocline import Settings, StorageOrchestrator

_CONTENTS = 500
_READS = 200_000


async def seconds_per_read(plan: Plan) -> AsyncIterator[tuple[int, float, float]]:
    """Yield `(round, seconds of a counted read, seconds of one that is not)`, the two taking turns."""
    settings = Settings.model_validate({"data": plan.scratch / "reads", "tracking": {"flush_every": "1h"}})
    async with StorageOrchestrator.open(settings) as store:
        ids = [f"content-{number}" for number in range(_CONTENTS)]
        for content_id in ids:
            await store.store_content(content_id, b"x" * 1024)
            await store.retrieve_content(content_id)
        reading, cache = store.services.reading, store.services.cache

        def uncounted(content_id: str) -> object:
            # `ReadingService.hit` without what counts.
            entry = cache.peek(content_id)
            if entry is not None:
                pass
            return entry

        for number in range(plan.rounds + 1):
            pair = _seconds(reading.hit, ids), _seconds(uncounted, ids)
            if number:  # the first round warms up
                yield number, *pair


def _seconds(read: Callable[[str], object], ids: Sequence[str]) -> float:
    """Return the time of one read: the best of several stretches, since anything else on the machine only adds."""
    stretches = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(_READS // 5 // len(ids)):
            for content_id in ids:
                read(content_id)
        stretches.append(time.perf_counter() - began)
        if read(ids[0]) is None:
            raise RuntimeError("the contents are not in memory")
    return min(stretches) / (_READS // 5)
