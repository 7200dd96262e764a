"""`Intents` in SQL. An intent is live until it is condemned; `lease_until` then becomes the end of a claim."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import bindparam, case, delete, false, func, literal_column, null, or_, select, update
from sqlalchemy import true as sql_true
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.claims import micros, new_lease_token
from thermocline.adapters.catalog.dialects import is_listed, now_micros, texts_parameter
from thermocline.adapters.catalog.schema import intents
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import CondemnedIntent
from thermocline.ports.intents import Intents

_is_live = intents.c.condemned == false()
_lease_end = now_micros() + bindparam("lease")
_is_named = is_listed(intents.c.object_key, "object_keys")
_CLAIMED: Final = (intents.c.object_key, intents.c.placement, intents.c.lease_token, intents.c.deleted_once)


_free = (
    select(intents.c.object_key)
    .where(intents.c.lease_until <= now_micros())
    .order_by(intents.c.lease_until)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("free")
)

DECLARE = Statement(
    postgresql.insert(intents)
    .values(
        object_key=bindparam("object_key"),
        placement=bindparam("placement"),
        lease_until=_lease_end,
        lease_token=null(),
        condemned=false(),
        deleted_once=false(),
    )
    .on_conflict_do_nothing(index_elements=[intents.c.object_key])
)
RENEW = Statement(
    update(intents).where(_is_named, _is_live).values(lease_until=_lease_end).returning(intents.c.object_key)
)
WITHDRAW = Statement(
    update(intents)
    .where(intents.c.object_key == bindparam("object_key"), _is_live)
    .values(condemned=sql_true(), lease_token=bindparam("token"), lease_until=_lease_end)
    .returning(*_CLAIMED)
)
CONDEMN = Statement(
    update(intents)
    .where(intents.c.object_key.in_(select(_free.c.object_key)))
    .values(condemned=sql_true(), lease_token=bindparam("token"), lease_until=_lease_end)
    .returning(*_CLAIMED)
)
DROP = Statement(delete(intents).where(_is_named, intents.c.lease_token == bindparam("token")))
GIVE_BACK = Statement(
    update(intents)
    .where(_is_named, intents.c.lease_token == bindparam("token"))
    .values(
        lease_until=_lease_end,
        lease_token=null(),
        deleted_once=case(
            (or_(intents.c.deleted_once, bindparam("deleted_once") == literal_column("1")), sql_true()), else_=false()
        ),
    )
)
COUNT = Statement(select(func.count()).select_from(intents))


class SqlIntents(Intents):
    """Intents in the table `intents`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def declare(self, object_key: str, placement: str, *, lease: Seconds) -> None:
        """Durably name an object that is about to be uploaded."""
        parameters = {"object_key": object_key, "placement": placement, "lease": micros(lease)}
        if not await self._runner.write(lambda connection: connection.change(DECLARE, parameters)):
            raise UnavailableError(
                f"something else is at work on the object {object_key!r}: it is just adopted, or deleted; try again"
            )

    async def renew(self, object_keys: Sequence[str], *, lease: Seconds) -> Sequence[str]:
        """Extend live intents from now on; return those that are still live."""
        parameters = {"object_keys": texts_parameter(object_keys), "lease": micros(lease)}
        rows = await self._runner.write(lambda connection: connection.all(RENEW, parameters))
        return [row[0] for row in rows]

    async def withdraw(self, object_key: str, *, lease: Seconds) -> CondemnedIntent | None:
        """Condemn a live intent of one's own and claim it; None if it is gone or condemned."""
        parameters = {"object_key": object_key, "token": new_lease_token(), "lease": micros(lease)}
        row = await self._runner.write(lambda connection: connection.first(WITHDRAW, parameters))
        return None if row is None else _condemned(row)

    async def condemn_expired(self, *, lease: Seconds, limit: int) -> Sequence[CondemnedIntent]:
        """Claim expired or condemned intents, condemning them first: a commit that needs one then aborts."""
        parameters = {"token": new_lease_token(), "lease": micros(lease), "most": limit}
        rows = await self._runner.write(lambda connection: connection.all(CONDEMN, parameters))
        return [_condemned(row) for row in rows]

    async def settle(
        self, intents: Sequence[CondemnedIntent], *, again_in: Seconds | None, deleted_once: bool = False
    ) -> None:
        """Give back claimed intents, dropped or to be claimed again; nothing happens to those whose claim was lost."""
        by_token: defaultdict[str, list[str]] = defaultdict(list)
        for intent in intents:
            by_token[intent.lease_token].append(intent.object_key)
        if by_token:
            await self._runner.write(partial(_settle, by_token=by_token, again_in=again_in, deleted_once=deleted_once))

    async def count(self) -> int:
        """Return how many intents there are, live and condemned."""
        rows = await self._runner.read(lambda connection: connection.all(COUNT, {}))
        return int(rows[0][0])


def _settle(
    connection: Connection, by_token: dict[str, list[str]], again_in: Seconds | None, *, deleted_once: bool
) -> None:
    for token, keys in by_token.items():
        if again_in is None:
            connection.change(DROP, {"object_keys": texts_parameter(keys), "token": token})
        else:
            connection.change(
                GIVE_BACK,
                {
                    "object_keys": texts_parameter(keys),
                    "token": token,
                    "lease": micros(again_in),
                    "deleted_once": int(deleted_once),
                },
            )


def _condemned(row: Row) -> CondemnedIntent:
    return CondemnedIntent(row[0], row[1], row[2], bool(row[3]))
