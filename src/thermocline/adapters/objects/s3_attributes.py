"""Attributes of objects as user metadata, also those that are longer than a vendor allows."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Final

from thermocline.domain.units import Bytes

PACKED: Final = "thermocline-packed"
"""The one attribute that holds all of them where they would be too long: JSON, deflated, in base64.

AWS allows 2 KB. The content id alone may take 2.7 KB, percent-encoded from 900 bytes; packed it takes 1.4 KB.
"""


def as_metadata(attributes: Mapping[str, str], *, most: Bytes) -> dict[str, str]:
    """Return the attributes as user metadata of at most `most` bytes. Raises `ValueError` if they do not fit."""
    if _size(attributes) <= most:
        return dict(attributes)
    deflated = zlib.compress(json.dumps(dict(attributes), separators=(",", ":")).encode(), 9)
    packed = {PACKED: base64.b64encode(deflated).decode("ascii")}
    if _size(packed) > most:
        raise ValueError(f"the attributes of an object take {_size(packed)} bytes, more than the {most} of the store")
    return packed


def from_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what `as_metadata` was given. Metadata of others' making are returned as they are."""
    packed = metadata.get(PACKED)
    if packed is None:
        return dict(metadata)
    try:
        unpacked = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
    except (ValueError, zlib.error):
        return dict(metadata)
    return unpacked if isinstance(unpacked, dict) else dict(metadata)


def _size(attributes: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in attributes.items())
