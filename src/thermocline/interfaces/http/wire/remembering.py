"""A shortcut: a hot read whose very bytes were seen before is not parsed again."""

from thermocline.interfaces.http.wire.hot_reads import HotRead
from thermocline.interfaces.http.wire.protocol import HotProtocol

_HEAD_END = b"\r\n\r\n"


class RememberingProtocol(HotProtocol):
    """A `HotProtocol` that remembers what identical header blocks meant; its answers are the same.

    Remembered are only bytes that llhttp, starting between two messages, accepted as exactly one bodyless
    read that the reader answered: the parser would end where it began, so it need not see them. Nothing about
    the answer is remembered: the reader is asked each time, and checks the caller's rights each time.
    """

    _candidate: HotRead | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a read known by its bytes, or parse `data`."""
        read = self._shared.remembered.get(data)
        if read is not None and self._is_free():
            answer = self._ask(read)
            if answer is not None:
                self._write_answer(answer)
                return
        if read is not None or self._message_open or len(data) > self._limits.remembered_block_bytes:
            super().data_received(data)
        else:
            self._candidate = None
            super().data_received(data)
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        # One end of a head in `data`, at its very end, and no message left open: it held one request, whole.
        read = self._candidate
        if read is None or not self._is_free() or data.find(_HEAD_END) != len(data) - 4:
            return
        remembered = self._shared.remembered
        if len(remembered) >= self._limits.remembered_blocks:
            remembered.clear()
        remembered[data] = read

    def _is_free(self) -> bool:
        cycle = self.cycle
        return (
            not self._message_open
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not self._deaf
        )

    def _hot_read(self) -> HotRead | None:
        self._candidate = read = super()._hot_read()
        return read
