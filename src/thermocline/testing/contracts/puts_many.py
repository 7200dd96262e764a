"""Laws of `PutsMany`: many objects at once are stored as each would be alone."""
# ruff: noqa: D102 - the name of a test states its law

import pytest

from thermocline.domain.errors import UnsafePathError
from thermocline.ports.object_store import NewObject, PutsMany
from thermocline.testing.contracts.object_store import OpenStore
from thermocline.testing.contracts.running import AsyncTests


class PutsManyContract(AsyncTests):
    """Laws of `PutsMany`, beside those of `ObjectStore`. Subclasses provide `open_store`, as for that contract."""

    @pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
    async def test_all_are_there_in_the_moment_of_the_answer(self, open_store: OpenStore, count: int) -> None:
        objects = [NewObject(f"k{number}", bytes([number]) * number, {"n": str(number)}) for number in range(count)]
        async with open_store() as other, open_store() as store:
            assert isinstance(store, PutsMany)
            assert list(await store.put_all(objects, storage_class="STANDARD_IA")) == [None] * count
            for each in objects:
                head = await other.head(each.key)
                assert head is not None
                found = (head.size, head.attributes, head.storage_class)
                assert found == (len(each.data), each.attributes, "STANDARD_IA")
                assert await other.fetch(each.key, 0, len(each.data)) == each.data

    async def test_what_fails_fails_alone(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            assert isinstance(store, PutsMany)
            await store.put("taken", b"other", {})
            await store.put("same", b"new", {})
            keys = ["first", "taken", "same", "last"]
            answers = await store.put_all([NewObject(key, b"new", {}) for key in keys])
            assert [type(answer) for answer in answers] == [type(None), UnsafePathError, type(None), type(None)]
            assert await store.fetch("taken", 0, 5) == b"other"
            for key in ("first", "same", "last"):
                assert await store.fetch(key, 0, 3) == b"new"
