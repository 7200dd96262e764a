"""What the wire asks the rest of Thermocline: can this read be answered from memory, right now?"""

from abc import abstractmethod
from typing import Final, Protocol

HotAnswer = tuple[bytes, bytes | memoryview]
"""(head, body).

`head` is the status line and every header but `date`, each with its CRLF, without the blank line that ends
the block. It must hold a right `content-length`, except with 204 and 304. The wire adds the date and the blank
line, and leaves the body out for HEAD. The body is written as it is: it must never change afterwards.
"""

SLOW_HEADERS: Final = frozenset(
    {
        # These frame the message or change what the connection becomes.
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
        b"te",
        b"trailer",
        # These choose another answer than the whole, stored representation.
        b"range",
        b"if-range",
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"cache-control",
        b"pragma",
        b"origin",
        b"thermocline-user-context",
    }
)
"""A request with any of these takes the slow way. `connection` does too, unless its value is `keep-alive`."""


class HotReads(Protocol):
    """Answers reads of content that is in memory, synchronously.

    The wire asks only for a GET or HEAD that has no body, is HTTP/1.1, keeps its connection, repeats no header
    and has none of `SLOW_HEADERS`; only when every earlier request of the connection has been answered.
    """

    @abstractmethod
    def answer(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotAnswer | None:
        """Return the complete answer, or None for "take the slow way".

        Never blocks and never raises; a None costs nothing but the slow way's time. `target` is the request
        target as it was sent, so it may hold a query or an absolute URL: only a target known to name a
        content in exactly this form may be answered. The caller's right to read is checked here, every time.
        """


class NoHotReads(HotReads):
    """Sends every read the slow way."""

    def answer(
        self,
        method: bytes,  # noqa: ARG002
        target: bytes,  # noqa: ARG002
        host: bytes | None,  # noqa: ARG002
        authorization: bytes | None,  # noqa: ARG002
        if_none_match: bytes | None,  # noqa: ARG002
    ) -> HotAnswer | None:
        """Return None."""
        return None
