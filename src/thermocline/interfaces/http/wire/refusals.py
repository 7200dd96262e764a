"""The answers that the wire gives by itself, all of them problem documents (RFC 9457) that close the connection."""

import http
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from thermocline.interfaces.http.request_ids import FIELD, request_id_in


@dataclass(frozen=True)
class Refusal:
    """A fixed answer; `slug` ends its `urn:thermocline:error:` type and names it in the counts."""

    status: int
    slug: str
    title: str
    detail: str
    retry_after_seconds: int | None = None

    def body(self, request_id: str) -> bytes:
        """Return the problem document."""
        return json.dumps(
            {
                "type": f"urn:thermocline:error:{self.slug}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "request_id": request_id,
            }
        ).encode()

    def headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """Return all headers but the server's default ones."""
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(self.body(request_id))),
            (FIELD, request_id.encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        if self.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after_seconds))
        return headers

    def render(self, default_headers: Iterable[tuple[bytes, bytes]], request_id: str) -> bytes:
        """Return the whole response, with the server's default headers (its date)."""
        status = http.HTTPStatus(self.status)
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())]
        lines += [b"%b: %b\r\n" % header for header in (*default_headers, *self.headers(request_id))]
        return b"".join((*lines, b"\r\n", self.body(request_id)))


class RefusedError(Exception):
    """Raised inside the parser's callbacks, so that parsing stops at once; never leaves the wire."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.slug)
        self.refusal = refusal


MALFORMED: Final = Refusal(
    400,
    "malformed-request",
    "Malformed request",
    "The request is not valid HTTP/1.1 (RFC 9112). Nothing after it on this connection is read.",
)
TOO_SLOW: Final = Refusal(
    408,
    "request-timeout",
    "Request took too long",
    "The rest of the request did not arrive in time. Send it again on a new connection.",
)
TARGET_TOO_LONG: Final = Refusal(
    414,
    "target-too-long",
    "Request target too long",
    "The request target is longer than any content's URL can be. Shorten it.",
)
HEADERS_TOO_LARGE: Final = Refusal(
    431,
    "headers-too-large",
    "Request headers too large",
    "The headers of the request are larger than this server accepts. Send fewer or shorter ones.",
)
UNKNOWN_CODING: Final = Refusal(
    501,
    "transfer-coding-not-implemented",
    "Transfer coding not implemented",
    "The only transfer coding this server takes is `chunked`.",
)
BUSY: Final = Refusal(
    503,
    "busy",
    "Too many connections",
    "The server has as many connections open as it allows. Try again after the time in Retry-After.",
    retry_after_seconds=1,
)
CRASHED: Final = Refusal(
    500,
    "internal",
    "Internal error",
    "The server failed while answering; its log says why. Nothing is known about the request's effect.",
)


async def send_crashed(cycle: RequestResponseCycle) -> None:
    """Answer for an application that failed, or was cancelled, before it started its response; never waits.

    A client that does not read gets no answer: waiting for it would keep a cancelled task alive.
    """
    if cycle.flow.write_paused:
        cycle.transport.close()
        return
    request_id = request_id_in(cycle.scope["headers"])
    headers, body = CRASHED.headers(request_id), CRASHED.body(request_id)
    await cycle.send({"type": "http.response.start", "status": CRASHED.status, "headers": headers})
    await cycle.send({"type": "http.response.body", "body": body, "more_body": False})
