"""The protocol of the server: hot reads are answered from memory, everything else goes to ASGI."""

import logging
from typing import Final

from thermocline.interfaces.http.wire.guarded import GuardedProtocol
from thermocline.interfaces.http.wire.heads import head_bytes, lower_names
from thermocline.interfaces.http.wire.hot_reads import HotAnswer, HotRead

_log = logging.getLogger(__name__)

# Up to here one copy into one buffer is cheaper than a gathering write; measured by bench/hot_get.
_JOINED_BYTES: Final = 16 * 1024


class HotProtocol(GuardedProtocol):
    """Writes the answer to a hot read straight to the transport; otherwise exactly a `GuardedProtocol`.

    An answer is written only when no earlier one is owed and the client keeps up, so order and
    backpressure are those of the slow way.
    """

    def on_headers_complete(self) -> None:
        """Answer a hot read, or hand the request to ASGI."""
        if self._unmeasured:
            self._measure_head()
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not self.flow.write_paused:
            read = self._hot_read()
            if read is not None:
                answer = self._ask(read)
                if answer is not None:
                    self._message_open = self._head_open = False  # the head was the whole message
                    self._write_answer(answer)
                    return
        self._hand_to_asgi()

    def _hot_read(self) -> HotRead | None:
        """Return what the request reads, or None if the slow way is its own."""
        parser = self.parser
        # Everything that the judgement depends on, but the version (see `_judge`).
        key = (parser.get_method(), parser.should_keep_alive(), self.url, *self.headers)
        read = self._shared.parsed.get(key)
        return self._judge(key) if read is None else read

    def _judge(self, key: tuple[object, ...]) -> HotRead | None:
        """Look at a head that is not known, and know it from now on if it is a hot read's."""
        method = self.parser.get_method()
        if method not in {b"GET", b"HEAD"} or not self.parser.should_keep_alive():
            return None
        headers = lower_names(self.headers)
        fields = dict(headers)
        shared = self._shared
        if len(fields) != len(headers) or not shared.slow_headers.isdisjoint(fields):
            return None
        connection = fields.get(b"connection")
        # Without the header, only HTTP/1.1 keeps a connection alive; with it, 1.0 can too: the version must be asked.
        if connection is not None and (connection.lower() != b"keep-alive" or self.parser.get_http_version() != "1.1"):
            return None
        get = fields.get
        host = get(b"host")
        if host is None:
            return None  # the slow way refuses it (RFC 9112 §3.2)
        try:
            read = shared.read_of(method, self.url, host, get(b"authorization"), get(b"if-none-match"))
        except Exception:  # noqa: BLE001 - as in `_ask`
            _log.exception("hot_read_failed")
            return None
        limits = self._limits
        if read is not None and connection is None and head_bytes(self.url, headers) <= limits.remembered_block_bytes:
            if len(shared.parsed) >= limits.remembered_blocks:
                shared.parsed.clear()
            shared.parsed[key] = read
        return read

    def _ask(self, read: HotRead) -> HotAnswer | None:
        shared = self._shared
        defaults = self.server_state.default_headers
        try:
            return read.answer(shared.head_end if defaults is shared.dated else shared.date(defaults))
        except Exception:  # noqa: BLE001 - the reader promises not to raise; if it does, its caller still gets an answer
            _log.exception("hot_read_failed")
            return None

    def _write_answer(self, answer: HotAnswer) -> None:
        head, body = answer
        if not body:
            self.transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            self.transport.write(b"".join(answer))
        else:
            self.transport.writelines(answer)
        self._answered_at = self._time()
