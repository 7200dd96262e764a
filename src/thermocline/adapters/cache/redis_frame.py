"""What a key holds in Redis: one string, a value, a lease or a tombstone. Whatever is not ours to the byte is nothing.

    mark     "TC" format kind version                                  12 bytes; a tombstone is just that
    lease    mark (version = floor), token
    value    mark, slot, facts, texts, payload
    slot     token of who refreshes the value, or zeros; when that ends: milliseconds of Redis' own clock
    facts    fresh until, content ends, ..., a checksum

The checksum is over the key, and all of the value but its slot, which scripts rewrite in place. The version is part of
it by exclusive or, so that a script can give a value another version. The scripts in `redis_scripts` read marks,
tokens, slots and the first two facts. Numbers are big-endian; the two moments are shifted, so that they compare as
bytes do. A change of the layout takes a new format byte: processes of either release then see nothing where the other
wrote, and never wrong bytes.
"""

import struct
from functools import lru_cache
from typing import Final

from xxhash import xxh3_64, xxh3_64_intdigest, xxh3_128_digest

from thermocline.adapters.cache.redis_compression import InflationError, inflate, shrink
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.errors import InvalidMetadataError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Seconds, Timestamp
from thermocline.ports.cache import CacheEntry

MARK: Final = struct.Struct(">3scQ")
"""Magic with format, kind, version."""
MAGIC: Final = b"TC\x02"
VALUE: Final = b"V"
LEASE: Final = b"L"
TOMBSTONE: Final = b"T"
HIGHEST_VERSION: Final = 2**63 - 1
TOKEN_BYTES: Final = 16
SLOT_BYTES: Final = TOKEN_BYTES + 8
LIFE_BYTES: Final = MARK.size + SLOT_BYTES + 16
"""So much of a value tells its version, who refreshes it, until when it is fresh, and when its content ends."""
LARGEST_FRAME: Final = Bytes(512 * 2**20)
"""What Redis takes as one string (proto-max-bulk-len, 7.0)."""

# Mark; slot; fresh until, content ends; revision, cached_at, modified_at; fetch cost in microseconds; flags; tier;
# lengths of content type, cache control and disposition; SHA-256; length of the payload as it was; checksum.
_HEAD: Final = struct.Struct(">3scQ16sQQQQqqIBBHHH32sIQ")
_LIFE: Final = struct.Struct(">3scQ24xQQ")
_NUMBER: Final = struct.Struct(">Q")
HEAD_BYTES: Final = _HEAD.size
CHECKSUM_AT: Final = _HEAD.size - _NUMBER.size
_KIND_END: Final = 4
_FACTS: Final = MARK.size + SLOT_BYTES
_FLAGS_AT: Final = _FACTS + 44
_LENGTH: Final = struct.Struct(">I")
_LENGTH_AT: Final = CHECKSUM_AT - _LENGTH.size
_PUBLIC: Final = 1
_HAS_CACHE_CONTROL: Final = 2
_HAS_DISPOSITION: Final = 4
_IS_PACKED: Final = 8
_HAS_TEXTS: Final = _HAS_CACHE_CONTROL | _HAS_DISPOSITION
_ALL_FLAGS: Final = 15
_VALUE_BEGINS: Final = MAGIC + VALUE
_COPIED_BYTES: Final = Bytes(4096)
"""Up to here it takes less time to join two pieces than to go over them one by one."""
_TIERS: Final = tuple(tier.value for tier in StorageTier)
_TIER_CODES: Final = {name: code for code, name in enumerate(_TIERS)}
_LONGEST_COST: Final = 2**32 - 1
_NEVER: Final = 2**64 - 1
_SHIFT: Final = 2**63
_PACKING_TAKES_LONG: Final = Bytes(64 * 1024)
_UNPACKING_TAKES_LONG: Final = Bytes(256 * 1024)
"""About a quarter of a millisecond each (decision 28): what the event loop can bear, and several times what it costs
to hand the work to a thread."""


Frame = bytes | memoryview
"""As it came from Redis."""


class UnreadableFrameError(ValueError):
    """What the key holds is not a frame of ours, or not whole, or not this key's."""


def pack_mark(kind: bytes, version: int) -> bytes:
    """Return a tombstone, or what a lease or value begins with."""
    return MARK.pack(MAGIC, kind, version)


def pack_token(token: str) -> bytes:
    """Return what stands for a token in frames. Tokens are unique; of so many bits, so are these."""
    return xxh3_128_digest(token.encode())


def pack_moment(moment: Timestamp | None) -> bytes:
    """Return a moment, or the end of time, so that scripts can compare it."""
    return _NUMBER.pack(_shifted(moment))


