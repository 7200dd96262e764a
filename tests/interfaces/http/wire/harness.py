"""A connection in memory: fake transport, fake clock, a small ASGI application, and a reader of responses."""

import asyncio
import hashlib
import heapq
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotRead, HotReads
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.protocol import HotProtocol
from thermocline.interfaces.http.wire.shared import Shared

HIGH_WATER = 64 * 1024
MIB = 1024 * 1024
_HOT = re.compile(rb"/hot/[0-9]{1,9}")
"""Anything else is not there: an id that a crash makes up could not be compared."""


class ClockLoop:
    """The running loop with a clock that moves only by `advance`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, cast("asyncio.AbstractEventLoop", self))
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's handles tell their loop."""

    @property
    def armed(self) -> int:
        return sum(not handle.cancelled() for _, _, handle in self._timers)

    async def advance(self, seconds: float) -> None:
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, handle = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if not handle.cancelled():
                handle._run()
            await settle()
        self._now = until
        await settle()


class FakeTransport(asyncio.Transport):
    """What a loop's transport promises, with a client that reads at once, or only on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: HttpToolsProtocol | None = None
        self.client_reads = True
        self.received = bytearray()  # by the client
        self.unsent = bytearray()
        self.most_unsent = 0
        self.write_calls = 0
        self.inbox: list[bytes] = []
        self.reading = True
        self.closing = self.eof = self.lost = self.aborted = False
        self._write_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ["192.0.2.1", 5000], "sockname": ["192.0.2.2", 80]}.get(name, default)

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof, "written after the end"
        if self.closing:
            return
        self.write_calls += 1
        (self.received if self.client_reads and not self.unsent else self.unsent).extend(data)
        self.most_unsent = max(self.most_unsent, len(self.unsent))
        if len(self.unsent) > HIGH_WATER and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def client_takes(self, count: int) -> None:
        self.received += self.unsent[:count]
        del self.unsent[:count]
        if not self.unsent and self._write_paused:
            self._write_paused = False
            self._protocol.resume_writing()
        self._end_if_sent()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        asyncio.get_running_loop().call_soon(self.deliver)

    def deliver(self) -> None:
        while self.inbox and self.reading and not self.closing:
            self._protocol.data_received(self.inbox.pop(0))

    def close(self) -> None:
        self.closing = True
        self.reading = False
        self._end_if_sent()

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.unsent.clear()
        self._end_if_sent()

    def _end_if_sent(self) -> None:
        if self.closing and not self.unsent and not self.lost:
            self.lost = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    @property
    def _protocol(self) -> HttpToolsProtocol:
        assert self.protocol is not None
        return self.protocol


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]  # sorted, without the date
    body: bytes

    def header(self, name: bytes) -> bytes:
        return dict(self.headers)[name]


def read_responses(raw: bytes) -> list[Response]:
    """Read every response to the last byte. The `x-method` header tells which one answers a HEAD."""
    found: list[Response] = []
    at = 0
    while at < len(raw):
        end = raw.find(b"\r\n\r\n", at)
        assert end >= 0, f"cut off head: {raw[at:]!r}"
        status_line, *lines = raw[at:end].split(b"\r\n")
        at = end + 4
        headers = [cast("tuple[bytes, bytes]", tuple(line.split(b": ", 1))) for line in lines]
        fields = dict(headers)
        status = int(status_line.split()[1])
        if fields.get(b"x-method") == b"HEAD" or status in {100, 204, 304}:
            body = b""
        else:
            body = raw[at : at + int(fields[b"content-length"])]
            assert len(body) == int(fields[b"content-length"]), "cut off body"
            at += len(body)
        found.append(Response(status, tuple(sorted(each for each in headers if each[0] != b"date")), body))
    return found


def content(path: bytes) -> bytes:
    """The bytes of `/hot/{size}`."""
    return path[-1:] * int(path.rpartition(b"/")[2])


def content_headers(method: bytes, path: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"etag", b'"%b"' % path),
        (b"content-length", b"%d" % len(content(path))),
        (b"x-method", method),
    ]


@dataclass
class Reader(HotReads):
    """Answers `/hot/{size}`; `asked` keeps every question."""

    token: bytes | None = None
    raising: bool = False
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    answered: int = 0

    def read_of(
        self,
        method: bytes,
        target: bytes,
        host: bytes,  # noqa: ARG002
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotRead | None:
        if not _HOT.fullmatch(target):
            return None
        return Read(self, method, target, authorization, if_none_match)


@dataclass
class Read(HotRead):
    """Asks its reader each time."""

    reader: Reader
    method: bytes
    target: bytes
    authorization: bytes | None
    if_none_match: bytes | None

    def answer(self, end: bytes) -> HotAnswer | None:
        reader, method, target = self.reader, self.method, self.target
        reader.asked.append((method, target))
        if reader.raising:
            raise ZeroDivisionError
        if self.authorization != reader.token:
            return None
        reader.answered += 1
        headers = content_headers(method, target)
        body = b"" if method == b"HEAD" else content(target)
        if self.if_none_match == headers[0][1]:
            headers = [headers[0], headers[2]]
            body = b""
        status = b"200 OK" if len(headers) == 3 else b"304 Not Modified"
        return b"HTTP/1.1 %b\r\n" % status + b"".join(b"%b: %b\r\n" % each for each in headers) + end, body


@dataclass
class App:
    """Answers as `Reader` does, PUT with the digest of what came, `/gate` once opened, else 404."""

    requests: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    disconnects: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        method, path = scope["method"], scope["raw_path"]
        self.requests.append((method, path))
        self.headers.append(list(scope["headers"]))
        if path == b"/crash":
            raise ZeroDivisionError
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            assert message["type"] == "http.request"
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        if path == b"/gate":
            await self.gate.wait()
        status, headers, answer = self._answer(method, path, dict(scope["headers"]), body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    def _answer(
        self, method: str, path: bytes, request: dict[bytes, bytes], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if method == "PUT":
            digest = hashlib.sha256(body).hexdigest().encode()
            return 201, [(b"content-length", b"64"), (b"x-method", b"PUT")], digest
        if _HOT.fullmatch(path) and method in {"GET", "HEAD"}:
            headers = content_headers(method.encode(), path)
            if request.get(b"if-none-match") == headers[0][1]:
                return 304, [headers[0], headers[2]], b""
            return 200, headers, content(path)
        return 404, [(b"content-length", b"4"), (b"x-method", method.encode())], b"none"


class Connection:
    """One client's connection to one server."""

    def __init__(
        self,
        *,
        kind: type[HttpToolsProtocol] = HotProtocol,
        reader: HotReads | None = None,
        limits: WireLimits | None = None,
        app: App | None = None,
        server: "Connection | None" = None,
    ) -> None:
        self.app = app or App()
        self.reader = reader or Reader()
        self.clock: ClockLoop = server.clock if server else ClockLoop()
        self.state: ServerState = server.state if server else ServerState()
        self.transport = FakeTransport()
        config = Config(cast("Any", self.app), interface="asgi3", ws="none", log_config=None, proxy_headers=False)
        config.load()
        self.shared: Shared = server.shared if server else self._shared(limits or WireLimits())
        extra = {} if kind is HttpToolsProtocol else {"shared": self.shared}
        loop = cast("asyncio.AbstractEventLoop", self.clock)
        self.protocol = kind(config, self.state, {}, loop, **extra)
        self.transport.protocol = self.protocol
        self.protocol.access_log = False
        self.protocol.connection_made(self.transport)

    def _shared(self, limits: WireLimits) -> Shared:
        # The same ids on every connection, so that answers can be compared.
        numbers = itertools.count(1)
        return Shared(self.reader, limits, new_request_id=lambda: f"request-{next(numbers)}")

    def send(self, *chunks: bytes) -> None:
        self.transport.inbox += chunks
        self.transport.deliver()

    async def ask(self, *chunks: bytes) -> list[Response]:
        """Send `chunks`, let everything run, and return all responses so far."""
        self.send(*chunks)
        await settle()
        return self.responses

    @property
    def responses(self) -> list[Response]:
        return read_responses(bytes(self.transport.received))

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]

    @property
    def over(self) -> bool:
        """Whether the client has been told that nothing more comes."""
        return self.transport.closing or self.transport.eof


async def settle() -> None:
    """Let every task and callback run that needs no time to pass."""
    for _ in range(30):
        await asyncio.sleep(0)


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an async test without a plugin."""

    def wrapped() -> None:
        async def main() -> None:
            await test()

        asyncio.run(main())

    wrapped.__name__ = test.__name__
    return wrapped


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def put(path: str, body: bytes, *headers: str) -> bytes:
    return get(path, *headers, f"Content-Length: {len(body)}", method="PUT") + body


def put_chunked(path: str, *chunks: bytes, trailer: str = "") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return get(path, "Transfer-Encoding: chunked", method="PUT") + framed + b"0\r\n" + trailer.encode() + b"\r\n"
