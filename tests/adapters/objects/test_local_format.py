"""The trailer: attributes come back exactly, and damage is noticed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.objects import local_format
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_format import (
    FOOTER_BYTES,
    DamagedFileError,
    pack_trailer,
    read_attributes,
    read_footer,
    split_class,
    with_class,
)
from thermocline.domain.errors import UnsafePathError
from thermocline.testing import strategies


@given(st.integers(0, 2**63), st.dictionaries(st.text(max_size=10), st.text(max_size=30)) | strategies.attributes())
def test_attributes_come_back(payload_size: int, attributes: Mapping[str, str]) -> None:
    trailer = pack_trailer(payload_size, attributes)
    footer = read_footer(payload_size + len(trailer), trailer[-FOOTER_BYTES:])
    assert footer == (payload_size, len(trailer) - FOOTER_BYTES, False)
    assert read_attributes(trailer) == attributes


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=30)), st.sampled_from(["STANDARD", "GLACIER"]))
def test_the_storage_class_comes_back_beside_the_attributes(attributes: Mapping[str, str], storage_class: str) -> None:
    for archived in (False, True):
        trailer = pack_trailer(7, with_class(attributes, storage_class), archived=archived)
        footer = read_footer(7 + len(trailer), trailer[-FOOTER_BYTES:])
        assert footer == (7, len(trailer) - FOOTER_BYTES, archived)
        assert split_class(read_attributes(trailer)) == (attributes, storage_class)


FIRST_FORMAT = (
    b'{"content-id":"a","type":"image/png"}' + b"\x05\0\0\0\0\0\0\0%\0\0\0\x01\0\0\0" + b"\x0e%$Y" + b"\x89THERMO\n"
)
"""As the first release wrote it."""


def test_what_needs_no_restore_is_written_as_ever() -> None:
    assert pack_trailer(5, {"type": "image/png", "content-id": "a"}) == FIRST_FORMAT
    assert with_class({"a": "b"}, "STANDARD") == {"a": "b"}


def test_files_of_the_first_format_are_read_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(tmp_path, archive_classes={"GLACIER": {}})
        await store.put("k", b"other", {})
        (path,) = (tmp_path / ".free").rglob("k~")
        path.write_bytes(b"12345" + FIRST_FORMAT)
        assert await store.fetch("k", 0, 5) == b"12345"
        head = await store.head("k")
        assert head is not None
        assert (head.storage_class, head.attributes) == ("STANDARD", {"content-id": "a", "type": "image/png"})
        await store.aclose()

    asyncio.run(run())


def test_a_program_that_knows_no_restores_refuses_what_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    trailer = pack_trailer(5, {}, archived=True)
    assert read_footer(5 + len(trailer), trailer[-FOOTER_BYTES:]).archived
    # All that the first program knew was its version.
    monkeypatch.setattr(local_format, "ARCHIVED_VERSION", local_format.VERSION)
    with pytest.raises(DamagedFileError, match=r"format 2, newer than this program knows \(1\)"):
        read_footer(5 + len(trailer), trailer[-FOOTER_BYTES:])


def test_no_flipped_bit_makes_an_archived_object_readable() -> None:
    # The footer alone must tell: a read does not look at the checksum.
    trailer = pack_trailer(5, {}, archived=True)
    for bit in range(32):
        damaged = bytearray(trailer)
        damaged[-16 + bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFileError, match="format"):
            read_footer(5 + len(trailer), bytes(damaged[-FOOTER_BYTES:]))


def test_equal_attributes_give_equal_bytes() -> None:
    assert pack_trailer(5, {"a": "1", "b": "2"}) == pack_trailer(5, {"b": "2", "a": "1"})


def read_trailer(file_size: int, trailer: bytes) -> None:
    read_footer(file_size, trailer[-FOOTER_BYTES:])
    read_attributes(trailer)


@pytest.mark.parametrize("archived", [False, True])
def test_every_flipped_bit_is_noticed(*, archived: bool) -> None:
    trailer = pack_trailer(5, {"content-id": "a", "type": "image/png"}, archived=archived)
    for position in range(len(trailer) * 8):
        damaged = bytearray(trailer)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedFileError):
            read_trailer(5 + len(trailer), bytes(damaged))


def test_a_newer_format_is_refused_by_name() -> None:
    trailer = bytearray(pack_trailer(5, {}))
    trailer[-16:-12] = (9).to_bytes(4, "little")
    with pytest.raises(DamagedFileError, match="format 9, newer"):
        read_footer(5 + len(trailer), bytes(trailer[-FOOTER_BYTES:]))


def test_a_file_cut_anywhere_is_damaged_not_missing(tmp_path: Path) -> None:
    inner = b"payload" + pack_trailer(7, {"a": "b"})

    async def run() -> None:
        store = LocalObjectStore(tmp_path)
        # The payload looks like an object's file itself.
        await store.put("k", inner + b"!", {"a": "b"})
        (path,) = (tmp_path / ".free").rglob("k~")
        whole = path.read_bytes()
        for size in range(len(whole)):
            if size == len(inner):
                continue  # cut exactly to the object inside: only the digest of the content can tell
            path.write_bytes(whole[:size])
            with pytest.raises(EOFError):
                await store.fetch("k", 0, 1)
            with pytest.raises(EOFError):
                _ = [block async for block in store.stream("k", 0, 1)]
            with pytest.raises(UnsafePathError, match="damaged"):
                await store.head("k")
        path.write_bytes(whole + b"x")
        with pytest.raises(EOFError):
            await store.fetch("k", 0, 1)
        assert [info.key async for page in store.list_pages("") for info in page] == ["k"]
        assert not await store.delete(["k"])
        await store.aclose()

    asyncio.run(run())


def test_any_program_reads_the_payload_first(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(tmp_path)
        await store.put("k", b"\x89PNG payload", {"type": "image/png"})
        await store.aclose()

    asyncio.run(run())
    (path,) = (tmp_path / ".free").rglob("k~")
    assert path.read_bytes().startswith(b'\x89PNG payload{"type":"image/png"}')
    assert path.stat().st_mode & 0o777 == 0o600
