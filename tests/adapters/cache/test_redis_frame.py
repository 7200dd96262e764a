"""What is read back is what was packed, to the byte; anything else is unreadable, never something else."""

import random
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from thermocline.adapters.cache import redis_compression
from thermocline.adapters.cache.redis_compression import InflationError, inflate, shrink
from thermocline.adapters.cache.redis_frame import (
    HEAD_BYTES,
    LEASE,
    LIFE_BYTES,
    MAGIC,
    MARK,
    SLOT_BYTES,
    TOKEN_BYTES,
    TOMBSTONE,
    VALUE,
    UnreadableFrameError,
    pack_mark,
    pack_moment,
    pack_token,
    pack_value,
    packing_takes_long,
    unpack_value,
    unpacking_takes_long,
    version_in,
)
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.cache import CacheEntry
from thermocline.testing.contracts.cache import entry

KEY = b"tc:0:content:a"
SLOT = range(MARK.size, MARK.size + SLOT_BYTES)
NOW = Timestamp(1_700_000_000_000_000)
TEXT = b'{"id": 17, "title": "a title of some length", "tags": ["one", "two"]}, ' * 60
moments = st.integers(-(2**63), 2**63 - 2).map(Timestamp)
field_values = st.from_regex(r"[\x21-\x7e]([\t\x20-\x7e]{0,40}[\x21-\x7e])?", fullmatch=True)
entries = st.builds(
    CacheEntry,
    payload=st.binary(max_size=300) | st.integers(1000, 5000).map(lambda size: (TEXT * 2)[:size]),
    version=st.integers(0, 2**64 - 1),
    revision=st.integers(0, 2**64 - 1),
    visibility=st.sampled_from(Visibility),
    expires_at=st.none() | moments,
    cached_at=moments,
    modified_at=moments,
    digest=st.binary(min_size=32, max_size=32),
    headers=st.builds(
        StoredHeaders,
        content_type=st.sampled_from(("text/plain", "image/png", "text/html; charset=utf-8")),
        cache_control=st.none() | field_values,
        content_disposition=st.none() | field_values,
    ),
    tier=st.sampled_from([tier.value for tier in StorageTier]),
    fetch_cost=st.integers(0, 2**32 - 1).map(lambda micros: Seconds(micros / 1_000_000)),
    fresh_until=st.none() | moments,
)


def read(key: bytes, frame: bytes) -> CacheEntry | str | None:
    try:
        return unpack_value(key, frame)
    except UnreadableFrameError:
        return "unreadable"


@given(key=st.binary(max_size=60), what=entries)
def test_a_value_comes_back_as_it_was(key: bytes, what: CacheEntry) -> None:
    frame = pack_value(key, what)
    assert unpack_value(key, frame) == what
    is_fresh = all(moment is None or moment > NOW for moment in (what.expires_at, what.fresh_until))
    assert version_in(frame[:LIFE_BYTES], NOW) == (what.version if is_fresh else None)


@given(what=entries, slot=st.binary(min_size=SLOT_BYTES, max_size=SLOT_BYTES))
def test_whoever_refreshes_a_value_leaves_it_as_it_is(what: CacheEntry, slot: bytes) -> None:
    frame = pack_value(KEY, what)
    assert unpack_value(KEY, frame[: SLOT.start] + slot + frame[SLOT.stop :]) == what


@given(one=st.none() | moments, other=st.none() | moments)
def test_moments_compare_as_bytes(one: Timestamp | None, other: Timestamp | None) -> None:
    numbers = [float("inf") if moment is None else moment for moment in (one, other)]
    assert (pack_moment(one) < pack_moment(other)) == (numbers[0] < numbers[1])


def test_a_cost_beyond_an_hour_is_an_hour() -> None:
    frame = pack_value(KEY, entry()._replace(fetch_cost=Seconds(1e9)))
    read_back = unpack_value(KEY, frame)
    assert read_back is not None
    assert 4000 < read_back.fetch_cost < 5000


