"""Object keys as they lie in a bucket.

Nearly every key lies there as it is, so that any S3 client finds it. HTTP clients and proxies rewrite paths, though:
`//`, `.` and `..` vanish on the way, and control characters are no part of XML. Keys with such parts are written with
a mark before them and those parts escaped. No content id of Thermocline has any: this is for keys of others' making.
"""

import re
from typing import Final
from urllib.parse import unquote

from thermocline.adapters.objects.key_rules import MAX_KEY_BYTES, encode_key

RESERVED: Final = ".thermocline"
"""The first segment of what is ours and no object: keys that begin with it are escaped, so nothing else is there."""
MARKER: Final = f"{RESERVED}/installation"
ESCAPED: Final = f"{RESERVED}/keys/"

_EMPTY: Final = "%00"  # NUL is in no key
_SPECIAL: Final = re.compile("[%\x01-\x1f\x7f]")
_AWKWARD: Final = re.compile("[\x01-\x1f\x7f]|(?:^|/)(?:\\.{0,2})(?:/|$)")
_NO_XML: Final = re.compile("[\ufffe\uffff]")


def stored_key(key: str) -> str:
    """Return where the object of `key` lies. Raises `ValueError` if it is no key, or too long once it is escaped."""
    encode_key(key)
    if not _AWKWARD.search(key) and key.partition("/")[0] != RESERVED:
        return key
    escaped = ESCAPED + "/".join(_escape(segment) for segment in key.split("/"))
    if len(escaped.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"an object key of this kind is too long for S3 once it is escaped: {key[:80]!r}")
    return escaped


def original_key(stored: str) -> str | None:
    """Return the key of what lies there; None if it is ours and no object."""
    if stored.startswith(ESCAPED):
        return "/".join("" if part == _EMPTY else unquote(part) for part in stored.removeprefix(ESCAPED).split("/"))
    return None if stored.partition("/")[0] == RESERVED else stored


def fits_xml(stored: str) -> bool:
    """Whether XML 1.0 can carry the key, as the deletion of many at once needs."""
    return _NO_XML.search(stored) is None


def fitting_start(text: str) -> str:
    """Return as much of the beginning of `text` as XML 1.0 can carry: it sorts before `text`, or is it."""
    found = _NO_XML.search(text)
    return text if found is None else text[: found.start()]


def _escape(segment: str) -> str:
    if not segment:
        return _EMPTY
    if segment in {".", ".."}:
        return segment.replace(".", "%2E")
    return _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", segment)
