"""Runs an ASGI application behind the wire, until a signal asks it to stop."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from email.utils import formatdate
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.server import HANDLED_SIGNALS, Server

from thermocline.interfaces.http.wire.hot_reads import SLOW_HEADERS, HotReads
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.protocol import HotProtocol
from thermocline.interfaces.http.wire.remembering import RememberingProtocol
from thermocline.interfaces.http.wire.shared import Shared

_T = TypeVar("_T")

_BACKLOG_CONNECTIONS = 2048  # as in uvicorn; the kernel lowers it to net.core.somaxconn
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
"""Python names it from 3.12 on; the number is Linux's (include/uapi/linux/tcp.h)."""
_UNSENT_BYTES = 64 * 1024
"""How much the kernel holds of an answer that it cannot send yet: answers wait in our memory, which is shared and
bounded, not in the kernel's, once per connection. The window in flight is not limited. Answers of 1 MiB go 1.2 times
as fast on loopback, because what is copied is still in the processor's cache when it is read (November 2026)."""


class ServerStartError(Exception):
    """The application refused to start; the cause is chained when the application told it."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening-ready TCP socket; port 0 takes a free one. Raises `OSError` if the address is not to be had.

    Its connections inherit its options.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _NOTSENT_LOWAT is not None:
            listener.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT_BYTES)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the fastest event loop there is here: uvloop's, or asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main`, which may await `serve`, on the fastest event loop and return its result."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


async def serve(
    app: ASGI3Application,
    *,
    sockets: Sequence[socket.socket],
    hot_reads: HotReads,
    slow_headers: frozenset[bytes] = SLOW_HEADERS,
    limits: WireLimits | None = None,
    graceful_timeout_seconds: int = 30,
    remember_header_blocks: bool = False,
    on_started: Callable[[Shared], None] | None = None,
) -> signal.Signals | None:
    """Serve `app` on `sockets` until SIGTERM or SIGINT, then drain; return the signal that asked for it.

    Draining closes idle connections at once and the others after their answer; what is left after
    `graceful_timeout_seconds` is cancelled. A second SIGINT stops at once, without the application's shutdown.
    The sockets are closed at the end. `on_started` is called once connections are accepted, with the counts
    of refusals. Raises `ServerStartError` if the application does not start.
    """
    shared = Shared(hot_reads, limits or WireLimits(), slow_headers=slow_headers)
    failures: list[BaseException] = []
    config = Config(
        _telling_why(app, failures),
        interface="asgi3",
        http=cast("Any", partial(RememberingProtocol if remember_header_blocks else HotProtocol, shared=shared)),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG_CONNECTIONS,
        timeout_graceful_shutdown=graceful_timeout_seconds,
    )
    server = _Server(config, None if on_started is None else partial(on_started, shared))
    try:
        await server.serve(list(sockets))
    except SystemExit as exc:  # uvicorn's way to say that the lifespan failed
        raise ServerStartError("the application did not start") from (failures[0] if failures else exc)
    finally:
        for listener in sockets:
            listener.close()
        for connection in list(server.server_state.connections):  # whoever did not drain in time
            connection.transport.abort()
    return server.stopped_by


class _Server(Server):
    """uvicorn's server, which tells when it has started and returns after a signal instead of raising it again."""

    def __init__(self, config: Config, on_started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._next_second: asyncio.TimerHandle | None = None
        self.stopped_by: signal.Signals | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._date_answers()
        # What exists by now lives as long as the server: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        if self._on_started is not None and not self.should_exit:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._next_second is not None:
            self._next_second.cancel()

    def _date_answers(self) -> None:
        """Set the date of answers at the start of every second.

        uvicorn alone does it up to a second late, and a content must not seem newer than the answer that brings it
        (RFC 9110 §8.8.2.1).
        """
        now = time.time()
        date = (b"date", formatdate(now, usegmt=True).encode())
        self.server_state.default_headers = [date, *self.config.encoded_headers]
        self._next_second = asyncio.get_running_loop().call_later(1 - now % 1, self._date_answers)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.stopped_by is None:
            self.stopped_by = signal.Signals(sig)
        super().handle_exit(sig, frame)


def _telling_why(app: ASGI3Application, failures: list[BaseException]) -> ASGI3Application:
    """Return `app`, keeping what its lifespan raises: uvicorn only logs it."""

    async def lifespan(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            await app(scope, receive, send)
        except BaseException as exc:
            failures.append(exc)
            raise

    def watched(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Coroutine[Any, Any, None]:
        if scope["type"] == "lifespan":
            return lifespan(scope, receive, send)
        return cast("Coroutine[Any, Any, None]", app(scope, receive, send))

    return watched
