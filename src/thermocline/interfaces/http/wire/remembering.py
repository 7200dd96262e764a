"""An opt-in shortcut: a request whose bytes were seen before is not parsed again."""

from thermocline.interfaces.http.wire.protocol import HotProtocol
from thermocline.interfaces.http.wire.shared import HeaderBlock

_HEAD_END = b"\r\n\r\n"


class RememberingProtocol(HotProtocol):
    """A `HotProtocol` that remembers what identical header blocks meant; its answers are the same.

    Remembered are only bytes that llhttp, starting between two messages, accepted as exactly one bodyless
    read that the reader answered: the parser would end where it began, so it need not see them. Nothing about
    the answer is remembered: the reader is asked each time, and checks the caller's rights each time.
    """

    _candidate: HeaderBlock | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a read known by its bytes, or parse `data`."""
        block = self._shared.remembered.get(data)
        if block is not None and self._is_free():
            answer = self._ask(block)
            if answer is not None:
                self._write_answer(block, answer)
                return
        if block is not None or self._message_open or len(data) > self._limits.remembered_block_bytes:
            super().data_received(data)
        else:
            self._candidate = None
            super().data_received(data)
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        # One end of a head in `data`, at its very end, and no message left open: it held one request, whole.
        block = self._candidate
        if block is None or not self._is_free() or data.find(_HEAD_END) != len(data) - 4:
            return
        remembered = self._shared.remembered
        if len(remembered) >= self._limits.remembered_blocks:
            remembered.clear()
        remembered[data] = block

    def _is_free(self) -> bool:
        cycle = self.cycle
        return (
            not self._message_open
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not self._deaf
        )

    def _hot_block(self) -> HeaderBlock | None:
        self._candidate = block = super()._hot_block()
        return block
