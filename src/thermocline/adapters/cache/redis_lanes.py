"""Lanes: a few wires to each server, opened as they are needed. Commands of one turn of the loop share one write.

Commands follow one another on one wire; only behind a reply that takes long (a large value, a slow script) others begin
on the next. Whatever goes wrong is told to each caller, who tries again by other means: lanes try nothing twice. A
server that is silent ends the wait of all who queue on that wire.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from thermocline.adapters.cache.redis_wire import Reply, Wire, WireLostError
from thermocline.domain.units import Bytes, Seconds

MOST_WIRES: Final = 4
"""To one server, from one process."""
PATIENCE: Final = Seconds(0.002)
"""How long a reply may keep others waiting before they go another way."""
SLOWEST: Final = Bytes(10 * 2**20)
"""Bytes that a command may take a second for, beside its timeout."""

Dial = Callable[[str, Callable[[Wire], None]], Awaitable[Wire]]
"""Opens a wire to a server by its name; the second argument hears of its end."""


class Lanes:
    """One lane for each server."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._lanes: dict[str, _Lane] = {}

    @property
    def exchanges(self) -> int:
        """Writes so far: beside the number of commands, how well they were batched."""
        return sum(lane.writes for lane in self._lanes.values())

    def send(self, part: str, command: bytes, *, is_string: bool = False) -> Reply:
        """Return the reply to a packed command, to come: a value, a `ResponseError`, or a `WireLostError`.

        `is_string`: the reply is a string, nothing or an error; large ones are then received without detours.
        """
        return (self._lanes.get(part) or self._lane(part)).send(command, is_string=is_string)

    def send_together(self, part: str, commands: Sequence[bytes]) -> Sequence[Reply]:
        """Return the replies to commands between which nothing comes on their wire."""
        return (self._lanes.get(part) or self._lane(part)).send_together(commands)

    def names(self) -> Sequence[str]:
        """Return the servers that something leads to."""
        return list(self._lanes)

    def close(self, part: str) -> None:
        """Close what leads to a server; who waits for it is told."""
        lane = self._lanes.pop(part, None)
        if lane is not None:
            lane.close()

    async def aclose(self) -> None:
        """Close everything; who waits is told."""
        dialling = [lane.dialling for lane in self._lanes.values() if lane.dialling is not None]
        for part in list(self._lanes):
            self.close(part)
        await asyncio.gather(*dialling, return_exceptions=True)

    def _lane(self, part: str) -> "_Lane":
        lane = self._lanes[part] = _Lane(part, self._dial)
        return lane


class _Lane:
    """The wires to one server, and what waits for the first of them."""

    def __init__(self, part: str, dial: Dial) -> None:
        self._part = part
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._wires: list[Wire] = []
        self._waiting: list[tuple[bytes, Reply, bool]] = []
        self._past_writes = 0
        self.dialling: asyncio.Task[None] | None = None

    @property
    def writes(self) -> int:
        return self._past_writes + sum(wire.writes for wire in self._wires)

    def send(self, command: bytes, *, is_string: bool) -> Reply:
        reply: Reply = self._loop.create_future()
        wire = self._free()
        if wire is None:
            self._waiting.append((command, reply, is_string))
        else:
            wire.send(command, reply, is_string=is_string)
        return reply

    def send_together(self, commands: Sequence[bytes]) -> Sequence[Reply]:
        wire = self._free()
        replies: list[Reply] = [self._loop.create_future() for _ in commands]
        for command, reply in zip(commands, replies, strict=True):
            if wire is None:
                self._waiting.append((command, reply, False))
            else:
                wire.send(command, reply)
        return replies

    def close(self) -> None:
        if self.dialling is not None:
            self.dialling.cancel()
        for wire in list(self._wires):
            wire.close()

    def _free(self) -> Wire | None:
        """Return the first wire that nothing holds up, else the one with the least to do; None before there is one."""
        wires = self._wires
        if wires:
            first = wires[0]
            if not first.due:
                return first
            latest = self._loop.time() - PATIENCE
            for wire in wires:
                # What is sent in this turn of the loop goes together, however long the turn takes.
                if not wire.due or wire.is_collecting or wire.head_since > latest:
                    return wire
        if self.dialling is None and len(wires) < MOST_WIRES:
            self.dialling = self._loop.create_task(self._open())
            self.dialling.add_done_callback(self._dialled)
        return min(wires, key=lambda wire: len(wire.due)) if wires else None

    async def _open(self) -> None:
        wire = await self._dial(self._part, self._lost)
        if wire.is_open:
            self._wires.append(wire)

    def _dialled(self, task: "asyncio.Task[None]") -> None:
        self.dialling = None
        failure = None if task.cancelled() else task.exception()
        waiting, self._waiting = self._waiting, []
        for command, reply, is_string in waiting:
            if self._wires:
                self._wires[-1].send(command, reply, is_string=is_string)
            elif not reply.done():
                lost = WireLostError()
                lost.__cause__ = failure
                reply.set_exception(lost)

    def _lost(self, wire: Wire) -> None:
        if wire in self._wires:  # else it never was ready
            self._wires.remove(wire)
            self._past_writes += wire.writes
