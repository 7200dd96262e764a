"""uvicorn's HTTP/1.1 protocol with its gaps mended.

uvicorn keeps order, backpressure and the ASGI side. Mended here:
- bounds on header bytes, the target, and bytes that frame a body (chunk extensions, trailers) but are none;
- time limits for heads, stalled bodies, stalled readers and idle connections, on one lazy timer (uvicorn
  arms a timer for every response, and has no other limit);
- a cap on connections;
- refusals as problem documents, after the answers that are still owed and never into the middle of one;
- a body sent along with an `Upgrade` that is not taken: llhttp skips it, so uvicorn would serve an empty one;
- trailers, which uvicorn would append to the headers of a request that is already running;
- transfer codings other than chunked, HTTP versions other than 1.0 and 1.1, and requests without exactly one
  Host, which it would run.
"""

import asyncio
import logging
from functools import partial
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from thermocline.interfaces.http.wire.heads import check_head, head_bytes, head_without_upgrade, lower_names
from thermocline.interfaces.http.wire.lazy_timer import LazyTimer
from thermocline.interfaces.http.wire.refusals import (
    BUSY,
    CRASHED,
    HEADERS_TOO_LARGE,
    MALFORMED,
    TARGET_TOO_LONG,
    TOO_SLOW,
    Refusal,
    RefusedError,
    send_crashed,
)
from thermocline.interfaces.http.wire.shared import Shared

_log = logging.getLogger(__name__)

# What a valid head may still make uvicorn's and httptools' URL handling raise.
_BAD_TARGET = (httptools.HttpParserError, UnicodeError)


