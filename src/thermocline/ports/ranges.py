"""Listings of a part of an object store, so that several can list it together, and go on where one stopped."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

from thermocline.ports.object_store import ObjectInfo


@runtime_checkable
class ListsRanges(Protocol):
    """The ability of a store to list a range of keys, in the order of their UTF-8 bytes."""

    @abstractmethod
    def list_range(self, prefix: str, *, after: str, until: str | None) -> AsyncGenerator[Sequence[ObjectInfo]]:
        """Yield, in order and in pages, what `list_pages(prefix)` does of the keys with `after` < key <= `until`.

        None: to the end. Of a finished object the size is exactly that of its bytes. No page is empty, so its last key
        tells where to go on: all before it was told. What exists from before the first page to after the last is
        listed exactly once, also if another call goes on from such a key; so ranges that join list what the whole
        does. Raises rather than ending early. Keys with an empty, `.` or `..` segment, or with control characters, may
        be missing: no object key of ours is one. The iterator must be closed (`aclose`) if it is not read to its end.
        """
