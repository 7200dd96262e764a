"""What became of the moves that policies made: from when until when each held, and what was read meanwhile."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.moves import LedgerEntry
from thermocline.domain.units import Timestamp


@dataclass(frozen=True, slots=True)
class Realised:
    """One move of a policy, and what it was good for so far. What that is worth is not said here."""

    position: int
    """Of the entry in the ledger: later entries have greater ones."""
    entry: LedgerEntry
    until: Timestamp
    """When the content moved on or ended; if neither, now."""
    storage_reads_since: int | None
    """Storage reads from the move until then; None if the content ended, or the move is from before anybody counted."""


class Savings(Protocol):
    """The ledger's entries of policies, joined with what later happened to their contents."""

    @abstractmethod
    async def realised(self, *, now: Timestamp, limit: int, before: int | None = None) -> Sequence[Realised]:
        """Return the latest, newest first, at most `limit`; only those at positions before `before`, if it is given.

        Left out: contents that were erased, and those that ended so long ago that nobody knows any more when.
        """
