"""How far work over everything has come, so that restarts and elections go on where others stopped."""

from abc import abstractmethod
from typing import Protocol

from thermocline.domain.work import Cursor


class Cursors(Protocol):
    """Cursors by name. Whoever moves one is elected, or repeats work that is harmless to repeat."""

    @abstractmethod
    async def load(self, name: str) -> Cursor | None:
        """Return the cursor, or None if the work never began."""

    @abstractmethod
    async def save(self, name: str, cursor: Cursor) -> None:
        """Set the cursor."""
