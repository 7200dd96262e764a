"""One connection to Redis on which commands follow one another without waiting for replies.

Replies come in the order of the commands. What arrives is parsed where it arrives: no task, no stream and no timer for
a command stands between the socket and whoever waits. A large string is received into the very buffer that is handed
out. A connection that says nothing for its timeout, while replies are due, is given up with all that queues on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, ResponseError

from thermocline.domain.units import Bytes, Seconds

LARGE: Final = Bytes(32 * 1024)
"""From here on a string is received into a buffer of its own."""
_READ_BYTES: Final = Bytes(128 * 1024)
_JOINED_BYTES: Final = Bytes(64 * 1024)
"""So much is copied into one write; more is handed over as it is."""
_LONGEST_HEADER: Final = 16
"""`$`, the length, CR LF."""
_LARGEST_STRING: Final = Bytes(512 * 2**20)
"""What Redis keeps as one string."""
_END: Final = b"\r\n"
_PING: Final = b"*1\r\n$4\r\nPING\r\n"
_NOTHING: Final = object()

Reply = asyncio.Future[Any]
"""To be set to what the server answers: a value, or an error that it tells."""


class WireLostError(Exception):
    """The connection ended before the reply came; whether the command was carried out is unknown."""


class Wire(asyncio.BufferedProtocol):
    """Sends commands, and hands out replies. Whoever leaves changes nothing for the others."""

    def __init__(self, *, timeout: Seconds, health_check_interval: Seconds, on_lost: Callable[["Wire"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._health_check_interval = health_check_interval
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=_NOTHING
        )
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        self._large: bytearray | None = None
        self._received = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self.is_collecting = False
        """Whether what is sent now goes with what was sent before, in one write."""
        self._is_paused = False
        self._watch: asyncio.TimerHandle | None = None
        self._health_check: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._unwritten = 0
        self._is_suspected = False
        self.due: deque[tuple[Reply, bool]] = deque()
        """The replies that are still to come, and whether they may be large strings."""
        self.head_since = 0.0
        """Since when the oldest command waits for nothing but its own reply (the loop's time); only if some is due."""
        self.writes = 0
        """Writes so far: beside the number of commands, how well they were batched."""

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    def send(self, command: bytes, reply: Reply, *, is_string: bool = False) -> None:
        """Send a packed command with the others of this turn of the loop; the reply comes into `reply`.

        `is_string`: its reply is a string, an error or nothing; a large string may come as a view of bytes.
        """
        if self._transport is None:
            _fail(reply, None)
            return
        if not self.due:
            self.head_since = self._heard_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._timeout, self._look)
        self.due.append((reply, is_string))
        self._unsent.append(command)
        self._unsent_bytes += len(command)
        if not self.is_collecting:
            self.is_collecting = True
            self._loop.call_soon(self._flush)

    def close(self, cause: Exception | None = None) -> None:
        """End the connection; who waits is told."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        for timer in (self._watch, self._health_check):
            if timer is not None:
                timer.cancel()
        self._on_lost(self)
        while self.due:
            _fail(self.due.popleft()[0], cause)
        self._unsent.clear()

    # --- what the event loop calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]
        self._heard_at = self._loop.time()
        self._plan_health_check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self.close(exc or RedisConnectionError("the server closed the connection"))

    def pause_writing(self) -> None:
        """Keep commands back: those that were handed over have not left yet."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Send what was kept back."""
        self._is_paused = False
        if self._unsent:
            self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a large string knows its size
        """Return where to receive: the rest of a large string, or anywhere."""
        if self._large is not None:
            return memoryview(self._large)[self._received :]
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Hand out the replies that are whole by now."""
        self._heard_at = now = self._loop.time()
        self._is_suspected = False
        if self._large is not None:
            self._received += nbytes
            if self._received < len(self._large):
                return
            whole, self._large = self._large, None
            self._hand_out(memoryview(whole)[: -len(_END)])
        else:
            try:
                self._parse(nbytes)
            except InvalidResponse as exc:
                self.close(exc)
                return
        self.head_since = now

    # --- replies -------------------------------------------------------------------------------

    def _parse(self, count: int) -> None:
        position = 0
        due = self.due
        if not self._reader.has_data():
            # Only where a reply begins, and only where a string was asked for: inside of another nothing is looked at.
            while due and due[0][1]:
                begin, size = self._large_string_at(position, count)
                if not size:
                    break
                position = self._take_large(begin, size, count)
                if position == count:
                    return
        self._reader.feed(self._buffer, position, count - position)  # type: ignore[arg-type] # takes any buffer
        gets = self._reader.gets
        while (answer := gets()) is not _NOTHING:
            if type(answer) is bytes and due:
                reply = due.popleft()[0]
                if not reply.done():
                    reply.set_result(answer)
            elif self._transport is None:
                return  # given up for what an earlier reply said
            else:
                self._hand_out(answer)

    def _large_string_at(self, position: int, count: int) -> tuple[int, int]:
        """Return where a large string begins, and its size; zeros where none does, or too little of it came."""
        if self._buffer[position] != b"$"[0]:
            return 0, 0
        end = self._buffer.find(_END, position, min(position + _LONGEST_HEADER, count))
        told = self._buffer[position + 1 : end] if end > 0 else b""
        size = int(told) if told.isdigit() else 0
        return (end + len(_END), size) if LARGE <= size <= _LARGEST_STRING else (0, 0)

    def _take_large(self, begin: int, size: int, count: int) -> int:
        """Take the string, or as much as came of it; return where what follows it begins."""
        end = begin + size + len(_END)
        if end <= count:
            self._hand_out(bytes(self._view[begin : begin + size]))
            return end
        self._large = bytearray(size + len(_END))
        self._received = count - begin
        self._large[: self._received] = self._view[begin:count]
        return count

    def _hand_out(self, answer: Any) -> None:
        if not self.due:
            raise InvalidResponse("a reply that nobody asked for")
        reply = self.due.popleft()[0]
        if not reply.done():
            if isinstance(answer, ResponseError):
                reply.set_exception(answer)
            else:
                reply.set_result(answer)
        if isinstance(answer, ReadOnlyError):
            # A master that became a replica: the next connection leads to whoever is master now.
            self.close(answer)

    # --- commands ------------------------------------------------------------------------------

    def _flush(self) -> None:
        self.is_collecting = False
        if self._transport is None or self._is_paused or not self._unsent:
            return
        commands, self._unsent = self._unsent, []
        size, self._unsent_bytes = self._unsent_bytes, 0
        self.writes += 1
        if len(commands) == 1:
            self._transport.write(commands[0])
        elif size <= _JOINED_BYTES:
            self._transport.write(b"".join(commands))
        else:
            self._transport.writelines(commands)

    def _look(self) -> None:
        """Give the connection up if nothing moved on it for its timeout."""
        self._watch = None
        if self._transport is None or not self.due:
            return
        unwritten = self._transport.get_write_buffer_size()
        if unwritten < self._unwritten:
            self._heard_at = self._loop.time()  # a large command that is on its way is no silence
        self._unwritten = unwritten
        left = self._heard_at + self._timeout - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        elif not self._is_suspected:
            # A loop that was kept busy has not looked at its sockets yet: it does before the next timer.
            self._is_suspected = True
            self._watch = self._loop.call_later(0, self._look)
        else:
            self.close(TimeoutError())

    def _plan_health_check(self) -> None:
        if self._health_check_interval > 0:
            self._health_check = self._loop.call_later(self._health_check_interval, self._check_health)

    def _check_health(self) -> None:
        """Ask a server that had nothing to say for long: so that a dead connection is noticed before it is needed."""
        if not self.due and self._loop.time() - self._heard_at >= self._health_check_interval / 2:
            answer: Reply = self._loop.create_future()
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            self.send(_PING, answer)
        self._plan_health_check()


def _fail(reply: Reply, cause: Exception | None) -> None:
    if not reply.done():
        lost = WireLostError()
        lost.__cause__ = cause
        reply.set_exception(lost)
