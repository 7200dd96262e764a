"""Ways to servers that can be cut for some processes and not for others, as a broken network does.

What is sent meanwhile is not lost: like TCP, it arrives once the way is whole again, unless its sender has left.
"""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PIECE = 65_536
_LOOK_SECONDS = 0.02
_START_SECONDS = 10.0
OTHERS = 0
"""Stands for all processes that are not known: servers that connect to one another."""


class Partition:
    """A way to each of some ports of loopback, for the length of the block. `ports` lead there, in the same order."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.ports: list[int] = []
        self._targets = targets
        self._pids: list[int] = []
        self._cut: frozenset[tuple[int, int]] = frozenset()
        self._ready = threading.Event()
        self._links: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True, name="partition")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_START_SECONDS)

    def know(self, pids: Sequence[int]) -> None:
        """Take in which processes can be told apart from now on."""
        self._pids = list(pids)

    def cut(self, target: int, pids: Iterable[int]) -> None:
        """Let nothing pass between the server at this port and these processes, in either way."""
        self._cut |= {(target, pid) for pid in pids}

    def heal(self) -> None:
        """Let everything pass again."""
        self._cut = frozenset()

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        servers = [await asyncio.start_server(self._accept(target), "127.0.0.1", 0) for target in self._targets]
        self.ports = [server.sockets[0].getsockname()[1] for server in servers]
        self._ready.set()
        await self._ended.wait()
        for server in servers:
            server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, target: int):  # type: ignore[no-untyped-def] # noqa: ANN202
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = asyncio.ensure_future(self._link(target, reader, writer))
            self._links.add(link)
            link.add_done_callback(self._links.discard)

        return accept

    async def _link(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = _Way(target, writer.get_extra_info("peername")[1])
        there: asyncio.StreamWriter | None = None
        try:
            await self._until_whole(way)
            answers, there = await asyncio.open_connection("127.0.0.1", target)
            passing = [
                asyncio.ensure_future(self._pass(way, reader, there)),
                asyncio.ensure_future(self._pass(way, answers, writer)),
            ]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in passing:
                    each.cancel()
                await asyncio.gather(*passing, return_exceptions=True)
        except OSError:
            pass  # nobody listens there now
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pass(self, way: "_Way", source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                await self._until_whole(way)
                sink.write(piece)
                await sink.drain()

    async def _until_whole(self, way: "_Way") -> None:
        while any(target == way.target and pid == self._pid_of(way) for target, pid in self._cut):  # noqa: ASYNC110 - another thread heals
            await asyncio.sleep(_LOOK_SECONDS)

    def _pid_of(self, way: "_Way") -> int:
        """Return who uses a way. Asked only when it matters: on a busy machine it takes longer than a new connection
        may, and whoever tried again and again would be answered never.
        """
        if way.pid is None:
            way.pid = self._who(way.port)
        return way.pid

    def _who(self, port: int) -> int:
        """Return which of the known processes has this port of loopback, by what the system tells (proc(5))."""
        local = f"0100007F:{port:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == local:
                return next((pid for pid in self._pids if _has_socket(pid, fields[9])), OTHERS)
        return OTHERS


@dataclass(slots=True)
class _Way:
    """A connection through here."""

    target: int
    port: int
    """At the end of whoever connected."""
    pid: int | None = None
    """Whose it is, once somebody asked."""


def _has_socket(pid: int, inode: str) -> bool:
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()) == f"socket:[{inode}]":
                    return True
    return False
