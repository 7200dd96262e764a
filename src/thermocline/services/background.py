"""Best-effort work that nobody waits for: bounded, shed when full, ended when the store closes."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """Runs at most `capacity` pieces of work beside the requests; a piece too many is dropped and counted.

    Work must be safe to lose: a crash loses it too.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tasks: set[asyncio.Task[None]] = set()
        self.shed = 0
        self.failed = 0

    def spawn(self, work: Coroutine[Any, Any, object]) -> bool:
        """Start `work` unless too much is running; whether it was started."""
        if len(self._tasks) >= self._capacity:
            self.shed += 1
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(done, work))
        return True

    def spawn_spare(self, work: Coroutine[Any, Any, object]) -> bool:
        """Start what is the first to be shed: only while less than half of the capacity is taken; whether so."""
        if 2 * len(self._tasks) >= self._capacity:
            self.shed += 1
            work.close()
            return False
        return self.spawn(work)

    def _end(self, task: asyncio.Task[None], work: Coroutine[Any, Any, object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: what is not an Exception ends the task, and nobody else looks
        work.close()  # a task cancelled before its first step never entered its work

    async def drain(self) -> None:
        """Return when everything that was started has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Cancel what is running and return when it has ended."""
        for task in self._tasks:
            task.cancel()
        await self.drain()

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - best effort: counted and logged, never raised to anybody
            self.failed += 1
            log.warning("background_work_failed", error=type(exc).__name__, message=str(exc))
