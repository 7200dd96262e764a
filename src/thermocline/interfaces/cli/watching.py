"""Waiting for work that does not say how far it has come, without leaving a person at a terminal in the dark."""

import asyncio
import time
from collections.abc import Coroutine
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

from thermocline.interfaces.cli.progress import Progress

if TYPE_CHECKING:
    from thermocline.domain.restores import RestoreStatus
    from thermocline.orchestrator import StorageOrchestrator

T = TypeVar("T")

TICK_SECONDS = 0.25


async def watched(label: str, work: Coroutine[Any, Any, T], *, seconds: float | None = None) -> T:
    """Return what `work` returns; meanwhile a bar shows the time that has passed, of the `seconds` expected.

    Cancelled, it cancels the work and waits for its end.
    """
    total = None if seconds is None else max(ceil(seconds), 1)
    began = time.monotonic()
    with Progress(label, total=total, in_bytes=False) as progress:
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=TICK_SECONDS))[0]:
                passed = int(time.monotonic() - began)
                progress.reach(passed if total is None else min(passed, total))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
    return task.result()


async def watch_restore(store: "StorageOrchestrator", content_id: str, *, within: float) -> "RestoreStatus":
    """Return once the content is readable or `within` seconds have passed; its restore is asked for if it must be.

    Raises as `RestoringService.wait` does, and `ContentNotFoundError`.
    """
    from thermocline.domain.content_id import parse_content_id
    from thermocline.domain.restores import RestoreStage
    from thermocline.domain.units import Seconds, elapsed

    services = store.services
    record = await services.reading.stat(parse_content_id(content_id))
    status = await services.restoring.wait(record, within=Seconds(0.0))
    if status.stage is RestoreStage.READABLE:
        return status
    expected = within if status.eta is None else min(within, elapsed(services.adapters.clock.now(), status.eta))
    return await watched(
        f"restore {content_id}", services.restoring.wait(record, within=Seconds(within)), seconds=expected
    )
