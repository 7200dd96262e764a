"""The outbox: work that a commit promised, done at least once after it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import OutboxKind, OutboxRow, OutboxState


class Outbox(Protocol):
    """Rows of work with claims: a claim leases a row on the database's clock, completing needs the lease's token."""

    @abstractmethod
    async def claim(self, kind: OutboxKind, *, now: Timestamp, lease: Seconds, limit: int) -> Sequence[OutboxRow]:
        """Lease up to `limit` rows that are due at `now`, oldest first. No two claims share a row."""

    @abstractmethod
    async def complete(self, rows: Sequence[OutboxRow]) -> None:
        """Remove rows that are done. Rows whose lease was lost meanwhile are left alone."""

    @abstractmethod
    async def repeat(self, rows: Sequence[OutboxRow], *, due_at: Timestamp) -> None:
        """Make rows due again as their second pass, with attempts counted anew."""

    @abstractmethod
    async def fail(self, rows: Sequence[OutboxRow], *, reason: str, due_at: Timestamp | None) -> None:
        """Give rows back to be tried at `due_at`, or keep them as dead letters (None)."""

    @abstractmethod
    async def revive(self, *, now: Timestamp) -> int:
        """Make every dead letter due at `now`, with attempts counted anew; how many."""

    @abstractmethod
    async def unnamed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Return those keys that no record and no intent names, asked in one statement: what a deletion re-checks."""

    @abstractmethod
    async def state(self) -> Sequence[OutboxState]:
        """Return how much waits, per kind."""
