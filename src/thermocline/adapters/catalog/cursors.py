"""`Cursors` in SQL."""

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import cursors
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.units import Timestamp
from thermocline.domain.work import Cursor
from thermocline.ports.cursors import Cursors

_STATE = ("position", "begun_at", "ended_at", "done", "skipped", "findings")

LOAD = Statement(select(*(cursors.c[name] for name in _STATE)).where(cursors.c.name == bindparam("name")))
_save = postgresql.insert(cursors).values({column.name: bindparam(column.name) for column in cursors.c})
SAVE = Statement(
    _save.on_conflict_do_update(index_elements=[cursors.c.name], set_={name: _save.excluded[name] for name in _STATE})
)


class SqlCursors(Cursors):
    """Cursors in the table `cursors`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def load(self, name: str) -> Cursor | None:
        """Return the cursor, or None if the work never began."""
        row = await self._runner.read(lambda connection: connection.first(LOAD, {"name": name}))
        if row is None:
            return None
        return Cursor(row[0], Timestamp(row[1]), as_timestamp(row[2]), row[3], row[4], row[5])

    async def save(self, name: str, cursor: Cursor) -> None:
        """Set the cursor."""
        parameters = {"name": name, **{field: getattr(cursor, field) for field in _STATE}}
        await self._runner.write(lambda connection: connection.change(SAVE, parameters))
