"""Recovery of a catalog that is older than its stores: a restored backup, or one made anew from the stores."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.content import Record
from thermocline.domain.recovery import Candidate, FoundObject
from thermocline.domain.units import Timestamp
from thermocline.ports.records import Committed


@dataclass(frozen=True, slots=True)
class Adoption:
    """A found object, read and verified, that shall become the live one of its content."""

    candidate: Candidate
    """The content must still stand as it did."""
    record: Record
    """What the record shall be; its revision and version are only what they must at least be."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A finished, verified copy of a record's bytes that shall take the place of its damaged or missing object."""

    record: Record
    """The content as it was seen; it must still be so."""
    object_key: str
    chunk_digests: bytes


class Recovery(Protocol):
    """What was found in the stores, and the commits that adopt it. A found object is named: no sweep takes it.

    Objects are noted only while the catalog recovers, when nothing is deleted: so none is adopted that a sweep is
    about to delete. Commits raise `CommitUnknownError` as every commit does.
    """

    @abstractmethod
    async def is_recovering(self) -> bool:
        """Whether the catalog is a restored backup (or was made from the stores) and nobody has confirmed it yet."""

    @abstractmethod
    async def confirm(self) -> bool:
        """End the recovery; whether it was under way. It never begins again on a catalog in use."""

    @abstractmethod
    async def note_found(self, found: Sequence[FoundObject]) -> None:
        """Keep the newest found object of each content, by rank, then token; a tie stays as it is. Idempotent.

        Raises `StorageError` unless the catalog recovers.
        """

    @abstractmethod
    async def candidates(self, *, start: str, limit: int) -> Sequence[Candidate]:
        """Return found objects with what the catalog knows, in content-id order, from `start` (included) on.

        Records come with their chunk digests.
        """

    @abstractmethod
    async def forget_found(self, found: Sequence[FoundObject]) -> None:
        """Drop found objects that will not be adopted. Without effect where a newer one was noted meanwhile."""

    @abstractmethod
    async def commit_adoption(self, adoption: Adoption, *, now: Timestamp, evict_at: Timestamp) -> Committed | None:
        """Switch the record to the found object, or return None if the content stands otherwise by now.

        In one transaction: lock the record, compare, drop the found object or do nothing, allocate revision and
        version (unless the record keeps its revision), queue `INVALIDATE` due at `evict_at`, announce. Nothing is
        deleted and no deletion is queued: what was live before is left to the sweep.
        """

    @abstractmethod
    async def commit_replacement(self, replacement: Replacement, *, now: Timestamp) -> Committed | None:
        """Switch the record to the copy, or return None: the copy is garbage.

        In one transaction: lock the record, compare it, end the copy's own live intent or do nothing, raise the
        version, announce. Revision, tier and all else stay. No deletion is queued.
        """