def pack_value(key: bytes, entry: CacheEntry) -> bytes:
    """Return the frame of a value under this key."""
    headers = entry.headers
    content_type = headers.content_type.encode()
    cache_control = (headers.cache_control or "").encode()
    disposition = (headers.content_disposition or "").encode()
    packed = shrink(entry.payload)
    payload = entry.payload if packed is None else packed
    flags = (
        _PUBLIC * (entry.visibility is Visibility.PUBLIC)
        | _HAS_CACHE_CONTROL * (headers.cache_control is not None)
        | _HAS_DISPOSITION * (headers.content_disposition is not None)
        | _IS_PACKED * (packed is not None)
    )
    head = _HEAD.pack(
        MAGIC,
        VALUE,
        entry.version,
        bytes(TOKEN_BYTES),
        0,
        _shifted(entry.fresh_until),
        _shifted(entry.expires_at),
        entry.revision,
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
    texts = content_type + cache_control + disposition
    checksum = _checksum(key, head, texts, payload) ^ entry.version
    return b"".join((head[:CHECKSUM_AT], _NUMBER.pack(checksum), texts, payload))


def unpack_value(key: bytes, frame: Frame) -> CacheEntry | None:
    """Return the value, or None for a lease or tombstone. Raises `UnreadableFrameError` for everything else."""
    size = len(frame)
    if size < HEAD_BYTES or frame[:_KIND_END] != _VALUE_BEGINS:
        if _is_mark(frame):
            return None
        raise UnreadableFrameError
    head = _HEAD.unpack_from(frame)
    _, _, version, _, _, fresh_until, expires_at, revision, cached_at, modified_at, cost, flags, tier = head[:13]
    type_length, control_length, disposition_length, digest, length, checksum = head[13:]
    begin = HEAD_BYTES + type_length + control_length + disposition_length
    is_packed = flags & _IS_PACKED
    is_whole = begin <= size if is_packed else begin + length == size
    if not is_whole or flags > _ALL_FLAGS or tier >= len(_TIERS):
        raise UnreadableFrameError
    texts = bytes(frame[HEAD_BYTES:begin])
    payload = frame[begin:]
    if checksum ^ version != _checksum(key, frame, texts, payload):
        raise UnreadableFrameError
    if is_packed:
        try:
            payload = inflate(payload, length)
        except InflationError as exc:
            raise UnreadableFrameError from exc
    return CacheEntry(
        bytes(payload),
        version,
        revision,
        Visibility.PUBLIC if flags & _PUBLIC else Visibility.PRIVATE,
        None if expires_at == _NEVER else Timestamp(expires_at - _SHIFT),
        cached_at,
        modified_at,
        digest,
        _headers(texts, type_length, control_length, flags & _HAS_TEXTS),
        _TIERS[tier],
        Seconds(cost / MICROS_PER_SECOND),
        None if fresh_until == _NEVER else Timestamp(fresh_until - _SHIFT),
    )


def packing_takes_long(entry: CacheEntry) -> bool:
    """Whether `pack_value` is better done beside the event loop."""
    return len(entry.payload) >= _PACKING_TAKES_LONG


def unpacking_takes_long(frame: Frame) -> bool:
    """Whether `unpack_value` is better done beside the event loop."""
    return (
        len(frame) > HEAD_BYTES
        and bool(frame[_FLAGS_AT] & _IS_PACKED)
        and _LENGTH.unpack_from(frame, _LENGTH_AT)[0] >= _UNPACKING_TAKES_LONG
    )


def version_in(life: bytes, now: Timestamp) -> int | None:
    """Return the version of the value that begins with this; None if it is no value of ours, or not fresh any more."""
    if len(life) != LIFE_BYTES:
        return None
    magic, kind, version, fresh_until, expires_at = _LIFE.unpack(life)
    if magic != MAGIC or kind != VALUE or _shifted(now) >= min(fresh_until, expires_at):
        return None
    return int(version)


def signature_of(frame: Frame) -> tuple[bytes, bytes]:
    """Return what tells one value from what may have replaced it: its mark and its facts, which hold the checksum."""
    return bytes(frame[: MARK.size]), bytes(frame[_FACTS:HEAD_BYTES])


def _is_mark(frame: Frame) -> bool:
    if frame[: len(MAGIC)] != MAGIC:
        return False
    kind = frame[len(MAGIC) : _KIND_END]
    return (kind == LEASE and len(frame) == MARK.size + TOKEN_BYTES) or (kind == TOMBSTONE and len(frame) == MARK.size)


def _shifted(moment: Timestamp | None) -> int:
    return _NEVER if moment is None else moment + _SHIFT


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


def _checksum(key: bytes, head: Frame, texts: bytes, payload: Frame) -> int:
    """Return the checksum, version left out. `head` may be the whole frame."""
    # The length of the key is part of it, so that no byte can wander from the key into the frame.
    front = b"".join((b"%d:" % len(key), key, head[:_KIND_END], head[_FACTS:CHECKSUM_AT], texts))
    if len(payload) <= _COPIED_BYTES:
        return xxh3_64_intdigest(front + payload)
    checksum = xxh3_64(front)
    checksum.update(payload)
    return checksum.intdigest()
