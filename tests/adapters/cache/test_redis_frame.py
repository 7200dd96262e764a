"""What is read back is what was packed, to the byte; anything else is unreadable, never something else."""

import struct
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thermocline.adapters.cache.redis_frame import (
    LEASE,
    MAGIC,
    MARK,
    TOMBSTONE,
    VALUE,
    UnreadableFrameError,
    pack_mark,
    pack_value,
    unpack_value,
    version_in,
)
from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.cache import CacheEntry
from thermocline.testing.contracts.cache import entry

KEY = b"tc:0:content:a"
moments = st.integers(-(2**63), 2**63 - 1).map(Timestamp)
field_values = st.from_regex(r"[\x21-\x7e]([\t\x20-\x7e]{0,40}[\x21-\x7e])?", fullmatch=True)
entries = st.builds(
    CacheEntry,
    payload=st.binary(max_size=300),
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
    assert version_in(frame[: MARK.size]) == what.version


def test_a_cost_beyond_an_hour_is_an_hour() -> None:
    frame = pack_value(KEY, replace(entry(), fetch_cost=Seconds(1e9)))
    read_back = unpack_value(KEY, frame)
    assert read_back is not None
    assert 4000 < read_back.fetch_cost < 5000


@given(what=entries, data=st.data())
def test_whatever_was_changed_is_unreadable(what: CacheEntry, data: st.DataObject) -> None:
    frame = bytearray(pack_value(KEY, what))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    found = read(KEY, bytes(frame))
    # A value turned into a lease is a miss, too; nothing else may come of it.
    assert found == "unreadable" or (found is None and place == len(MAGIC))


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
    assert read(KEY, pack_mark(LEASE, 5) + b"token") is None
    assert read(KEY, pack_mark(TOMBSTONE, 5)) is None
    assert read(KEY, pack_mark(TOMBSTONE, 5) + b"x") == "unreadable"
    for mark in (pack_mark(LEASE, 5), pack_mark(TOMBSTONE, 5), pack_mark(VALUE, 5)[:-1], b"", b"x" * MARK.size):
        assert version_in(mark) is None


def test_another_format_is_unreadable() -> None:
    frame = pack_value(KEY, entry())
    for number in (0, 2, 255):
        assert read(KEY, frame[:2] + bytes([number]) + frame[3:]) == "unreadable"


@pytest.mark.parametrize("lengths", [(0xFFFF, 0, 0, 0), (0, 0xFFFF, 0, 0), (0, 0, 0, 0xFFFFFFFF)])
def test_lengths_beyond_the_frame_are_unreadable(lengths: tuple[int, int, int, int]) -> None:
    facts = struct.pack(">QqqqIBBHHH32sIQ", 1, 0, 0, 0, 0, 0, 0, *lengths[:3], bytes(32), lengths[3], 0)
    assert read(KEY, pack_mark(VALUE, 1) + facts) == "unreadable"
