"""What an orphan sweep asks the catalog, and the quarantine it keeps there."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Timestamp
from thermocline.domain.work import Quarantined


class Sweeps(Protocol):
    """Quarantine of objects that nothing names. An object is deleted only after a second look."""

    @abstractmethod
    async def quarantine_unnamed(self, object_keys: Sequence[str], *, placement: str, delete_at: Timestamp) -> int:
        """Quarantine those keys that no record, intent, outbox row or quarantine names, in one statement; how many.

        The keys must come from a listing made before this call.
        """

    @abstractmethod
    async def unnamed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Return those of the keys that `quarantine_unnamed` would take."""

    @abstractmethod
    async def content_id_after(self, after: str, *, skip: int) -> ContentId | None:
        """Return the id that comes after `after` and `skip` more in the order of their bytes; None behind the last.

        Deleted ids that are still remembered count, too.
        """

    @abstractmethod
    async def due(self, *, now: Timestamp, limit: int) -> Sequence[Quarantined]:
        """Return quarantined objects whose time has come."""

    @abstractmethod
    async def release(self, object_keys: Sequence[str]) -> None:
        """Drop quarantine rows: the object is deleted, or something names it after all."""
