"""Rows of work that outlive the process: intents, the outbox, quarantine. `docs/protocols.md` is their law."""

from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp


class OutboxKind(StrEnum):
    """What an outbox row asks for."""

    DELETE_OBJECT = "delete_object"
    """`subject` is an object key that no record names any more."""
    INVALIDATE = "invalidate"
    """`subject` is a content id: evict, announce, purge; and all three a second time."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One claimed row of work; completing it requires `lease_token`."""

    row_id: int
    kind: OutboxKind
    subject: str
    placement: str | None
    """Where the object of a `DELETE_OBJECT` lies."""
    version: int | None
    """The version that an `INVALIDATE` announces."""
    hard: bool
    """Whether an `INVALIDATE` must purge the edge hard (delete, privatisation, expiry)."""
    second_pass: bool
    """Whether an `INVALIDATE` runs for the second time."""
    attempts: int
    """How often it was claimed, this time included."""
    lease_token: str


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How much work of one kind waits."""

    kind: OutboxKind
    waiting: int
    dead: int
    """Rows that failed too often; kept and shown until somebody looks."""
    oldest_at: Timestamp | None
    """When the oldest waiting row became due, or will."""


@dataclass(frozen=True, slots=True)
class CondemnedIntent:
    """An expired intent, condemned: its commit can no longer succeed, its object may be deleted."""

    object_key: str
    placement: str
    lease_token: str
    deleted_once: bool
    """Whether its object was deleted before: what a paused sender let through since then is deleted now."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An object that nothing names, waiting to be deleted after one more look."""

    object_key: str
    placement: str


@dataclass(frozen=True, slots=True)
class QuarantineTotals:
    """How many objects wait in quarantine."""

    objects: int
    oldest_at: Timestamp | None
    """When the first of them may be deleted."""


@dataclass(frozen=True, slots=True)
class TierTotals:
    """How much live content a tier has."""

    tier: StorageTier
    count: int
    size: Bytes
    """Of the contents; copies that are being made, and what is deleted but kept for a while, are not counted."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """What one process did for a periodic job since it last noted it."""

    name: str
    holder: str
    """Names the process."""
    ran_at: Timestamp
    """When its latest run began."""
    next_at: Timestamp | None
    """When that process means to run it again."""
    failed_at: Timestamp | None
    """When a run last failed, of those since it last noted."""
    last_error: str | None
    """What the latest run failed with; None if it did not."""
    done: int
    failures: int


@dataclass(frozen=True, slots=True)
class JobTotals:
    """What all processes together did for a periodic job."""

    holder: str
    """Names the process of the latest run."""
    ran_at: Timestamp
    next_at: Timestamp | None
    failed_at: Timestamp | None
    last_error: str | None
    """What the latest run failed with; None if it did not."""
    done: int
    failures: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a pass of work over the whole catalog or all stores has come."""

    position: str
    """Where to go on, in the words of whoever does the work."""
    begun_at: Timestamp
    ended_at: Timestamp | None = None
    """None: the pass is under way."""
    done: int = 0
    skipped: int = 0
    findings: int = 0


@dataclass(frozen=True, slots=True)
class Changed:
    """One committed change, as other processes of the same catalog hear of it."""

    sequence: int
    content_id: ContentId | None
    """None: something other than a content changed; without a pattern it was a token: re-read them."""
    version: int
    pattern: str | None = None
    """Keys of the cache, as a Redis glob, that were evicted."""


@dataclass(frozen=True, slots=True)
class ChangePage:
    """What a listener learns from one look at the change feed."""

    position: int
    """Where to go on."""
    changes: tuple[Changed, ...]
    """Commits, oldest first."""
    gap: bool
    """Whether changes were dropped before this listener saw them: it must forget all that it cached."""


@dataclass(frozen=True, slots=True)
class Grace:
    """How long what is no longer needed stays, so that readers, uploads and recovery are never surprised."""

    objects: Seconds
    """From the commit that replaced an object to its deletion: at least the longest stream or presigned URL."""
    tombstones: Seconds
    """From a delete to the end of its catalog tombstone: beyond the longest fill and edge lifetime."""
