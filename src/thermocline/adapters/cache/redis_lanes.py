"""Lanes: the commands of one turn of the event loop go to each server in one write, and come back in order.

A lane has a few exchanges under way; what comes meanwhile forms the next, so that load makes batches larger, not
more. Whatever goes wrong is told to each caller, who tries again by other means: lanes try nothing twice. A caller that
leaves changes nothing for the others. An exchange that gets no reply in time ends the wait of all who queue behind it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from thermocline.domain.units import Bytes, Seconds

LARGEST_BATCH: Final = 128
LARGEST_WRITE: Final = Bytes(4 * 2**20)
EXCHANGES: Final = 4
"""Under way at once, to one server."""


class LaneFailedError(Exception):
    """The exchange did not come to its end; whether the command was carried out is unknown."""


class Lends(Protocol):
    """Lends connections to servers."""

    def borrow(self, part: str) -> AbstractAsyncContextManager[AbstractConnection]:
        """Lend a connection for one exchange."""


class Lanes:
    """One lane for each server."""

    def __init__(self, route: Lends, *, timeout: Seconds) -> None:
        self._route = route
        self._timeout = timeout
        self._lanes: dict[str, _Lane] = {}
        self.exchanges = 0
        """Writes so far: beside the number of commands, how well they were batched."""

    def send(self, part: str, command: bytes) -> "asyncio.Future[Any]":
        """Return the reply to a packed command, to come: a value, a `ResponseError`, or a `LaneFailedError`."""
        lane = self._lanes.get(part)
        if lane is None:
            lane = self._lanes[part] = _Lane(self, part)
        return lane.add(command)

    async def aclose(self) -> None:
        """End every exchange; whoever waits is told."""
        tasks = [task for lane in self._lanes.values() for task in lane.under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def exchange(self, part: str, batch: "Sequence[_Sent]") -> None:
        """Write the batch and hand out the replies."""
        self.exchanges += 1
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(self._timeout) as limit:
            async with self._route.borrow(part) as connection:
                await connection.send_packed_command([command for command, _ in batch])
                moved = now()
                for _, reply in batch:
                    try:
                        answer = await connection.read_response(timeout=inf)
                    except ResponseError as exc:
                        if not reply.done():
                            reply.set_exception(exc)
                    else:
                        if not reply.done():
                            reply.set_result(answer)
                    # As long as replies come, large ones may take their time.
                    if now() - moved > self._timeout / 4:
                        moved = now()
                        limit.reschedule(moved + self._timeout)

    def forget(self, part: str) -> None:
        """Drop a lane that nobody uses: the names of servers that are gone must not pile up."""
        self._lanes.pop(part, None)


_Sent = tuple[bytes, "asyncio.Future[Any]"]


class _Lane:
    """What waits for one server, and the exchanges under way."""

    def __init__(self, lanes: Lanes, part: str) -> None:
        self._lanes = lanes
        self._part = part
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Sent] = deque()
        self._called = False
        self.under_way: set[asyncio.Task[None]] = set()

    def add(self, command: bytes) -> "asyncio.Future[Any]":
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((command, reply))
        if not self._called and len(self.under_way) < EXCHANGES:
            self._called = True
            self._loop.call_soon(self._begin)
        return reply

    def _begin(self) -> None:
        self._called = False
        batch: list[_Sent] = []
        size = 0
        while self._waiting and len(batch) < LARGEST_BATCH and size < LARGEST_WRITE:
            sent = self._waiting.popleft()
            if not sent[1].done():
                batch.append(sent)
                size += len(sent[0])
        if not batch:
            return
        task = self._loop.create_task(self._lanes.exchange(self._part, batch))
        self.under_way.add(task)
        task.add_done_callback(lambda done: self._end(done, batch))
        if self._waiting and len(self.under_way) < EXCHANGES:
            self._called = True
            self._loop.call_soon(self._begin)

    def _end(self, task: asyncio.Task[None], batch: list[_Sent]) -> None:
        self.under_way.discard(task)
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None:
            # Those who queue would only wait for the same silence.
            batch.extend(self._waiting)
            self._waiting.clear()
            self._lanes.forget(self._part)
            for _, reply in batch:
                if not reply.done():
                    lost = LaneFailedError(self._part)
                    lost.__cause__ = failure
                    reply.set_exception(lost)
        elif self._waiting and not self._called:
            self._called = True
            self._loop.call_soon(self._begin)
