"""Which objects contents have adopted where they lie, so that they may be deleted with their last content."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.adopted_objects import BarredObjects
from thermocline.domain.units import Seconds


class AdoptedObjects(Protocol):
    """Notes of adoptions: made by the commit that adopts (`Write.adopted`), gone soon after its content has ended.

    An object key that has no note is of somebody's object that we know nothing of.
    """

    @abstractmethod
    async def bar(self, object_keys: Sequence[str], placement: str, *, lease: Seconds) -> BarredObjects:
        """Bar those objects from being adopted that were, and that no record names. One transaction.

        The bar is a condemned intent: no adoption that began before or begins from now on can be committed. It stands
        until `forget`, or else until the lease has passed and the intent cleaner has waited for the longest request.
        """

    @abstractmethod
    async def forget(self, object_keys: Sequence[str], *, token: str | None = None) -> None:
        """Drop the notes of the objects' contents that do not name them any more, and the bar of this token."""

    @abstractmethod
    async def note_unnoted(self, *, after: str, limit: int) -> str | None:
        """Note the adopted objects of up to `limit` contents behind `after` that an older version had committed.

        Returns the last of these contents; None if there are no more. An object whose content does not tell its
        source's time is noted without.
        """
