"""Intents: a row that names an object before it exists, so that a crash cannot orphan it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.units import Seconds
from thermocline.domain.work import CondemnedIntent


class Intents(Protocol):
    """Intents, leased on the database's clock. The write's commit deletes its own live intent (`Records`)."""

    @abstractmethod
    async def declare(self, object_key: str, placement: str, *, lease: Seconds) -> None:
        """Durably name an object that is about to be uploaded, or adopted.

        Raises `UnavailableError` if an intent names it already: keys of ours are never reused, those of others may be.
        """

    @abstractmethod
    async def renew(self, object_keys: Sequence[str], *, lease: Seconds) -> Sequence[str]:
        """Extend live intents from now on; return those that are still live."""

    @abstractmethod
    async def withdraw(self, object_key: str, *, lease: Seconds) -> CondemnedIntent | None:
        """Condemn a live intent of one's own and claim it, to clean up at once; None if it is gone or condemned."""

    @abstractmethod
    async def condemn_expired(self, *, lease: Seconds, limit: int) -> Sequence[CondemnedIntent]:
        """Claim expired or condemned intents, marking them condemned first: a commit that needs one then aborts."""

    @abstractmethod
    async def settle(
        self, intents: Sequence[CondemnedIntent], *, again_in: Seconds | None, deleted_once: bool = False
    ) -> None:
        """Give back claimed intents: drop the rows (`again_in` None), or make them claimable again in that time.

        `deleted_once` is remembered on rows that stay. Without effect on those whose claim was lost.
        """

    @abstractmethod
    async def count(self) -> int:
        """Return how many intents there are, live and condemned."""
