"""`Sweeps` in SQL."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert, select

from thermocline.adapters.catalog.dialects import is_listed, texts_parameter
from thermocline.adapters.catalog.naming import keys_parameter, unnamed_keys
from thermocline.adapters.catalog.schema import contents, quarantine
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Timestamp
from thermocline.domain.work import Quarantined
from thermocline.ports.sweeps import Sweeps

UNNAMED = Statement(unnamed_keys(work_too=True))
QUARANTINE = Statement(
    insert(quarantine).from_select(
        ["object_key", "placement", "delete_at"],
        unnamed_keys(bindparam("placement"), bindparam("delete_at"), work_too=True),
    )
)
CONTENT_AFTER = Statement(
    select(contents.c.content_id)
    .where(contents.c.content_id > bindparam("after"))
    .order_by(contents.c.content_id)
    .offset(bindparam("skip"))
    .limit(1)
)
DUE = Statement(
    select(quarantine.c.object_key, quarantine.c.placement)
    .where(quarantine.c.delete_at <= bindparam("now"))
    .order_by(quarantine.c.delete_at, quarantine.c.object_key)
    .limit(bindparam("most"))
)
RELEASE = Statement(delete(quarantine).where(is_listed(quarantine.c.object_key, "object_keys")))


class SqlSweeps(Sweeps):
    """Quarantine in the table `quarantine`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def quarantine_unnamed(self, object_keys: Sequence[str], *, placement: str, delete_at: Timestamp) -> int:
        """Quarantine those keys that nothing names, in one statement; how many. Foreign keys never."""
        parameters = {"object_keys": keys_parameter(object_keys), "placement": placement, "delete_at": delete_at}
        return await self._runner.write(lambda connection: connection.change(QUARANTINE, parameters))

    async def unnamed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Return those of the keys that `quarantine_unnamed` would take."""
        parameters = {"object_keys": keys_parameter(object_keys)}
        rows = await self._runner.read(lambda connection: connection.all(UNNAMED, parameters))
        return [row[0] for row in rows]

    async def content_id_after(self, after: str, *, skip: int) -> ContentId | None:
        """Return the id that comes after `after` and `skip` more; None behind the last."""
        row = await self._runner.read(
            lambda connection: connection.first(CONTENT_AFTER, {"after": after, "skip": skip})
        )
        return None if row is None else ContentId(row[0])

    async def due(self, *, now: Timestamp, limit: int) -> Sequence[Quarantined]:
        """Return quarantined objects whose time has come, oldest first."""
        rows = await self._runner.read(lambda connection: connection.all(DUE, {"now": now, "most": limit}))
        return [Quarantined(row[0], row[1]) for row in rows]

    async def release(self, object_keys: Sequence[str]) -> None:
        """Drop quarantine rows: the object is deleted, or something names it after all."""
        if object_keys:
            parameters = {"object_keys": texts_parameter(object_keys)}
            await self._runner.write(lambda connection: connection.change(RELEASE, parameters))
