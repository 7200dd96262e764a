"""What the wire asks the rest of Thermocline: can this read be answered from memory, right now?"""

from abc import abstractmethod
from typing import Final, Protocol

HotAnswer = tuple[bytes, bytes | memoryview]
"""(head, body): what goes on the wire, complete; the head's `content-length` is right, the body never changes."""

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
        # The answer repeats these.
        b"x-request-id",
        b"request-id",
    }
)
"""A request with any of these takes the slow way. `connection` does too, unless its value is `keep-alive`."""


class HotRead(Protocol):
    """One read, as a client may ask for it again and again."""

    @abstractmethod
    def answer(self, end: bytes) -> HotAnswer | None:
        """Return the complete answer as of now, or None for "take the slow way".

        `end` is what ends every head: the date and the blank line. Never blocks and never raises; a None costs nothing
        but the slow way's time. The caller's right to read is checked here, every time.
        """


class HotReads(Protocol):
    """Answers reads of content that is in memory, synchronously.

    The wire asks only for a GET or HEAD that has no body, is HTTP/1.1, names its host, keeps its connection, repeats
    no header and has none of `SLOW_HEADERS`; only when every earlier request of the connection has been answered.
    """

    @abstractmethod
    def read_of(
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        authorization: bytes | None,
        if_none_match: bytes | None,
    ) -> HotRead | None:
        """Return what such a request reads, or None if it is none of these reads.

        Depends on nothing but the arguments: the wire keeps what it got for all requests that are the same. `target`
        is the request target as it was sent, so it may hold a query or an absolute URL.
        """


class NoHotReads(HotReads):
    """Sends every read the slow way."""

    def read_of(
        self,
        method: bytes,  # noqa: ARG002
        target: bytes,  # noqa: ARG002
        host: bytes,  # noqa: ARG002
        authorization: bytes | None,  # noqa: ARG002
        if_none_match: bytes | None,  # noqa: ARG002
    ) -> HotRead | None:
        """Return None."""
        return None
