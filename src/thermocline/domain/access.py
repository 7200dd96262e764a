"""Who may do what: tokens, scopes, principals."""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.units import Timestamp

TOKEN_SECRET_BYTES = 24
_TOKEN = re.compile(r"tc_([0-9a-f]{12})_([0-9a-f]{48})")


class Scope(StrEnum):
    """A right that a token grants."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    """Settings, sweeps, statistics of everything; implies nothing else."""


@dataclass(frozen=True, slots=True)
class Token:
    """One access token as stored: never its secret, only the secret's SHA-256."""

    token_id: str
    secret_hash: bytes
    scopes: frozenset[Scope]
    prefix: str
    """Only content ids that start with this; empty means all."""
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None

    def is_valid(self, now: Timestamp) -> bool:
        """Whether the token is neither revoked nor expired at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: Scope, content_id: str) -> bool:
        """Whether the token grants `scope` on `content_id`."""
        return scope in self.scopes and content_id.startswith(self.prefix)


def format_token(token_id: str, secret: bytes) -> str:
    """Return the text that the token's owner keeps."""
    return f"tc_{token_id}_{secret.hex()}"


def split_token(text: str) -> tuple[str, bytes] | None:
    """Return `(token_id, secret)` of a token's text, or None if it is not one of ours."""
    match = _TOKEN.fullmatch(text)
    return (match[1], bytes.fromhex(match[2])) if match else None


def hash_secret(secret: bytes) -> bytes:
    """Return what is stored of a secret. Plain SHA-256 is right here: the secret has 192 random bits."""
    return hashlib.sha256(secret).digest()
