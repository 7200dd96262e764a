"""`Tokens` in SQL."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import bindparam, func, insert, select, update

from thermocline.adapters.catalog.announcing import announce
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import tokens
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Parameters, Row, Runner
from thermocline.domain.access import Scope, Token
from thermocline.domain.units import Timestamp
from thermocline.ports.tokens import Tokens

_NO_VERSION = 0

ADD = Statement(insert(tokens).values({column.name: bindparam(column.name) for column in tokens.c}))
FIND = Statement(select(*tokens.c).where(tokens.c.token_id == bindparam("token_id")))
ALL = Statement(select(*tokens.c).order_by(tokens.c.created_at, tokens.c.token_id))
ANY = Statement(select(tokens.c.token_id).limit(bindparam("most")))
REVOKE = Statement(
    update(tokens)
    .where(tokens.c.token_id == bindparam("token"))
    .values(revoked_at=func.coalesce(tokens.c.revoked_at, bindparam("now")))
)


class SqlTokens(Tokens):
    """Tokens in the table `tokens`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def add(self, token: Token) -> None:
        """Store a token and announce that there is one."""
        await self._runner.write(partial(_add, row=_row_of(token), now=token.created_at))

    async def find(self, token_id: str) -> Token | None:
        """Return a token, also a revoked or expired one."""
        row = await self._runner.read(lambda connection: connection.first(FIND, {"token_id": token_id}))
        return None if row is None else _token_of(row)

    async def all(self) -> Sequence[Token]:
        """Return every token, oldest first."""
        rows = await self._runner.read(lambda connection: connection.all(ALL, {}))
        return [_token_of(row) for row in rows]

    async def any(self) -> bool:
        """Whether a token was ever created: they are never removed."""
        return await self._runner.read(lambda connection: connection.first(ANY, {"most": 1})) is not None

    async def revoke(self, token_id: str, *, now: Timestamp) -> bool:
        """Revoke a token and announce it; False if there is none. The first revocation stands."""
        return await self._runner.write(partial(_revoke, token_id=token_id, now=now))


def _add(connection: Connection, row: Parameters, now: Timestamp) -> None:
    connection.change(ADD, row)
    announce(connection, None, _NO_VERSION, now=now)


def _revoke(connection: Connection, token_id: str, now: Timestamp) -> bool:
    if not connection.change(REVOKE, {"token": token_id, "now": now}):
        return False
    announce(connection, None, _NO_VERSION, now=now)
    return True


def _row_of(token: Token) -> Parameters:
    return {
        "token_id": token.token_id,
        "secret_hash": token.secret_hash,
        "scopes": " ".join(sorted(token.scopes)),
        "prefix": token.prefix,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _token_of(row: Row) -> Token:
    return Token(
        token_id=row[0],
        secret_hash=row[1],
        scopes=frozenset(Scope(scope) for scope in row[2].split()),
        prefix=row[3],
        created_at=Timestamp(row[4]),
        expires_at=as_timestamp(row[5]),
        revoked_at=as_timestamp(row[6]),
    )
