"""Digests: independent of how bytes arrive; any damage to any chunk is seen."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from thermocline.domain.digests import CHUNK_BYTES, ContentDigest, chunk_is_intact, covering_chunks

SIZES = st.one_of(
    st.integers(0, 1000),
    st.integers(-2, 2).map(lambda d: CHUNK_BYTES + d),
    st.integers(-2, 2).map(lambda d: 2 * CHUNK_BYTES + d),
)


@pytest.mark.thorough
@given(SIZES, st.integers(0, 2**32), st.data())
def test_pieces_do_not_matter(size: int, seed: int, data: st.DataObject) -> None:
    content = random.Random(seed).randbytes(size)
    digest = ContentDigest()
    position = 0
    while position < size:
        step = data.draw(st.one_of(st.integers(1, 100), st.just(CHUNK_BYTES), st.just(CHUNK_BYTES - 1), st.just(size)))
        step = max(step, size // 8)
        digest.update(memoryview(content)[position : position + step])
        position += step
    assert digest.size == size
    assert digest.whole() == hashlib.sha256(content).digest()
    expected = [xxh3_128(content[i : i + CHUNK_BYTES]).digest() for i in range(0, size, CHUNK_BYTES)]
    assert digest.chunks() == (b"".join(expected) if size > CHUNK_BYTES else b"")


@pytest.mark.thorough
@given(SIZES.filter(bool), st.integers(0, 2**32), st.data())
def test_any_flipped_bit_is_seen(size: int, seed: int, data: st.DataObject) -> None:
    content = bytearray(random.Random(seed).randbytes(size))
    digest = ContentDigest()
    digest.update(content)
    where = data.draw(st.integers(0, size - 1))
    content[where] ^= 1 << data.draw(st.integers(0, 7))
    for index in range(-(-size // CHUNK_BYTES)):
        chunk = content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        intact = chunk_is_intact(chunk, index=index, whole=digest.whole(), chunks=digest.chunks())
        assert intact == (index != where // CHUNK_BYTES)


@given(st.integers(0, 5 * CHUNK_BYTES), st.integers(0, 5 * CHUNK_BYTES))
def test_covering_chunks_tile_the_range(start: int, end: int) -> None:
    position = start
    for index, skip, stop in covering_chunks(start, end):
        assert index * CHUNK_BYTES + skip == position
        assert 0 <= skip < stop <= CHUNK_BYTES
        position = index * CHUNK_BYTES + stop
    assert position == max(start, end) if start < end else position == start


def test_the_first_chunk_of_a_content_without_chunk_digests_is_the_whole() -> None:
    whole = hashlib.sha256(b"x").digest()
    assert chunk_is_intact(b"x", index=0, whole=whole, chunks=b"")
    assert not chunk_is_intact(b"x", index=1, whole=whole, chunks=b"")


def test_more_than_one_chunk_where_one_was_announced_is_a_mistake() -> None:
    digest = ContentDigest(single_chunk=True)
    digest.update(bytes(CHUNK_BYTES))
    assert digest.chunks() == b""
    digest.update(b"x")
    with pytest.raises(ValueError, match="one chunk"):
        digest.chunks()