@given(what=entries, data=st.data())
def test_whatever_was_changed_is_unreadable(what: CacheEntry, data: st.DataObject) -> None:
    frame = bytearray(pack_value(KEY, what))
    place = data.draw(st.integers(0, len(frame) - 1).filter(lambda place: place not in SLOT))
    frame[place] ^= data.draw(st.integers(1, 255))
    assert read(KEY, bytes(frame)) == "unreadable"


@pytest.mark.parametrize("payload", [b"payload", TEXT], ids=["as it is", "compressed"])
def test_each_bit_counts(payload: bytes) -> None:
    what = entry(payload=payload)
    frame = pack_value(KEY, what)
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read(KEY, bytes(flipped)) == (what if bit // 8 in SLOT else "unreadable"), bit


@given(what=entries, data=st.data())
def test_whatever_was_cut_or_grew_is_unreadable(what: CacheEntry, data: st.DataObject) -> None:
    frame = pack_value(KEY, what)
    assert read(KEY, frame[: data.draw(st.integers(0, len(frame) - 1))]) == "unreadable"
    assert read(KEY, frame + data.draw(st.binary(min_size=1, max_size=20))) == "unreadable"


@given(what=entries, other=st.binary(max_size=60))
@example(what=entry(), other=KEY + b"b")
@example(what=entry(), other=KEY[:-1])
def test_a_value_of_another_key_is_unreadable(what: CacheEntry, other: bytes) -> None:
    if other != KEY:
        assert read(other, pack_value(KEY, what)) == "unreadable"


@given(st.binary(max_size=400))
def test_noise_is_unreadable(noise: bytes) -> None:
    assert read(KEY, noise) in {"unreadable", None}
    if not noise.startswith(MAGIC):
        assert read(KEY, noise) == "unreadable"


@given(st.binary(max_size=200), st.sampled_from((VALUE, LEASE, TOMBSTONE, b"X", b"\0")), st.integers(0, 2**64 - 1))
def test_noise_behind_a_mark_is_never_a_value(noise: bytes, kind: bytes, version: int) -> None:
    assert not isinstance(read(KEY, pack_mark(kind, version) + noise), CacheEntry)


def test_leases_and_tombstones_are_no_values() -> None:
    assert len(pack_token("any token")) == TOKEN_BYTES
    assert read(KEY, pack_mark(LEASE, 5) + pack_token("any token")) is None
    assert read(KEY, pack_mark(LEASE, 5) + b"token") == "unreadable"
    assert read(KEY, pack_mark(TOMBSTONE, 5)) is None
    assert read(KEY, pack_mark(TOMBSTONE, 5) + b"x") == "unreadable"
    for mark in (pack_mark(LEASE, 5), pack_mark(TOMBSTONE, 5), pack_mark(VALUE, 5), b"", b"x" * LIFE_BYTES):
        assert version_in(mark, NOW) is None
    other = pack_value(KEY, entry())[3:LIFE_BYTES]
    assert version_in(MAGIC + other, NOW) == 1
    assert version_in(b"TC\x01" + other, NOW) is None


def test_another_format_is_unreadable() -> None:
    frame = pack_value(KEY, entry())
    for number in (0, 1, 3, 255):
        assert read(KEY, frame[:2] + bytes([number]) + frame[3:]) == "unreadable"


def forged(payload: bytes, size: int, *, flags: int = 8, lengths: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    """Return a frame with a right checksum, as whoever knows the layout can make it."""
    frame = pack_mark(VALUE, 1) + bytes(SLOT_BYTES)
    frame += struct.pack(">QQQqqIBBHHH32sI", 2**64 - 1, 2**64 - 1, 1, 0, 0, 0, flags, 0, *lengths, bytes(32), size)
    assert len(frame) == HEAD_BYTES - 8
    checksum = xxh3_64_intdigest(b"%d:" % len(KEY) + KEY + frame[:4] + frame[SLOT.stop :] + payload) ^ 1
    return frame + checksum.to_bytes(8) + payload


@pytest.mark.parametrize("lengths", [(0xFFFF, 0, 0, 0), (0, 0xFFFF, 0, 0), (0, 0, 0xFFFF, 0), (0, 0, 0, 0xFFFFFFFF)])
@pytest.mark.parametrize("flags", [0, 8])
def test_lengths_beyond_the_frame_are_unreadable(lengths: tuple[int, int, int, int], flags: int) -> None:
    assert read(KEY, forged(b"", lengths[3], flags=flags, lengths=lengths[:3])) == "unreadable"


@given(size=st.integers(0, 2**32 - 1), noise=st.binary(max_size=200))
def test_forged_lengths_are_unreadable(size: int, noise: bytes) -> None:
    assert read(KEY, forged(noise, size)) == "unreadable"


def words(size: int) -> bytes:
    dice = random.Random(size)
    known = [dice.randbytes(3).hex().encode() for _ in range(200)]
    return b" ".join(dice.choices(known, k=size // 6))[:size]


class TestCompression:
    """What shrinks is kept small; what is inflated is what was promised, or nothing."""

    @given(st.binary(max_size=3000) | st.integers(0, 300_000).map(lambda size: (TEXT * 80)[:size]))
    def test_there_and_back(self, payload: bytes) -> None:
        packed = shrink(payload)
        if packed is not None:
            assert len(packed) < len(payload)
            assert inflate(packed, len(payload)) == payload

    @pytest.mark.parametrize("size", [1024, 4096, 16_384, 100_000, 2**20])
    def test_text_shrinks_and_noise_is_left_alone(self, size: int) -> None:
        text = words(size)
        packed = shrink(text)
        assert packed is not None
        assert len(packed) < 0.8 * len(text)
        assert shrink(random.Random(size).randbytes(size)) is None

    def test_what_is_small_is_left_alone(self) -> None:
        assert shrink(TEXT[:1023]) is None
        assert shrink(TEXT[:1024]) is not None

    def test_large_noise_costs_no_more_than_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []

        class Compressor:
            def compress(self, data: bytes) -> bytes:
                seen.append(len(data))
                return data

        monkeypatch.setattr(redis_compression._mine, "compressor", Compressor())
        assert shrink(random.Random(1).randbytes(2**20)) is None
        assert seen == [4096]

    def test_what_shrinks_beyond_belief_is_left_alone(self) -> None:
        """Else a frame of ours could not be told from a bomb."""
        assert shrink(bytes(2**20)) is None

    @pytest.mark.parametrize("size", [2**20, 64 * 2**20, 2**32 - 1])
    def test_a_bomb_allocates_nothing(self, size: int) -> None:
        bombs = [
            zstandard.ZstdCompressor().compress(bytes(64 * 2**20)),  # tells its size
            zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * 2**20)),
            # A stream that says it is four gigabytes, and ends there.
            b"\x28\xb5\x2f\xfd\xa0" + (2**32 - 1).to_bytes(4, "little") + b"\x01\x00\x00",
        ]
        tracemalloc.start()
        try:
            for bomb in bombs:
                assert read(KEY, forged(bomb, size)) == "unreadable"
                assert read(KEY, forged(bomb + bytes(20_000), size)) == "unreadable"
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()

    @given(st.data())
    def test_other_streams_and_lengths_are_refused(self, data: st.DataObject) -> None:
        packed = shrink(TEXT)
        assert packed is not None
        size = data.draw(st.integers(0, 3 * len(TEXT)).filter(lambda size: size != len(TEXT)))
        cut = data.draw(st.integers(0, len(packed) - 1))
        longer = packed + data.draw(st.binary(min_size=1, max_size=30))
        for stream, promised in ((packed, size), (packed[:cut], len(TEXT)), (longer, len(TEXT))):
            with pytest.raises(InflationError):
                inflate(stream, promised)

    def test_large_work_is_done_beside_the_event_loop(self) -> None:
        large = entry(payload=words(300_000))
        assert packing_takes_long(large)
        assert unpacking_takes_long(pack_value(KEY, large))
        assert not packing_takes_long(entry(payload=TEXT))
        assert not unpacking_takes_long(pack_value(KEY, entry(payload=TEXT)))
        assert not unpacking_takes_long(pack_value(KEY, entry(payload=random.Random(1).randbytes(2**20))))
        assert not unpacking_takes_long(b"")
