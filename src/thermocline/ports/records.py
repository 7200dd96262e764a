"""The catalog's records: the pointer is the truth. Each commit is one transaction, all or nothing.

Every method of every catalog port raises `UnavailableError` if the catalog does not answer. A commit raises
`CommitUnknownError` if only its acknowledgement was lost: then it may have happened, and nothing may be deleted.
A cancelled commit may happen all the same.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thermocline.domain.adopted_objects import ObjectStamp
from thermocline.domain.content import ALWAYS, Changes, Condition, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp


@dataclass(frozen=True, slots=True)
class Write:
    """A finished, verified object that shall become the live one of its content."""

    content_id: ContentId
    placement: str
    object_key: str
    digest: bytes
    chunk_digests: bytes
    size: Bytes
    headers: StoredHeaders
    metadata: Mapping[str, Any]
    tier: StorageTier
    visibility: Visibility
    expires_at: Timestamp | None
    condition: Condition = ALWAYS
    adopted: ObjectStamp | None = None
    """Given if somebody else made the object: how it was when its bytes were read. It is noted (`AdoptedObjects`)."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did."""

    record: Record
    """As committed; of a delete, the record as it was, with the version of the deletion."""
    created: bool
    """Whether there was no live content just before."""


@dataclass(frozen=True, slots=True)
class ErasedObject:
    """An object of an erased content that must go at once."""

    object_key: str
    placement: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure removed from the catalog, and what is still to be deleted from the stores."""

    committed: Committed | None
    """The deletion; None if there was no content."""
    objects: tuple[ErasedObject, ...]
    """The live object, replaced ones in their grace, quarantined ones. Their deletion is queued, or will be.

    Adopted ones too: whether they are deleted is another matter.
    """
    moves: int
    restores: int
    access_days: int
    ledger_entries: int
    """Entries that no longer say whose they were."""
    found_objects: int


class Records(Protocol):
    """Records of contents. `now` is the injected clock's time; revisions use the database's (`protocols.md`)."""

    @abstractmethod
    async def find(self, content_id: ContentId) -> Record | None:
        """Return the committed record with its chunk digests, or None. An expired one is still returned."""

    @abstractmethod
    async def describe(self, content_id: ContentId, *, now: Timestamp) -> Record | None:
        """Return what `find` does, with access summary, restore and planned move."""

    @abstractmethod
    async def page(
        self, *, prefix: str, tier: StorageTier | None, after: str, limit: int, now: Timestamp
    ) -> Sequence[Record]:
        """Return up to `limit` live records in content-id order (by UTF-8 bytes), those after `after` only.

        Any page costs the same, the last of millions too. Chunk digests are not loaded.
        """

    @abstractmethod
    async def commit_write(
        self, write: Write, *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Committed:
        """Switch the record to the new object.

        In one transaction: lock the record, check condition and hold, allocate revision and version, delete the
        write's own live intent or abort, queue `DELETE_OBJECT` of the old object (as locked) due at `delete_at`
        and, unless there is nothing older anywhere, `INVALIDATE` due at `evict_at`; append to changes. An
        expired content counts as absent for the condition. An INVALIDATE is hard if the content turns private.
        Raises `PreconditionFailedError`, `ContentHeldError`, `IntentLostError`.
        """

    @abstractmethod
    async def commit_delete(
        self,
        content_id: ContentId,
        *,
        condition: Condition,
        now: Timestamp,
        delete_at: Timestamp,
        evict_at: Timestamp,
        only_expired: bool = False,
    ) -> Committed | None:
        """Leave a catalog tombstone; None if there was no content (or it is not expired, with `only_expired`).

        Allocates a revision and a version. Queues `DELETE_OBJECT` and a hard `INVALIDATE`. Drops a planned move.
        Raises `PreconditionFailedError`, `ContentHeldError`.
        """

    @abstractmethod
    async def commit_erase(
        self, content_id: ContentId, *, prefixes: Sequence[str], now: Timestamp, evict_at: Timestamp
    ) -> Erased:
        """Delete the content, and all that the catalog tells of it, in one transaction. Idempotent.

        `prefixes` are those of its object keys in every placement, up to the slash before the token: deletions queued
        under them and of adopted objects become due now, dead letters too, and so do quarantined objects. Of the
        content only a catalog tombstone stays (and, until they are done, work and announcements that name it). Raises
        `ContentHeldError`.
        """

    @abstractmethod
    async def commit_changes(
        self, content_id: ContentId, changes: Changes, *, condition: Condition, now: Timestamp, evict_at: Timestamp
    ) -> Committed | None:
        """Change the record, not the bytes: the version grows, the revision stays. None if there is no live content.

        Releasing a hold is allowed on held content; so is any change of metadata. Shortening or setting
        `expires_at` on held content raises `ContentHeldError`. Queues `INVALIDATE` (hard if it turns private).
        Raises `PreconditionFailedError`, `InvalidMetadataError` (the merged metadata is too large).
        """

    @abstractmethod
    async def expired(self, *, now: Timestamp, limit: int) -> Sequence[ContentId]:
        """Return contents without hold whose `expires_at` has come, oldest first."""

    @abstractmethod
    async def forget_tombstones(self, *, deleted_before: Timestamp, limit: int) -> int:
        """Drop old catalog tombstones, raising the revision floor in the same transaction; how many were dropped."""
