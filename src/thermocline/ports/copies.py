"""Copies that an object store makes by itself, without the bytes passing through us."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from thermocline.domain.units import Bytes
from thermocline.ports.object_store import STANDARD, ObjectHead


def nothing() -> None:
    """Do nothing: nobody's leave is needed."""


@runtime_checkable
class CopiesWithin(Protocol):
    """The ability of a store to copy its own objects, also into another storage class."""

    @abstractmethod
    async def copy(
        self,
        source: str,
        target: str,
        attributes: Mapping[str, str],
        *,
        size: Bytes | None = None,
        storage_class: str = STANDARD,
        check: Callable[[], None] = nothing,
    ) -> None:
        """Copy the bytes of `source` to the fresh key `target`, with attributes of its own: all or nothing.

        `size` is what the source should have, where the caller knows it: a small one is copied without a look at it.
        No byte of content passes through this process. The source stays as it is. Repeating a copy succeeds.
        `check` is called before each request that writes; what it raises ends the copy, and leaves nothing.
        Raises `ObjectMissingError` and `ObjectArchivedError` of the source.
        """

    @abstractmethod
    async def read_up_to(self, key: str, most: Bytes) -> bytes:
        """Return the object's bytes, its first `most` if it has more, in one request; `most` is at least 1.

        Raises as `fetch` does, and `EOFError` for an empty object.
        """

    @abstractmethod
    async def head_and_fetch(self, key: str, start: int, end: int) -> tuple[ObjectHead, bytes]:
        """Return what `head` tells and exactly the bytes `[start, end)`, in one request; `start` is below `end`.

        Raises as `fetch` does.
        """
