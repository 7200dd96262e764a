"""The path of a request: percent-decoded exactly once, without the prefix under which the service is mounted."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from thermocline.domain.errors import InvalidInputError

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# Characters that a path segment may hold unencoded (RFC 3986 §3.3), and `/`.
_PLAIN_IN_PATHS = "/-._~!$&'()*+,;=:@"


def decode_path(raw: bytes) -> bytes:
    """Return `raw` percent-decoded once. Raises `InvalidInputError` for a `%` without two hexadecimal digits."""
    if b"%" not in raw:
        return raw
    if _MALFORMED.search(raw):
        raise InvalidInputError("the path has a '%' that is not followed by two hexadecimal digits; write it as %25")
    return unquote_to_bytes(raw)


def encode_path(text: str) -> str:
    """Return `text` as a path in a URL; `decode_path` undoes it."""
    return quote(text, safe=_PLAIN_IN_PATHS)


def path_below_root(scope: Mapping[str, Any]) -> bytes:
    """Return the decoded path of a request below the prefix where the service is mounted.

    Servers differ in whether the raw path holds the prefix that they were told (`root_path`): both are taken.
    Raises `InvalidInputError` for malformed percent-encoding.
    """
    raw = scope.get("raw_path")
    path = decode_path(raw) if raw is not None else str(scope["path"]).encode(errors="surrogateescape")
    root = root_of(scope).encode(errors="surrogateescape")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {b"/", b""}:
        return path[len(root) :]
    return path


def root_of(scope: Mapping[str, Any]) -> str:
    """Return the prefix under which the service is mounted, decoded, without a final `/`; empty if there is none."""
    return str(scope.get("root_path", "")).rstrip("/")
