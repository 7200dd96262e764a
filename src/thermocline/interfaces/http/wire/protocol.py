"""The protocol of the server: hot reads are answered from memory, everything else goes to ASGI."""

import logging
from typing import Final

from thermocline.interfaces.http.wire.guarded import GuardedProtocol
from thermocline.interfaces.http.wire.hot_reads import HotAnswer
from thermocline.interfaces.http.wire.shared import HeaderBlock

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
        block = self._hot_block()
        if block is not None:
            answer = self._ask(block)
            if answer is not None:
                self._message_open = self._head_open = False  # the head was the whole message
                self._write_answer(block, answer)
                return
        self._hand_to_asgi()

    def _hot_block(self) -> HeaderBlock | None:
        """Return what to ask the reader, or None if this request is none of its business."""
        cycle = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.flow.write_paused:
            return None
        headers = self.headers
        fields = dict(headers)
        if len(fields) != len(headers) or not self._shared.slow_headers.isdisjoint(fields):
            return None
        parser = self.parser
        method = parser.get_method()
        if method not in (b"GET", b"HEAD") or not parser.should_keep_alive():
            return None
        get = fields.get
        connection = get(b"connection")
        # Without the header, only HTTP/1.1 keeps a connection alive; with it, 1.0 can too.
        if connection is not None and (connection.lower() != b"keep-alive" or parser.get_http_version() != "1.1"):
            return None
        return method, self.url, get(b"host"), get(b"authorization"), get(b"if-none-match")

    def _ask(self, block: HeaderBlock) -> HotAnswer | None:
        try:
            return self._shared.answer(*block)
        except Exception:  # noqa: BLE001 - the reader promises not to raise; if it does, its caller still gets an answer
            _log.exception("hot_read_failed")
            return None

    def _write_answer(self, block: HeaderBlock, answer: HotAnswer) -> None:
        head, body = answer
        shared = self._shared
        defaults = self.server_state.default_headers
        end = shared.head_end if defaults is shared.dated else shared.date(defaults)
        if not body or block[0] == b"HEAD":
            self.transport.write(head + end)
        elif len(body) <= _JOINED_BYTES:
            self.transport.write(b"".join((head, end, body)))
        else:
            self.transport.writelines((head + end, body))
        self._answered_at = self._time()
