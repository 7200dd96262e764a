"""How processes that share a catalog hear of one another's commits."""

from abc import abstractmethod
from typing import Protocol

from thermocline.domain.units import Timestamp
from thermocline.domain.work import ChangePage


class ChangeFeed(Protocol):
    """Commits of all processes, one's own included, in order. Cheap to poll when nothing happened."""

    @abstractmethod
    async def position(self) -> int:
        """Return the newest sequence number: where a new listener begins."""

    @abstractmethod
    async def since(self, position: int, *, limit: int) -> ChangePage:
        """Return what was committed after `position`, oldest first, at most `limit` of it."""

    @abstractmethod
    async def announce_eviction(self, pattern: str, token: int, *, now: Timestamp) -> None:
        """Tell all processes to evict the keys that match the Redis glob; those of an older release hear nothing.

        `token`, below 2^63, is told as the change's version: so that whoever announced knows it again.
        """

    @abstractmethod
    async def trim(self, *, before: Timestamp) -> None:
        """Drop what was committed before `before`."""