class _WatchedFlow(FlowControl):
    """uvicorn's flow control, telling `protocol` whenever the application is ready to take more of a body."""

    def __init__(self, protocol: "GuardedProtocol", transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        self._protocol.body_wanted()
        super().resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Whatever arrives, memory and time spent on it are bounded by `WireLimits`.

    Every request is either handed to ASGI exactly once or refused, in order; after a refusal nothing that
    arrives is read as a request.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # as it is before the first request

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        shared: Shared,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = shared
        self._limits = shared.limits
        self._header_bytes = shared.limits.header_bytes
        self._time = self.loop.time
        self._timer = LazyTimer(self.loop, self._check_time)
        now = self._time()
        # A message is open from its first byte to its last; its head is, until its headers are complete.
        self._message_open = False
        self._head_open = False
        # The chunk that is being parsed began the message or brought some of its body.
        self._landmark = False
        # The head might exceed its limit: it came in several chunks, or in one larger than the limit.
        self._unmeasured = False
        # Bytes of later chunks that were neither: an unfinished head, or framing without a body.
        self._framing_bytes = 0
        # A deaf connection reads no more requests; its last words wait for the answers that are owed.
        self._deaf = False
        self._last_words: bytes | None = None
        self._linger_until: float | None = None
        self._lingered_bytes = 0
        self._opened_at = now
        self._answered_at: float | None = None
        self._head_began_at = now
        self._body_moved_at = now
        self._unsent_bytes = 0
        self._unsent_since = now

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse a connection past the cap."""
        if len(self.connections) >= self._limits.connections:
            self.transport = transport
            self.flow = FlowControl(transport)
            self._deaf = True
            self._count(BUSY.slug)
            self._say_and_close(BUSY.render(self.server_state.default_headers, self._shared.new_request_id()))
            return
        super().connection_made(transport)
        self.flow = _WatchedFlow(self, transport)
        self._timer.at_latest(self._opened_at + self._limits.header_arrival_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the application sees `http.disconnect`."""
        self._timer.stop()
        if self._linger_until is not None:
            self._linger_until = None
            self._shared.lingering -= 1
        self._deaf = True
        for cycle, _ in self.pipeline:
            cycle.disconnected = True
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close as soon as the answers owed are sent."""
        if self._linger_until is not None:
            self.transport.close()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Note that the client does not keep up: from now on it must at least move."""
        super().pause_writing()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._unsent_since = now = self._time()
        self._timer.at_latest(now + self._limits.send_stall_seconds / 2)

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        super().resume_writing()
        self._unsent_bytes = 0
        if self._answered_at is not None:
            self._answered_at = self._time()

    # Bytes in

    def data_received(self, data: bytes) -> None:
        """Parse `data`: requests run, or are refused, in their order."""
        if self._deaf:
            self._discard(len(data))
            return
        if len(data) > self._header_bytes:
            self._unmeasured = True
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._parse_without_upgrade(memoryview(data), upgrade)
        except httptools.HttpParserError as error:
            self._refuse(_reason(error))
            return
        if self._message_open:
            self._watch_open_message(len(data))

    def _parse_without_upgrade(self, rest: memoryview, upgrade: httptools.HttpParserUpgrade) -> None:
        """Take up the request as if it had not asked for an upgrade, then all that follows it."""
        while True:
            rest = rest[upgrade.args[0] :]
            version = self.parser.get_http_version()
            head = head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
            # The old parser has left the message behind, with its body unread.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn's constructor
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            else:
                return

    def _watch_open_message(self, chunk_bytes: int) -> None:
        now = self._time()
        if self._landmark:
            self._landmark = False
            self._framing_bytes = 0
            self._head_began_at = now
        else:
            self._framing_bytes += chunk_bytes
        if self._framing_bytes > self._header_bytes:
            self._refuse(HEADERS_TOO_LARGE)
        elif not self._head_open:
            self._timer.at_latest(now + self._limits.body_stall_seconds)
        elif len(self.url) > self._limits.target_bytes:
            self._refuse(TARGET_TOO_LONG)
        else:
            self._unmeasured = True
            self._timer.at_latest(self._head_began_at + self._limits.header_arrival_seconds)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a head; the ASGI scope is made when it is known to be needed."""
        self.url = b""
        self.headers = []
        self._message_open = self._head_open = self._landmark = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header as it came; drop a trailer."""
        if self._head_open:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand a request that is fit to run to ASGI."""
        if self._unmeasured:
            self._measure_head()
        self._hand_to_asgi()

    def on_body(self, body: bytes) -> None:
        """Hand a piece of a body to ASGI."""
        self._landmark = True
        self._body_moved_at = self._time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Tell ASGI that the body is complete, if ASGI has the request."""
        if self._message_open:
            self._message_open = False
            super().on_message_complete()

    def _measure_head(self) -> None:
        self._unmeasured = False
        if head_bytes(self.url, self.headers) > self._header_bytes:
            raise RefusedError(HEADERS_TOO_LARGE)

    def _hand_to_asgi(self) -> None:
        if len(self.url) > self._limits.target_bytes:
            raise RefusedError(TARGET_TOO_LONG)
        self.headers = lower_names(self.headers)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedError(MALFORMED)  # its target names no resource of ours (RFC 9110 §9.3.6)
            self._message_open = False  # `feed_data` raises HttpParserUpgrade next, and the request is parsed again
            return
        url, headers = self.url, self.headers
        check_head(self.parser.get_http_version(), url, headers)
        expects_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_message_begin()  # makes the scope around a new, empty list of headers
        self.url = url
        self.headers += headers
        self.expect_100_continue = expects_continue
        self._body_moved_at = self._time()
        super().on_headers_complete()
        self._head_open = False  # only now: until ASGI has it, a message is refused as a bad head

    # The ASGI side

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # The one hook through which each cycle passes; uvicorn would answer in text/plain.
        cycle.send_500_response = partial(send_crashed, cycle)  # type: ignore[method-assign]
        super()._start_asgi_task(cycle, app)

    def body_wanted(self) -> None:
        """Note that the application waits for the client: from now on the body must move."""
        self._body_moved_at = self._time()

    def on_response_complete(self) -> None:
        """Go on with the next request, as uvicorn does, but arm no timer for the idle time."""
        self.server_state.total_requests += 1
        self._answered_at = now = self._time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words is not None:
            self._say_and_close(self._last_words)
        else:
            self._timer.at_latest(now + self._limits.keep_alive_idle_seconds)

    # Refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse the message that is open, after the answers that are owed, and read no other."""
        if self._deaf:
            return
        self._deaf = True
        self._count(refusal.slug)
        words = refusal.render(self.server_state.default_headers, self._shared.new_request_id())
        cycle = self.cycle
        if cycle is not None and self._message_open and not self._head_open:
            # ASGI has the head of this message already, and its body turned out bad.
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
                self._last_words = words
                return
            started, complete = cycle.response_started, cycle.response_complete
            cycle.disconnected = True
            cycle.message_event.set()
            if complete:
                self._say_and_close(b"")
            elif started:
                self.transport.close()
            else:
                self._say_and_close(words)
        elif cycle is not None and not cycle.response_complete:
            self._last_words = words
        else:
            self._say_and_close(words)

    def _say_and_close(self, words: bytes) -> None:
        """Send `words`, and close once the client has had time to read them."""
        transport = self.transport
        if words:
            transport.write(words)
        shared = self._shared
        if not transport.can_write_eof() or shared.lingering >= self._limits.lingering_connections:
            transport.close()
            return
        shared.lingering += 1
        self._linger_until = self._time() + self._limits.linger_seconds
        self._timer.at_latest(self._linger_until)
        self.flow.resume_reading()
        transport.write_eof()

    def _discard(self, chunk_bytes: int) -> None:
        self._lingered_bytes += chunk_bytes
        if self._lingered_bytes <= self._limits.linger_bytes:
            return
        if self._linger_until is not None:
            self.transport.abort()
        else:
            self.flow.pause_reading()  # answers are still owed

    def _count(self, slug: str) -> None:
        self._shared.refused[slug] += 1

    # Time

    def _check_time(self, now: float) -> float | None:
        """Cut off what is overdue; return when to look again."""
        if self._linger_until is not None:
            if now < self._linger_until:
                return self._linger_until
            self.transport.abort()
            return None
        limits = self._limits
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent_bytes:
                self._unsent_bytes, self._unsent_since = unsent, now
            elif now - self._unsent_since >= limits.send_stall_seconds:
                self._count("send-stall")
                self.transport.abort()
                return None
            self._answered_at = now  # the answer is still under way, so the connection is not idle
            return now + limits.send_stall_seconds / 2
        self._unsent_bytes = 0
        due, overdue = self._next_deadline(now)
        if now < due:
            return due
        if overdue is None:
            self.transport.close()
            return None
        self._refuse(overdue)
        return self._linger_until

    def _next_deadline(self, now: float) -> tuple[float, Refusal | None]:
        """Return when the client is overdue, and with what; None for a connection that is merely idle."""
        limits = self._limits
        if self._message_open and not self._deaf:
            if self._head_open:
                return self._head_began_at + limits.header_arrival_seconds, TOO_SLOW
            if self.flow.read_paused or (self.cycle is not None and self.cycle.waiting_for_100_continue):
                return now + limits.body_stall_seconds, None  # the client waits for us
            return self._body_moved_at + limits.body_stall_seconds, TOO_SLOW
        if self.cycle is not None and not self.cycle.response_complete:
            return now + limits.keep_alive_idle_seconds, None  # the application may take its time
        if self._answered_at is None:
            return self._opened_at + limits.header_arrival_seconds, None
        return self._answered_at + limits.keep_alive_idle_seconds, None


def _reason(error: httptools.HttpParserError) -> Refusal:
    """Return why parsing stopped: the client's fault unless a callback failed in a way it should not."""
    cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
    if isinstance(cause, RefusedError):
        return cause.refusal
    if cause is None or isinstance(cause, _BAD_TARGET):
        return MALFORMED
    _log.error("wire_callback_failed", exc_info=cause)
    return CRASHED
