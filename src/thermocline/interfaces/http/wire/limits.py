"""What one client may take from the server before it is refused or cut off."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """Bounds of time, bytes and connections; every one is positive.

    The bounds are those of the wire alone: how large a body may be, or how long an answer may take, is the
    application's to decide.
    """

    header_bytes: int = 32 * 1024
    """Names and values of a request's headers, the target, and 4 bytes for each line: past it 431."""

    target_bytes: int = 8 * 1024
    """The request target as sent: past it 414."""

    header_arrival_seconds: float = 10.0
    """From a request's first byte (on a new connection: from its start) to the end of its headers: then 408."""

    keep_alive_idle_seconds: float = 75.0
    """From the end of an answer to the next request's first byte: then the connection is closed."""

    body_stall_seconds: float = 30.0
    """Without a byte of a body that the application is ready to take: then 408, and `http.disconnect` inside."""

    send_stall_seconds: float = 30.0
    """Without the client taking a byte of an answer: then the connection is cut, after at most half as long again."""

    connections: int = 10_000
    """Open at once: past it each new one gets a 503 and is closed."""

    linger_seconds: float = 2.0
    """For a refused client to read its refusal: closing at once would reset what it still sends, and lose it."""

    linger_bytes: int = 1024 * 1024
    """Thrown away from a refused client while lingering: past it the connection is cut."""

    lingering_connections: int = 128
    """Refused clients that are waited for at once: past it they are closed without waiting."""

    remembered_blocks: int = 4096
    """Identical header blocks remembered by `RememberingProtocol`; when full, all are forgotten."""

    remembered_block_bytes: int = 2048
    """The largest header block that is remembered."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"WireLimits.{field.name} must be positive, not {getattr(self, field.name)!r}")
