"""Copies that an object store makes by itself, without the bytes passing through us."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

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
        storage_class: str = STANDARD,
        check: Callable[[], None] = nothing,
    ) -> ObjectHead:
        """Copy the bytes of `source` to the fresh key `target`, with attributes of its own; return what the source is.

        All or nothing.
        No byte of content passes through this process. The source stays as it is. Repeating a copy succeeds.
        `check` is called before each request that writes; what it raises ends the copy, and leaves nothing.
        Raises `ObjectMissingError` and `ObjectArchivedError` of the source.
        """
