"""A proxy between a client and a server that counts what passes and breaks what it is told to break.

It runs in a thread of its own, so that a test may block. The weather is that of all connections, whatever they speak.
Of HTTP the beginning of each request is recognised; a fault that is armed strikes the next request that fits it.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, Self
from urllib.parse import urlsplit

from thermocline.domain.units import Seconds

_BLOCK: Final = 64 * 1024
_REQUEST: Final = re.compile(rb"(?:GET|HEAD|PUT|POST|DELETE) [^ \r\n]+ HTTP/1\.1\r\n")
_START_WAIT: Final = 10.0
_LEFT_OF_AN_ANSWER: Final = 3
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST."""


class Weather(StrEnum):
    """What happens to every connection."""

    FAIR = "fair"
    SWALLOWED = "swallowed"
    """Nothing comes through, nothing is closed."""
    RESET = "reset"
    """Every connection is cut, and new ones as soon as they say something."""
    CUT = "cut"
    """Each answer is cut after three bytes, and its connection closed."""


class Fault(Enum):
    """What may happen to a request."""

    RESET_REQUEST = "reset before the server hears of it"
    LOSE_ANSWER = "done by the server, reset before the answer"
    TRUNCATE = "the answer ends after some bytes"
    BLACKHOLE = "neither passed on nor answered"
    HALF_REQUEST = "reset after a part of it was passed on"
    BUSY = "answered 503 SlowDown"
    BROKEN = "answered 500 InternalError"
    THROTTLED = "answered 429"


_ANSWERS: Final = {
    Fault.BUSY: (503, "SlowDown"),
    Fault.BROKEN: (500, "InternalError"),
    Fault.THROTTLED: (429, "TooManyRequests"),
}


@dataclass(slots=True)
class _Armed:
    fault: Fault
    fits: bytes
    times: int
    keep: int


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    fault: _Armed | None = None
    answered: int = 0
    """Bytes of answers since the fault struck."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class TcpProxy:
    """Listens on a free port of loopback and passes on to `target`, an address such as `http://127.0.0.1:9000`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._latency = Seconds(0.0)
        self._weather = Weather.FAIR
        self._armed: list[_Armed] = []
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True, name="tcp-proxy")
        self._connections: set[_Connection] = set()
        self._stopping: asyncio.Event | None = None
        self.port = 0
        self.to_server = 0
        """Bytes that clients sent."""
        self.to_client = 0
        """Bytes that the server sent."""
        self.requests: list[str] = []
        """The first line of each request."""
        self.struck = 0
        """How many requests a fault has struck."""

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def weather(self) -> Weather:
        """What happens to every connection now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        if weather is Weather.RESET and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cut_all)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Listen for the length of the block."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        if not self._ready.wait(_START_WAIT):
            raise TimeoutError("the proxy did not start")

    def stop(self) -> None:
        """Stop, and end all connections."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_START_WAIT)

    def delay(self, latency: Seconds) -> None:
        """From now on hold back everything for so long, each way."""
        self._latency = latency

    def strike(self, fault: Fault, *, fits: str = "", times: int = 1, keep: int = 0) -> None:
        """Let `fault` strike the next `times` requests whose first line contains `fits`.

        `keep`: how many bytes of the answer (or, of a half request, of the request) still pass.
        """
        with self._lock:
            self._armed.append(_Armed(fault, fits.encode(), times, keep))

    def calm(self) -> None:
        """Forget the faults that have not struck, and let new connections pass."""
        with self._lock:
            self._armed.clear()

    def requests_with(self, part: str) -> int:
        """Return how many requests had `part` in their first line."""
        return sum(part in line for line in self.requests)

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        while self._connections:
            for connection in self._connections:
                self._end(connection, reset=True)
                for task in connection.tasks:
                    task.cancel()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        connection = _Connection(writer, to_server)
        self._connections.add(connection)
        loop = asyncio.get_running_loop()
        connection.tasks = [
            loop.create_task(self._upwards(connection, reader)),
            loop.create_task(self._downwards(connection, from_server)),
        ]
        await asyncio.wait(connection.tasks)
        self._end(connection, reset=False)
        for each in (writer, to_server):
            with suppress(OSError):
                await each.wait_closed()
        self._connections.discard(connection)

    async def _upwards(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_BLOCK):
                await asyncio.sleep(self._latency)
                if self._weather is Weather.SWALLOWED:
                    continue
                if self._weather is Weather.RESET:
                    self._end(connection, reset=True)
                    return
                self.to_server += len(data)
                if (found := _REQUEST.search(data)) is not None:
                    line = found[0].decode("latin-1").strip()
                    self.requests.append(line)
                    connection.fault, connection.answered = self._next_fault(found[0]), 0
                if not await self._passes(connection, data):
                    return
        with suppress(OSError):
            connection.server.write_eof()

    async def _passes(self, connection: _Connection, data: bytes) -> bool:
        """Pass the data on unless a fault forbids it; False if the connection is over."""
        armed = connection.fault
        match armed.fault if armed is not None else None:
            case Fault.RESET_REQUEST:
                self._end(connection, reset=True)
                return False
            case Fault.BLACKHOLE:
                return True
            case Fault.HALF_REQUEST if armed is not None:
                connection.server.write(data[: armed.keep])
                await connection.server.drain()
                self._end(connection, reset=True)
                return False
            case Fault.BUSY | Fault.BROKEN | Fault.THROTTLED as fault:
                status, code = _ANSWERS[fault]
                body = f"<Error><Code>{code}</Code></Error>".encode()
                head = f"HTTP/1.1 {status} Oh\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.client.write(head.encode() + body)
                with suppress(OSError):
                    await connection.client.drain()
                connection.client.close()
                connection.server.close()
                return False
            case _:
                connection.server.write(data)
                await connection.server.drain()
                return True

    async def _downwards(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_BLOCK):
                await asyncio.sleep(self._latency)
                if self._weather is Weather.SWALLOWED:
                    continue
                armed = connection.fault
                if self._weather is Weather.RESET or (armed is not None and armed.fault is Fault.LOSE_ANSWER):
                    self._end(connection, reset=True)
                    return
                if self._weather is Weather.CUT:
                    armed = _Armed(Fault.TRUNCATE, b"", 0, connection.answered + _LEFT_OF_AN_ANSWER)
                if armed is not None and armed.fault is Fault.TRUNCATE:
                    data = data[: max(0, armed.keep - connection.answered)]
                    connection.answered += len(data)
                self.to_client += len(data)
                connection.client.write(data)
                await connection.client.drain()
                if armed is not None and armed.fault is Fault.TRUNCATE and connection.answered >= armed.keep:
                    connection.client.close()
                    connection.server.close()
                    return
        with suppress(OSError):
            connection.client.write_eof()

    def _cut_all(self) -> None:
        for connection in self._connections:
            self._end(connection, reset=True)

    def _next_fault(self, request: bytes) -> _Armed | None:
        with self._lock:
            for armed in self._armed:
                if armed.fits in request:
                    armed.times -= 1
                    self.struck += 1
                    if not armed.times:
                        self._armed.remove(armed)
                    return armed
        return None

    def _end(self, connection: _Connection, *, reset: bool) -> None:
        if reset:
            with suppress(OSError, AttributeError):
                raw: socket.socket = connection.client.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for writer in (connection.client, connection.server):
            if reset:
                writer.transport.abort()
            else:
                writer.close()
