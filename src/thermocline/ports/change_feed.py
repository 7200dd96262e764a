"""How processes that share a catalog hear of one another's commits."""

from abc import abstractmethod
from typing import Protocol

from thermocline.domain.units import Timestamp
from thermocline.domain.work import ChangePage


class ChangeFeed(Protocol):
    """Commits by *other* processes, in order. Cheap to poll when nothing happened."""

    @abstractmethod
    async def position(self) -> int:
        """Return the newest sequence number: where a new listener begins."""

    @abstractmethod
    async def since(self, position: int, *, limit: int) -> ChangePage:
        """Return what others committed after `position`, oldest first, at most `limit` of them."""

    @abstractmethod
    async def trim(self, *, before: Timestamp) -> None:
        """Drop what was committed before `before`."""
