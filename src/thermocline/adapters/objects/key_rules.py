"""What every object store accepts as a key, a range and a storage class."""

import re
from typing import Final

MAX_KEY_BYTES = 1024
"""Amazon S3's and Cloudflare R2's limit (their documentation, November 2026)."""

_CLASS: Final = re.compile(r"[!-~]{1,64}")


def encode_key(key: str) -> bytes:
    """Return the UTF-8 of `key`. Raises `ValueError` unless it is 1 to 1024 bytes without NUL."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"an object key must be valid Unicode, not {key!r}") from exc
    if not 0 < len(encoded) <= MAX_KEY_BYTES or b"\0" in encoded:
        raise ValueError(f"an object key has 1 to {MAX_KEY_BYTES} bytes and no NUL, not {key[:80]!r}")
    return encoded


def check_range(start: int, end: int) -> None:
    """Return if `[start, end)` can be a range. Raises `ValueError` if it is negative or backwards."""
    if not 0 <= start <= end:
        raise ValueError(f"not a range of bytes: [{start}, {end})")


def check_class(storage_class: str) -> None:
    """Return if this can name a storage class. Raises `ValueError` unless it is 1 to 64 visible ASCII characters."""
    if not _CLASS.fullmatch(storage_class):
        raise ValueError(f"a storage class is 1 to 64 visible ASCII characters, not {storage_class[:80]!r}")
