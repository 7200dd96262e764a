"""Many small pieces of work, some at once: what waits and what is under way is bounded.

When `run` ends, however it does, nothing is under way any more: a piece that has begun is let to its end, so that no
write is left to a cleaner. Long pieces look at `stopping` and end by themselves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class FanOut(Generic[T]):
    """Works on items as they come, `jobs` at once."""

    def __init__(self, jobs: int) -> None:
        self.stopping = False
        self._jobs = jobs
        self._waiting: deque[T] = deque()
        self._ended = False
        self._more = asyncio.Event()
        self._room = asyncio.Event()

    def stop(self) -> None:
        """Begin no more pieces."""
        self.stopping = True
        self._waiting.clear()
        self._more.set()
        self._room.set()

    async def run(self, pages: AsyncIterator[Sequence[T]], work: Callable[[T], Awaitable[None]]) -> None:
        """Work on every item, unless stopped. Raises what `pages` or `work` raise, after all has come to rest."""
        tasks = [asyncio.ensure_future(self._feed(pages))]
        tasks += [asyncio.ensure_future(self._serve(work)) for _ in range(self._jobs)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.stop()
            # The walk only reads; it may wait for a page that nobody will use.
            tasks[0].cancel()
            await asyncio.wait(tasks)
            failures = [task.exception() for task in tasks if not task.cancelled()]
        for failure in failures:
            if failure is not None:
                raise failure

    async def _feed(self, pages: AsyncIterator[Sequence[T]]) -> None:
        try:
            async for page in pages:
                if self.stopping:
                    break
                self._waiting.extend(page)
                self._more.set()
                # The next page is fetched while the rest of this one is worked on.
                while len(self._waiting) > self._jobs and not self.stopping:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._more.set()

    async def _serve(self, work: Callable[[T], Awaitable[None]]) -> None:
        while not self.stopping:
            if self._waiting:
                item = self._waiting.popleft()
                if len(self._waiting) <= self._jobs:
                    self._room.set()
                await work(item)
            elif self._ended:
                return
            else:
                self._more.clear()
                await self._more.wait()
