"""What all connections of one server share."""

from collections import Counter
from collections.abc import Callable

from thermocline.interfaces.http.request_ids import new_request_id
from thermocline.interfaces.http.wire.hot_reads import SLOW_HEADERS, HotRead, HotReads
from thermocline.interfaces.http.wire.limits import WireLimits


class Shared:
    """The reader, the limits, the counts and the current end of a head, for one event loop."""

    def __init__(
        self,
        hot_reads: HotReads,
        limits: WireLimits,
        *,
        slow_headers: frozenset[bytes] = SLOW_HEADERS,
        new_request_id: Callable[[], str] = new_request_id,
    ) -> None:
        self.read_of = hot_reads.read_of
        self.limits = limits
        self.slow_headers = slow_headers
        self.new_request_id = new_request_id
        self.parsed: dict[tuple[object, ...], HotRead] = {}
        """What heads read that the parser made the same things of (`HotProtocol`)."""
        self.remembered: dict[bytes, HotRead] = {}
        """What heads of the very same bytes read (`RememberingProtocol`)."""
        self.refused: Counter[str] = Counter()
        """Refusals and cut connections by slug since the start; for metrics."""
        self.lingering = 0
        self.dated: list[tuple[bytes, bytes]] | None = None
        """The server's default headers that `head_end` was made from."""
        self.head_end = b"\r\n"
        """Default headers (the date) and the blank line: what ends the head of every hot answer."""

    def date(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the end of a head for these default headers, and keep it as `head_end`.

        uvicorn replaces the list once a second, so a caller compares identities and seldom calls this.
        """
        self.dated = default_headers
        self.head_end = b"".join([b"%b: %b\r\n" % header for header in default_headers] + [b"\r\n"])
        return self.head_end
