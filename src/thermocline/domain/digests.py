"""Digests: SHA-256 of the whole content, and an XXH3 digest of each 4 MiB chunk of larger ones.

The whole digest is what users see and compare (`Repr-Digest`), what small contents are verified by, and what `fsck`
verifies all by. The chunk digests let a stream or a range be verified before each chunk leaves: 128 bits find any
accident, at 40 GB/s a core (decision 10).
"""

import hashlib
from collections.abc import Iterator
from typing import TypeAlias

from xxhash import xxh3_128

from thermocline.domain.units import Bytes

CHUNK_BYTES = Bytes(4 * 1024 * 1024)
"""The unit of verification of streams and ranges. Stored contents depend on it: it can never change."""
DIGEST_BYTES = 32
CHUNK_DIGEST_BYTES = 16

Buffer: TypeAlias = bytes | bytearray | memoryview


class ContentDigest:
    """Digests of content that arrives in pieces of any size. `whole()` and `chunks()` describe all bytes so far.

    Content that is known to end within its first chunk needs no chunk digests: `single_chunk` saves them.
    """

    def __init__(self, *, single_chunk: bool = False) -> None:
        self.size = 0
        self._single_chunk = single_chunk
        self._whole = hashlib.sha256()
        self._chunk = xxh3_128()
        self._chunk_room = int(CHUNK_BYTES)
        self._finished = bytearray()

    def update(self, piece: Buffer) -> None:
        """Add the next bytes."""
        self._whole.update(piece)
        self.size += len(piece)
        if self._single_chunk:
            return
        view = memoryview(piece)
        while len(view) >= self._chunk_room:
            self._chunk.update(view[: self._chunk_room])
            self._finished += self._chunk.digest()
            view = view[self._chunk_room :]
            self._chunk = xxh3_128()
            self._chunk_room = int(CHUNK_BYTES)
        if view:
            self._chunk.update(view)
            self._chunk_room -= len(view)

    def whole(self) -> bytes:
        """Return the SHA-256 of everything so far, 32 bytes."""
        return self._whole.digest()

    def chunks(self) -> bytes:
        """Return the joined chunk digests, 16 bytes each; empty where the whole digest serves (one chunk or less)."""
        if self.size <= CHUNK_BYTES:
            return b""
        if self._single_chunk:
            raise ValueError(f"{self.size} bytes came where one chunk was announced")
        started = self._chunk_room < CHUNK_BYTES
        return bytes(self._finished) + (self._chunk.digest() if started else b"")


def digest_whole(data: Buffer) -> bytes:
    """Return the SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def chunk_is_intact(data: Buffer, *, index: int, whole: bytes, chunks: bytes) -> bool:
    """Whether `data` is the chunk number `index` of the content with these digests.

    Content of one chunk or less has no chunk digests: its only chunk is checked against the whole digest.
    """
    if not chunks:
        return index == 0 and hashlib.sha256(data).digest() == whole
    return xxh3_128(data).digest() == chunks[index * CHUNK_DIGEST_BYTES : (index + 1) * CHUNK_DIGEST_BYTES]


def covering_chunks(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield `(index, skip, stop)` for each chunk that holds bytes of `[start, end)`; skip and stop are within it."""
    for index in range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES) if start < end else 0):
        base = index * CHUNK_BYTES
        yield index, max(start - base, 0), min(end - base, CHUNK_BYTES)
