"""Access tokens."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from thermocline.domain.access import Token
from thermocline.domain.units import Timestamp


class Tokens(Protocol):
    """Access tokens, never their secrets. Every change is announced to other processes (`ChangeFeed`)."""

    @abstractmethod
    async def add(self, token: Token) -> None:
        """Store a token."""

    @abstractmethod
    async def find(self, token_id: str) -> Token | None:
        """Return a token, also a revoked or expired one."""

    @abstractmethod
    async def all(self) -> Sequence[Token]:
        """Return every token, revoked and expired ones too, oldest first."""

    @abstractmethod
    async def any(self) -> bool:
        """Whether a token was ever created: then nothing is open any more."""

    @abstractmethod
    async def revoke(self, token_id: str, *, now: Timestamp) -> bool:
        """Revoke a token; False if there is none. Idempotent."""
