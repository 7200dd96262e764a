"""The trailer: attributes come back exactly, and damage is noticed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_format import (
    FOOTER_BYTES,
    DamagedFileError,
    pack_trailer,
    read_attributes,
    read_footer,
)
from thermocline.domain.errors import UnsafePathError
from thermocline.testing import strategies


@given(st.integers(0, 2**63), st.dictionaries(st.text(max_size=10), st.text(max_size=30)) | strategies.attributes())
def test_attributes_come_back(payload_size: int, attributes: Mapping[str, str]) -> None:
    trailer = pack_trailer(payload_size, attributes)
    footer = read_footer(payload_size + len(trailer), trailer[-FOOTER_BYTES:])
    assert footer == (payload_size, len(trailer) - FOOTER_BYTES, False)
    assert read_attributes(trailer) == attributes


def test_equal_attributes_give_equal_bytes() -> None:
    assert pack_trailer(5, {"a": "1", "b": "2"}) == pack_trailer(5, {"b": "2", "a": "1"})


def read_trailer(file_size: int, trailer: bytes) -> None:
    read_footer(file_size, trailer[-FOOTER_BYTES:])
    read_attributes(trailer)


def test_every_flipped_bit_is_noticed() -> None:
    trailer = pack_trailer(5, {"content-id": "a", "type": "image/png"})
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
