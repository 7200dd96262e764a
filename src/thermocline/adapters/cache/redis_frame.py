"""What a key holds in Redis: one string, a value, a lease or a tombstone. Whatever is not ours to the byte is nothing.

    mark     "TC" format kind version                                  12 bytes; a tombstone is just that
    lease    mark (version = floor), token
    value    mark, facts, texts, payload; its facts end with a checksum over the key and everything else

The scripts in `redis_scripts` read marks and tokens. Numbers are big-endian. A change of the layout takes a new format
byte: processes of either release then see nothing where the other wrote, and never wrong bytes.
"""

import struct
from functools import lru_cache
from typing import Final

from xxhash import xxh3_64

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.errors import InvalidMetadataError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp
from thermocline.ports.cache import CacheEntry

MARK: Final = struct.Struct(">3scQ")
"""Magic with format, kind, version."""
MAGIC: Final = b"TC\x01"
VALUE: Final = b"V"
LEASE: Final = b"L"
TOMBSTONE: Final = b"T"
HIGHEST_VERSION: Final = 2**63 - 1

# Revision, expires_at, cached_at, modified_at; fetch cost in microseconds; flags; tier; lengths of content type,
# cache control and disposition; SHA-256; length of the payload; checksum.
_FACTS: Final = struct.Struct(">QqqqIBBHHH32sIQ")
_CHECKSUM: Final = struct.Struct(">Q")
_HEAD: Final = MARK.size + _FACTS.size
_CHECKED: Final = _HEAD - _CHECKSUM.size
_PUBLIC: Final = 1
_EXPIRES: Final = 2
_HAS_CACHE_CONTROL: Final = 4
_HAS_DISPOSITION: Final = 8
_ALL_FLAGS: Final = 15
_TIERS: Final = tuple(tier.value for tier in StorageTier)
_TIER_CODES: Final = {name: code for code, name in enumerate(_TIERS)}
_LONGEST_COST: Final = 2**32 - 1


class UnreadableFrameError(ValueError):
    """What the key holds is not a frame of ours, or not whole, or not this key's."""


def pack_mark(kind: bytes, version: int) -> bytes:
    """Return a tombstone, or what a lease or value begins with."""
    return MARK.pack(MAGIC, kind, version)


def pack_value(key: bytes, entry: CacheEntry) -> bytes:
    """Return the frame of a value under this key."""
    headers = entry.headers
    content_type = headers.content_type.encode()
    cache_control = (headers.cache_control or "").encode()
    disposition = (headers.content_disposition or "").encode()
    flags = (
        _PUBLIC * (entry.visibility is Visibility.PUBLIC)
        | _EXPIRES * (entry.expires_at is not None)
        | _HAS_CACHE_CONTROL * (headers.cache_control is not None)
        | _HAS_DISPOSITION * (headers.content_disposition is not None)
    )
    facts = _FACTS.pack(
        entry.revision,
        entry.expires_at or 0,
        entry.cached_at,
        entry.modified_at,
        min(round(entry.fetch_cost * MICROS_PER_SECOND), _LONGEST_COST),
        flags,
        _TIER_CODES[entry.tier],
        len(content_type),
        len(cache_control),
        len(disposition),
        entry.digest,
        len(entry.payload),
        0,
    )
    checked = pack_mark(VALUE, entry.version) + facts[: -_CHECKSUM.size]
    texts = content_type + cache_control + disposition
    checksum = _CHECKSUM.pack(_checksum(key, checked, texts, entry.payload))
    return b"".join((checked, checksum, texts, entry.payload))


def unpack_value(key: bytes, frame: bytes) -> CacheEntry | None:
    """Return the value, or None for a lease or tombstone. Raises `UnreadableFrameError` for everything else."""
    if len(frame) < MARK.size or frame[: len(MAGIC)] != MAGIC:
        raise UnreadableFrameError
    kind = frame[len(MAGIC) : len(MAGIC) + 1]
    if kind != VALUE:
        if kind == LEASE or (kind == TOMBSTONE and len(frame) == MARK.size):
            return None
        raise UnreadableFrameError
    if len(frame) < _HEAD:
        raise UnreadableFrameError
    version = MARK.unpack_from(frame)[2]
    facts = _FACTS.unpack_from(frame, MARK.size)
    revision, expires_at, cached_at, modified_at, cost, flags, tier = facts[:7]
    type_length, control_length, disposition_length, digest, length, checksum = facts[7:]
    begin = _HEAD + type_length + control_length + disposition_length
    if len(frame) != begin + length or flags > _ALL_FLAGS or tier >= len(_TIERS):
        raise UnreadableFrameError
    payload, texts = frame[begin:], frame[_HEAD:begin]
    if checksum != _checksum(key, frame[:_CHECKED], texts, payload):
        raise UnreadableFrameError
    return CacheEntry(
        payload=payload,
        version=version,
        revision=revision,
        visibility=Visibility.PUBLIC if flags & _PUBLIC else Visibility.PRIVATE,
        expires_at=Timestamp(expires_at) if flags & _EXPIRES else None,
        cached_at=Timestamp(cached_at),
        modified_at=Timestamp(modified_at),
        digest=digest,
        headers=_headers(texts, type_length, control_length, flags & (_HAS_CACHE_CONTROL | _HAS_DISPOSITION)),
        tier=_TIERS[tier],
        fetch_cost=Seconds(cost / MICROS_PER_SECOND),
    )


def version_in(mark: bytes) -> int | None:
    """Return the version of the value that begins with this mark; None if it is no value of ours."""
    if len(mark) != MARK.size:
        return None
    magic, kind, version = MARK.unpack(mark)
    return int(version) if magic == MAGIC and kind == VALUE else None


@lru_cache(maxsize=1024)
def _headers(texts: bytes, type_length: int, control_length: int, flags: int) -> StoredHeaders:
    """Return the stored headers. Many contents share theirs, and checking them is most of the price of a hit."""
    try:
        text = texts.decode("ascii")
        control, disposition = text[type_length : type_length + control_length], text[type_length + control_length :]
        return StoredHeaders(
            text[:type_length],
            control if flags & _HAS_CACHE_CONTROL else None,
            disposition if flags & _HAS_DISPOSITION else None,
        )
    except (UnicodeDecodeError, InvalidMetadataError) as exc:
        raise UnreadableFrameError from exc


def _checksum(key: bytes, checked: bytes, texts: bytes, payload: bytes) -> int:
    # The length of the key is part of it, so that no byte can wander from the key into the frame.
    checksum = xxh3_64(b"%d:" % len(key) + key + checked + texts)
    checksum.update(payload)
    return checksum.intdigest()
