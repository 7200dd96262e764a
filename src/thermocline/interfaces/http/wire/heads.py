"""Rules about a request's head that llhttp leaves to its caller; pure functions."""

from collections.abc import Sequence
from typing import Final

import httptools

from thermocline.interfaces.http.wire.refusals import MALFORMED, UNKNOWN_CODING, RefusedError

# Hop-by-hop headers that ask for an upgrade: a request is parsed again without them (RFC 9110 §7.8).
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})

Headers = Sequence[tuple[bytes, bytes]]
"""Names and their values, in the order they came."""


def lower_names(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers with their names in lower case."""
    return [(name.lower(), value) for name, value in headers]


def check_head(version: str, target: bytes, headers: Headers) -> None:
    """Raise `RefusedError` unless a head is fit to run: version, Host, transfer coding, a path in the target.

    Names are in lower case.
    """
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise RefusedError(UNKNOWN_CODING)
            if version == "1.0":
                raise RefusedError(MALFORMED)  # RFC 9112 §6.1: its framing cannot be trusted
    if hosts > 1 or (hosts == 0 and version == "1.1") or version not in {"1.0", "1.1"}:
        raise RefusedError(MALFORMED)
    if not target.startswith(b"/") and httptools.parse_url(target).path is None:
        raise RefusedError(MALFORMED)  # an absolute URL without a path


def head_bytes(target: bytes, headers: Headers) -> int:
    """Return what counts against the limit: 4 more than its text for each line, so that empty ones are not free."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of the same request (names in lower case) without the upgrade; `connection: close` is kept."""
    lines = [b"%b %b HTTP/%b\r\n" % (method, target, version.encode())]
    lines += [b"%b: %b\r\n" % header for header in headers if header[0] not in _UPGRADE_HEADERS]
    tokens = b",".join(value for name, value in headers if name == b"connection").lower().split(b",")
    if b"close" in [token.strip() for token in tokens]:
        lines.append(b"connection: close\r\n")
    return b"".join([*lines, b"\r\n"])
