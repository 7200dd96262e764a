"""Moves: tiers changed in place at once, copies planned, claimed and committed; and the ledger of both."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import ClaimedMove, LedgerEntry, PlannedMove, TierChange, TierChanged
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.records import Committed


@dataclass(frozen=True, slots=True)
class CopiedMove:
    """A finished, verified copy that shall become the live object of its content."""

    claim: ClaimedMove
    source: Record
    """The content as it was when the copy began."""
    placement: str
    object_key: str


@dataclass(frozen=True, slots=True)
class MovesState:
    """How much moving waits."""

    waiting: int
    """Plans that will be made, or tried."""
    failing: int
    """Plans whose last attempt failed, and that are tried again."""
    given_up: int
    """Plans that failed too often; kept and shown until somebody asks for them again."""
    oldest_at: Timestamp | None
    """When the oldest of those waiting was planned."""


class Moves(Protocol):
    """Planned moves, one per content at most, with claims on the database's clock. Held content never moves."""

    @abstractmethod
    async def change_tiers(
        self, changes: Sequence[TierChange], *, now: Timestamp, evict_at: Timestamp
    ) -> Sequence[TierChanged]:
        """Make metadata-only moves, each by compare-and-set, all in one transaction; return those that were made.

        Not made: where the content is not (any more) as described, is on hold, has expired or has that tier already;
        and where a policy wants it, but the content is pinned or somebody asked for another move that is planned. Of
        each that is made: the version grows, a plan is dropped, a ledger entry is written, `INVALIDATE` is queued
        when it leaves HOT, the change is announced. Of several for one content the last counts. In order of ids.
        """

    @abstractmethod
    async def plan(self, moves: Sequence[PlannedMove], *, now: Timestamp) -> Sequence[ContentId]:
        """Plan copying moves, in one transaction; return the contents for which there is now such a plan.

        A plan for another tier replaces an older one: whoever works on that one can no longer commit. A policy's
        never replaces one that somebody asked for; asking for what a policy has planned makes it asked for, and
        leaves a claim alone. Asking for what was given up begins anew; a policy's wish does not. Not planned: what
        does not exist, has expired, is on hold, or is pinned and a policy wants it. Of several for one content the
        last counts. A write drops it (new bytes come with a tier of their own), and so does a delete.
        """

    @abstractmethod
    async def cancel(self, content_id: ContentId, *, lease_token: str | None = None) -> bool:
        """Drop the plan, with `lease_token` only if its claim still holds; whether there was one."""

    @abstractmethod
    async def claim(
        self, *, now: Timestamp, lease: Seconds, limit: int, content_id: ContentId | None = None
    ) -> Sequence[ClaimedMove]:
        """Lease plans that are due, oldest first; of `content_id` only, due or not, if it is given."""

    @abstractmethod
    async def renew(self, claim: ClaimedMove, *, lease: Seconds) -> None:
        """Extend a claim from now on. Without effect if it was lost."""

    @abstractmethod
    async def commit_move(
        self, move: CopiedMove, *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Committed | None:
        """Switch the record to the copy, or return None: the copy is garbage.

        In one transaction: lock the record; compare revision, object key, tier, hold and expiry, and for a policy
        the pin; end the copy's own live intent and the claimed plan, or do nothing; raise the version; queue
        `DELETE_OBJECT` of the old object due at `delete_at` and, when it leaves HOT, `INVALIDATE` due at
        `evict_at`; write a ledger entry; announce. After None the copy's intent still names it, if it did before.
        A claim holds, also beyond its lease, until another claims the plan. Raises `CommitUnknownError` as every
        commit does: then the intent tells, once it is gone the move was committed.
        """

    @abstractmethod
    async def postpone(self, claim: ClaimedMove, *, due_at: Timestamp | None, reason: str | None) -> None:
        """Give a claimed plan back, to be tried at `due_at`, or give it up (None); `reason` is what failed.

        No reason if it only waits: then its attempts are counted anew. Without effect if the claim was lost.
        """

    @abstractmethod
    async def ledger(self, *, content_id: ContentId | None, limit: int) -> Sequence[LedgerEntry]:
        """Return the latest entries, newest first."""

    @abstractmethod
    async def state(self) -> MovesState:
        """Return how much waits."""
