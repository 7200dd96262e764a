"""Lanes: the commands of one turn of the event loop go to each server in one write, and come back in order.

A lane has one exchange under way, and what comes meanwhile forms the next, so that load makes batches larger, not
more; but behind one that takes long (a large value), others begin. Whatever goes wrong is told to each caller, who
tries again by other means: lanes try nothing twice. A caller that leaves changes nothing for the others. An exchange
that gets no reply in time ends the wait of all who queue behind it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ResponseError

from thermocline.domain.units import Bytes, Seconds

LARGEST_BATCH: Final = 128
LARGEST_WRITE: Final = Bytes(4 * 2**20)
EXCHANGES: Final = 4
"""Under way at once, to one server."""
SLOWEST: Final = Bytes(10 * 2**20)
"""Bytes that a write may take a second for, beside its timeout."""
PATIENCE: Final = Seconds(0.002)
"""How long an exchange may be under way before the next begins beside it."""


class LaneFailedError(Exception):
    """The exchange did not come to its end; whether the command was carried out is unknown."""


class HasPools(Protocol):
    """Knows the connections to each server."""

    def lane_pool(self, part: str) -> ConnectionPool:
        """Return connections whose users watch over time themselves."""


class Lanes:
    """One lane for each server."""

    def __init__(self, route: HasPools, *, timeout: Seconds) -> None:
        self._route = route
        self._timeout = timeout
        self._lanes: dict[str, _Lane] = {}
        self.exchanges = 0
        """Writes so far: beside the number of commands, how well they were batched."""

    def send(self, part: str, command: bytes) -> "asyncio.Future[Any]":
        """Return the reply to a packed command, to come: a value, a `ResponseError`, or a `LaneFailedError`."""
        lane = self._lanes.get(part)
        if lane is None:
            lane = self._lanes[part] = _Lane(self, self._route, part, self._timeout)
        return lane.add(command)

    async def aclose(self) -> None:
        """End every exchange; whoever waits is told."""
        tasks = [task for lane in self._lanes.values() for task in lane.under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_Sent = tuple[bytes, "asyncio.Future[Any]"]


class _Lane:
    """What waits for one server, and the exchanges under way."""

    def __init__(self, lanes: Lanes, route: HasPools, part: str, timeout: Seconds) -> None:
        self._lanes = lanes
        self._route = route
        self._part = part
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Sent] = deque()
        self._next: asyncio.Handle | None = None
        self._idle: list[tuple[ConnectionPool, AbstractConnection]] = []
        """Kept out of the pool: taking one from it costs more than an exchange does."""
        self.under_way: set[asyncio.Task[None]] = set()

    def add(self, command: bytes) -> "asyncio.Future[Any]":
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((command, reply))
        if self._next is None and len(self.under_way) < EXCHANGES:
            self._plan()
        return reply

    def _plan(self) -> None:
        if self.under_way:
            self._next = self._loop.call_later(PATIENCE, self._begin)
        else:
            self._next = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._next = None
        batch: list[_Sent] = []
        size = 0
        while self._waiting and len(batch) < LARGEST_BATCH and size < LARGEST_WRITE:
            sent = self._waiting.popleft()
            if not sent[1].done():
                batch.append(sent)
                size += len(sent[0])
        if not batch:
            return
        task = self._loop.create_task(self._exchange(batch, size))
        self.under_way.add(task)
        task.add_done_callback(lambda done: self._end(done, batch))
        if self._waiting and len(self.under_way) < EXCHANGES:
            self._next = self._loop.call_soon(self._begin)

    async def _exchange(self, batch: Sequence[_Sent], size: int) -> None:
        """Write the batch and hand out the replies."""
        self._lanes.exchanges += 1
        now = self._loop.time
        async with asyncio.timeout(self._timeout + size / SLOWEST) as limit:
            pool, connection = await self._connection()
            try:
                await connection.send_packed_command(b"".join([command for command, _ in batch]))
                moved = now()
                for _, reply in batch:
                    try:
                        answer = await connection.read_response()
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
            except BaseException:
                await connection.disconnect(nowait=True)
                await pool.release(connection)
                raise
            self._idle.append((pool, connection))

    async def _connection(self) -> tuple[ConnectionPool, AbstractConnection]:
        pool = self._route.lane_pool(self._part)
        while self._idle:
            owner, connection = self._idle.pop()
            if owner is pool:
                return pool, connection
            await owner.release(connection)  # of a pool that was closed meanwhile, for good
        return pool, await pool.get_connection()  # type: ignore[no-untyped-call]

    def _end(self, task: asyncio.Task[None], batch: list[_Sent]) -> None:
        self.under_way.discard(task)
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None:
            # Those who queue would only wait for the same silence.
            batch.extend(self._waiting)
            self._waiting.clear()
            for _, reply in batch:
                if not reply.done():
                    lost = LaneFailedError()
                    lost.__cause__ = failure
                    reply.set_exception(lost)
        elif self._waiting:
            if self._next is not None:
                self._next.cancel()
            self._next = self._loop.call_soon(self._begin)
