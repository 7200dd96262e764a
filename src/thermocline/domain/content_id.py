"""Content ids: 1 to 900 bytes of UTF-8 in `/`-separated segments, none of them empty, `.` or `..`."""

import unicodedata
from typing import NewType

from thermocline.domain.errors import InvalidContentIdError

ContentId = NewType("ContentId", str)
"""An id that `parse_content_id` has accepted."""

MAX_CONTENT_ID_BYTES = 900
"""Leaves room for installation, placement and token in S3's and R2's limit of 1024 bytes a key."""


def parse_content_id(raw: str | bytes) -> ContentId:
    """Return `raw` as a content id, unchanged. Raises `InvalidContentIdError` that names the broken rule.

    `raw` is already percent-decoded. It must be valid UTF-8 without control characters, and have no
    leading, trailing or doubled `/` and no `.` or `..` segment.
    """
    if isinstance(raw, str) and _is_plain(raw):
        return ContentId(raw)
    text = _decode(raw)
    if not text:
        raise InvalidContentIdError("a content id must not be empty")
    _check_characters(text)
    if text[0] == "/" or text[-1] == "/" or "//" in text:
        raise InvalidContentIdError("a content id must not have a leading, trailing or doubled '/'")
    for segment in text.split("/"):
        if segment in {".", ".."}:
            raise InvalidContentIdError("a content id must not have a '.' or '..' segment")
    return ContentId(text)


def parse_prefix(raw: str | bytes) -> str:
    """Return `raw` as a prefix of content ids, possibly empty. Raises `InvalidContentIdError`."""
    text = _decode(raw)
    _check_characters(text)
    return text


def _is_plain(text: str) -> bool:
    """Whether an id surely is one, as most are: every read asks, and the rules cost several times as much."""
    return (
        text.isascii()
        and text.isprintable()
        and 0 < len(text) <= MAX_CONTENT_ID_BYTES
        and "//" not in text
        and "/." not in text
        and text[0] not in "/."
        and text[-1] != "/"
    )


def _decode(raw: str | bytes) -> str:
    if not isinstance(raw, str | bytes):
        raise InvalidContentIdError(f"a content id must be text, not {type(raw).__name__}")
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        length = len(text.encode())
    except UnicodeError as exc:
        raise InvalidContentIdError("a content id must be valid UTF-8") from exc
    if length > MAX_CONTENT_ID_BYTES:
        raise InvalidContentIdError(f"a content id must have at most {MAX_CONTENT_ID_BYTES} bytes, not {length}")
    return text


def _check_characters(text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    for character in text:
        if unicodedata.category(character) == "Cc":
            raise InvalidContentIdError(f"a content id must not have control characters such as {character!r}")
