"""Reads per content, kept: by day and kind, in total, and as decayed rates."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import AccessCount, AccessDay
from thermocline.domain.units import Timestamp


class Accesses(Protocol):
    """Access history. Losing a little of it is allowed; it never changes a version."""

    @abstractmethod
    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp) -> int:
        """Add reads that happened about `now`, in one transaction; of how many contents.

        Contents that are gone are left out. Repeating a call counts twice.
        """

    @abstractmethod
    async def days(self, content_id: ContentId, *, limit: int) -> Sequence[AccessDay]:
        """Return the latest days on which the content was read, newest first."""

    @abstractmethod
    async def trim(self, *, before_day: int, limit: int) -> int:
        """Forget days before `before_day`; how many rows, at most `limit`."""
