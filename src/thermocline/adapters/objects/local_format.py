"""How an object lies in its file: payload, attributes, footer.

    payload                      from offset 0, so that any program opens the file and ranges are plain reads
    attributes                   JSON, one object of texts
    footer, 28 bytes             little-endian: payload size u64, attributes size u32, version u32,
                                 CRC-32 of attributes and the 16 bytes before u32, magic 8 bytes

Version 2 marks an object that must be restored before it is read; whoever does not know of restores refuses it. All
other objects are written as version 1. A storage class other than STANDARD is one of the attributes.

One file, so one fsync makes payload and attributes durable together.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from thermocline.ports.object_store import STANDARD

VERSION: Final = 1
ARCHIVED_VERSION: Final = 2
CLASS: Final = ":storage-class"
"""The attribute that holds the storage class; no header may be named like this, so no attribute of a user is."""
MAGIC: Final = b"\x89THERMO\n"
_SIZES = struct.Struct("<QII")
_END = struct.Struct("<I8s")
FOOTER_BYTES: Final = _SIZES.size + _END.size
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode  # json.dumps makes an encoder each time


class DamagedFileError(EOFError):
    """The file does not end the way every object does; it was cut, overwritten or never ours."""


class Footer(NamedTuple):
    """What the footer says, where it fits the file's size."""

    payload_size: int
    attributes_size: int
    archived: bool
    """Whether the object must be restored before it is read."""


def with_class(attributes: Mapping[str, str], storage_class: str) -> Mapping[str, str]:
    """Return the attributes as they are stored. Raises `ValueError` if one of them has the name that is ours."""
    if CLASS in attributes:
        raise ValueError(f"no attribute may be named {CLASS!r}")
    return dict(attributes) if storage_class == STANDARD else {**attributes, CLASS: storage_class}


def split_class(stored: Mapping[str, str]) -> tuple[Mapping[str, str], str]:
    """Return the attributes and the storage class that `with_class` put together."""
    attributes = dict(stored)
    storage_class = attributes.pop(CLASS, STANDARD)
    return attributes, storage_class


def pack_trailer(payload_size: int, attributes: Mapping[str, str], *, archived: bool = False) -> bytes:
    """Return what follows a payload of this size. Equal input gives equal bytes."""
    encoded = _encode(dict(attributes)).encode()
    checked = encoded + _SIZES.pack(payload_size, len(encoded), ARCHIVED_VERSION if archived else VERSION)
    return checked + _END.pack(zlib.crc32(checked), MAGIC)


def read_footer(file_size: int, raw: bytes) -> Footer:
    """Return the footer in `raw`, the last 28 bytes of the file. Raises `DamagedFileError`."""
    if len(raw) != FOOTER_BYTES:
        raise DamagedFileError(f"the file has only {file_size} bytes, less than a footer")
    payload_size, attributes_size, version = _SIZES.unpack_from(raw)
    if raw[-len(MAGIC) :] != MAGIC:
        raise DamagedFileError("the file does not end with the footer of an object")
    if version > ARCHIVED_VERSION:
        raise DamagedFileError(f"the file has format {version}, newer than this program knows ({ARCHIVED_VERSION})")
    if version < VERSION:
        raise DamagedFileError(f"the file has format {version}, which there never was")
    if payload_size + attributes_size + FOOTER_BYTES != file_size:
        raise DamagedFileError(f"the file has {file_size} bytes, but its footer describes another size")
    return Footer(payload_size, attributes_size, version == ARCHIVED_VERSION)


def read_attributes(raw: bytes) -> Mapping[str, str]:
    """Return the attributes in `raw`, attributes and footer. Raises `DamagedFileError` if the checksum differs."""
    checked, (crc, _) = raw[: -_END.size], _END.unpack(raw[-_END.size :])
    if zlib.crc32(checked) != crc:
        raise DamagedFileError("the attributes at the end of the file are damaged")
    attributes: dict[str, str] = json.loads(checked[: -_SIZES.size])
    return attributes
