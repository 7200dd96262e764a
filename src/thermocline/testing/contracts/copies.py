"""Laws of `CopiesWithin`: copies that a store makes by itself."""
# ruff: noqa: D102 - the name of a test states its law

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from thermocline.domain.errors import ObjectMissingError
from thermocline.domain.units import Bytes
from thermocline.ports.copies import CopiesWithin
from thermocline.ports.object_store import STANDARD, ObjectInfo, ObjectStore
from thermocline.testing.contracts.object_store import HOSTILE_KEYS
from thermocline.testing.contracts.running import AsyncTests


class CopyingStore(ObjectStore, CopiesWithin, Protocol):
    """An object store that copies by itself."""


OpenCopyingStore = Callable[[], AbstractAsyncContextManager[CopyingStore]]


class CopiesWithinContract(AsyncTests):
    """Laws of `CopiesWithin`. Subclasses provide `open_copying`, anew for each test."""

    @pytest.fixture
    def open_copying(self) -> OpenCopyingStore:
        """Return what opens a fresh store that copies in one request at most `large_size` bytes."""
        raise NotImplementedError

    @pytest.fixture
    def large_size(self) -> int:
        """Return the size of an object that takes more than one request to copy, if there is such a thing."""
        return 3_000_000

    @pytest.mark.parametrize("told", [False, True], ids=["unknown", "told"])
    @pytest.mark.parametrize("body", [b"", b"12345"], ids=["empty", "small"])
    async def test_a_copy_has_the_bytes_of_its_source_and_attributes_of_its_own(
        self, open_copying: OpenCopyingStore, body: bytes, *, told: bool
    ) -> None:
        size = Bytes(len(body)) if told else None
        async with open_copying() as store:
            await store.put("source", body, {"a": "1", "b": "2"})
            described = {"a": "3", "type": "text/plain"}
            await store.copy("source", "target", described, size=size, storage_class="STANDARD_IA")
            for key, attributes, storage_class in (
                ("source", {"a": "1", "b": "2"}, STANDARD),
                ("target", {"a": "3", "type": "text/plain"}, "STANDARD_IA"),
            ):
                head = await store.head(key)
                assert head is not None
                assert (head.size, dict(head.attributes), head.storage_class) == (len(body), attributes, storage_class)
                assert await store.fetch(key, 0, len(body)) == body
            await store.delete(["source"])
            assert await store.fetch("target", 0, len(body)) == body

    async def test_a_large_object_is_copied_whole(self, open_copying: OpenCopyingStore, large_size: int) -> None:
        body = (bytes(range(251)) * (large_size // 251 + 1))[:large_size]
        async with open_copying() as store:
            upload = await store.begin_upload("source", {})
            for start in range(0, len(body), store.part_size):
                await upload.write(body[start : start + store.part_size])
            await upload.complete()
            size = Bytes(large_size)
            await store.copy("source", "target", {"a": "1"}, size=size, storage_class="STANDARD_IA")
            assert await store.fetch("target", 0, len(body)) == body
            head = await store.head("target")
            assert head is not None
            assert (head.attributes, head.storage_class) == ({"a": "1"}, "STANDARD_IA")
            assert sorted((info.key, info.finished) for info in await _listed(store)) == [
                ("source", True),
                ("target", True),
            ]

    async def test_a_copy_can_be_repeated(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            await store.put("source", b"12345", {})
            for _ in range(2):
                await store.copy("source", "target", {"a": "1"})
            assert await store.fetch("target", 0, 5) == b"12345"

    async def test_what_does_not_exist_is_not_copied(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            await store.begin_upload("unfinished", {})
            for source in ("none", "unfinished"):
                for size in (None, Bytes(5)):
                    with pytest.raises(ObjectMissingError):
                        await store.copy(source, "target", {}, size=size)
            assert await store.head("target") is None
            await store.delete(["unfinished"])

    async def test_whoever_may_not_go_on_leaves_nothing(self, open_copying: OpenCopyingStore, large_size: int) -> None:
        async with open_copying() as store:
            upload = await store.begin_upload("source", {})
            for start in range(0, large_size, store.part_size):
                await upload.write(bytes(min(store.part_size, large_size - start)))
            await upload.complete()
            for allowed in range(20):
                leave = _Leave(allowed)
                try:
                    await store.copy("source", "target", {}, check=leave.ask)
                except _NotAllowed:
                    assert [info.key for info in await _listed(store)] == ["source"]
                else:
                    assert allowed > 0
                    assert await store.fetch("target", 0, large_size) == bytes(large_size)
                    return
            pytest.fail("the copy asks for leave without end")

    async def test_awkward_keys_are_copied(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            for number, key in enumerate(HOSTILE_KEYS):
                body = b"%d" % number
                await store.put("source", body, {})
                await store.copy("source", key, {})
                await store.copy(key, "target", {})
                assert await store.fetch("target", 0, len(body)) == body
                assert await store.fetch(key, 0, len(body)) == body
                await store.delete(["source", key, "target"])
                assert await _listed(store) == []

    async def test_what_is_no_key_or_class_is_refused(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            await store.put("source", b"", {})
            for source, target in (("", "k"), ("source", ""), ("source", "x" * 1025), ("\ud800", "k")):
                with pytest.raises(ValueError, match="key"):
                    await store.copy(source, target, {})
            with pytest.raises(ValueError, match="storage class"):
                await store.copy("source", "k", {}, storage_class="two words")

    async def test_an_object_is_read_whole_or_its_beginning(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            await store.put("k", b"12345", {})
            await store.put("empty", b"", {})
            for most in (1, 4, 5, 6, 100_000):
                assert await store.read_up_to("k", Bytes(most)) == b"12345"[:most]
            with pytest.raises(EOFError):
                await store.read_up_to("empty", Bytes(1))
            with pytest.raises(ObjectMissingError):
                await store.read_up_to("none", Bytes(1))

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 70_000), (1, 69_999), (69_999, 70_000), (3000, 68_536)])
    async def test_a_part_comes_with_what_is_known_of_the_whole(
        self, open_copying: OpenCopyingStore, start: int, end: int
    ) -> None:
        body = (bytes(range(251)) * 279)[:70_000]
        async with open_copying() as store:
            await store.put("ä k", body, {"a": "1", "type": "text/plain"}, storage_class="STANDARD_IA")
            assert await store.head_and_fetch("ä k", start, end) == (await store.head("ä k"), body[start:end])

    async def test_a_part_that_is_not_there_is_not_made_up(self, open_copying: OpenCopyingStore) -> None:
        async with open_copying() as store:
            await store.put("k", b"12345", {})
            await store.put("empty", b"", {})
            for key, start, end in (("k", 4, 6), ("k", 5, 6), ("k", 70_000, 70_001), ("empty", 0, 1)):
                with pytest.raises(EOFError):
                    await store.head_and_fetch(key, start, end)
            with pytest.raises(ObjectMissingError):
                await store.head_and_fetch("none", 0, 1)


class _NotAllowed(Exception):  # noqa: N818 - no error of ours
    pass


class _Leave:
    """Given so many times."""

    def __init__(self, times: int) -> None:
        self._times = times

    def ask(self) -> None:
        if not self._times:
            raise _NotAllowed
        self._times -= 1


async def _listed(store: ObjectStore) -> list[ObjectInfo]:
    return [info async for page in store.list_pages("") for info in page]
