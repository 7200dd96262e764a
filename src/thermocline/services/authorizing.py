"""Access tokens: making, finding and remembering them.

As long as no token was ever created everything is open (the service then listens on loopback only). From the
first token on, also when all are revoked or expired, only public content can be read without one.
"""

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from thermocline.domain.access import TOKEN_SECRET_BYTES, Scope, Token, format_token, hash_secret, split_token
from thermocline.domain.content_id import parse_prefix
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.ports.clock import Clock
from thermocline.ports.tokens import Tokens

REMEMBERED_SECONDS = Seconds(60.0)
"""How long a token is trusted while the catalog cannot be asked; a revocation is heard of much earlier."""
MAX_REMEMBERED = 10_000
TOKEN_ID_BYTES = 6


@dataclass(frozen=True, slots=True)
class Caller:
    """What somebody may do."""

    scopes: frozenset[Scope]
    prefix: str = ""
    valid_until: Timestamp | None = None
    token_id: str | None = None
    """None for an anonymous caller."""

    def may(self, scope: Scope, content_id: str = "") -> bool:
        """Whether the caller has `scope` on `content_id` (or, if empty, on everything)."""
        return scope in self.scopes and content_id.startswith(self.prefix)


ANYBODY = Caller(frozenset())
"""A caller without a (valid) token, where tokens are needed."""
OWNER = Caller(frozenset(Scope))
"""Every caller, as long as no token was ever created."""


class AuthorizingService:
    """Tells what a caller may do. `known` answers from memory at once; `identify` asks the catalog."""

    def __init__(self, tokens: Tokens, clock: Clock, *, entropy: Callable[[int], bytes]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._entropy = entropy
        self._is_open: bool | None = None
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._refreshed = 0

    async def create(self, *, scopes: Iterable[Scope], prefix: str = "", expires_in: Seconds | None = None) -> str:
        """Create a token and return its text, which is stored nowhere. Raises `InvalidInputError`."""
        granted = frozenset(scopes)
        if not granted:
            raise InvalidInputError("a token needs at least one scope: read, write, admin")
        if expires_in is not None and expires_in <= 0:
            raise InvalidInputError("a token must expire in the future")
        now = self._clock.now()
        secret = self._entropy(TOKEN_SECRET_BYTES)
        token = Token(
            token_id=self._entropy(TOKEN_ID_BYTES).hex(),
            secret_hash=hash_secret(secret),
            scopes=granted,
            prefix=parse_prefix(prefix),
            created_at=now,
            expires_at=None if expires_in is None else later(now, expires_in),
            revoked_at=None,
        )
        await self._tokens.add(token)
        await self.refresh()
        return format_token(token.token_id, secret)

    async def all(self) -> Sequence[Token]:
        """Return every token, without its secret."""
        return await self._tokens.all()

    async def revoke(self, token_id: str) -> bool:
        """Revoke a token; False if there is none. Idempotent."""
        revoked = await self._tokens.revoke(token_id, now=self._clock.now())
        await self.refresh()
        return revoked

    async def refresh(self) -> None:
        """Forget what is remembered: tokens have changed."""
        self._refreshed += 1
        self._remembered.clear()
        if self._is_open is False:
            return  # for good: a token was created once
        if await self._tokens.any():
            self._is_open = False
        elif self._is_open is None:  # another refresh may have found a token meanwhile
            self._is_open = True

    async def is_open(self) -> bool:
        """Whether no token was ever created."""
        if self._is_open is None:
            await self.refresh()
        return bool(self._is_open)

    def known(self, token_text: str | None) -> Caller | None:
        """Return the caller with this token if memory knows for sure; None: ask `identify`. Synchronous."""
        if self._is_open:
            return OWNER
        if self._is_open is None:
            return None
        if token_text is None:
            return ANYBODY
        remembered = self._remembered.get(token_text)
        if remembered is None:
            return None
        caller, until = remembered
        if self._clock.monotonic() >= until:
            return None
        if caller.valid_until is not None and self._clock.now() >= caller.valid_until:
            return ANYBODY
        return caller

    async def identify(self, token_text: str | None) -> Caller:
        """Return the caller with this token; `ANYBODY` if it is not a valid one. Raises `UnavailableError`."""
        if await self.is_open():
            return OWNER
        if token_text is None:
            return ANYBODY
        caller = self.known(token_text)
        if caller is not None:
            return caller
        refreshed = self._refreshed
        caller = await self._look_up(token_text)
        # Unknown texts are not remembered: nobody may fill memory with guesses. Nor is what was read before a change
        # of tokens that was heard meanwhile.
        if caller is not ANYBODY and refreshed == self._refreshed:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[token_text] = (caller, self._clock.monotonic() + REMEMBERED_SECONDS)
        return caller

    async def _look_up(self, token_text: str) -> Caller:
        parts = split_token(token_text)
        token = await self._tokens.find(parts[0]) if parts else None
        if parts is None or token is None:
            return ANYBODY
        if not hmac.compare_digest(hash_secret(parts[1]), token.secret_hash) or not token.is_valid(self._clock.now()):
            return ANYBODY
        return Caller(token.scopes, token.prefix, token.expires_at, token.token_id)
