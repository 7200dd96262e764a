"""Reads per content, kept: by day and kind, in total, and as decayed rates."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import AccessCount, AccessDay
from thermocline.domain.units import Seconds, Timestamp


@runtime_checkable
class DropsDays(Protocol):
    """An ability of some: old days go whole, at once."""

    @abstractmethod
    async def drop_days(self, *, before_day: int) -> int:
        """Forget all days before `before_day`, however many rows they have; how many days."""


class Accesses(Protocol):
    """Access history. Losing a little of it is allowed; it never changes a version."""

    @abstractmethod
    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp, max_wait: Seconds | None = None) -> int:
        """Add reads that happened about `now`, in one transaction; of how many contents.

        No content twice. Contents that are gone are left out. Repeating a call counts twice. The last read of a
        content never becomes an earlier one. With `max_wait`, raises `UnavailableError` and has changed nothing if
        other processes keep the catalog busy for longer.
        """

    @abstractmethod
    async def days(self, content_id: ContentId, *, first: int, last: int) -> Sequence[AccessDay]:
        """Return the content's reads on each day from `first` to `last`, newest first; days without are left out."""

    @abstractmethod
    async def trim(self, *, before_day: int, limit: int) -> int:
        """Forget days before `before_day`; how many rows, at most `limit`."""
