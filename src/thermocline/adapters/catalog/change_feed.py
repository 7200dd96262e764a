"""`ChangeFeed` in SQL: a table that commits append to. An idle look at it costs one PRAGMA on SQLite."""

from functools import partial

from sqlalchemy import bindparam, delete, func, select, true

from thermocline.adapters.catalog.announcing import announce_pattern, read_change
from thermocline.adapters.catalog.schema import changes, installation
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.units import Timestamp
from thermocline.domain.work import ChangePage
from thermocline.ports.change_feed import ChangeFeed

_newest = select(func.max(changes.c.sequence)).scalar_subquery()
_oldest = select(func.min(changes.c.sequence)).scalar_subquery()
_news = (
    select(changes.c.sequence, changes.c.content_id, changes.c.version)
    .where(changes.c.sequence > bindparam("position"))
    .order_by(changes.c.sequence)
    .limit(bindparam("most"))
    .subquery("news")
)

NEWEST = Statement(select(func.max(changes.c.sequence)))
SINCE = Statement(
    # The one row of `installation` keeps the answer's first two columns where there is nothing else to tell.
    select(_newest, _oldest, *_news.c).select_from(installation.outerjoin(_news, true())).order_by(_news.c.sequence)
)
# The newest row always stays: numbering goes on from it, and a listener can tell what it missed.
TRIM = Statement(delete(changes).where(changes.c.committed_at < bindparam("before"), changes.c.sequence < _newest))


class SqlChangeFeed(ChangeFeed):
    """Changes in the table `changes`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._quiet: dict[int, tuple[int, int]] = {}
        """For each connection its news mark when all was told, and the position that was reached."""

    async def position(self) -> int:
        """Return the newest sequence number."""
        rows = await self._runner.read(lambda connection: connection.all(NEWEST, {}))
        return rows[0][0] or 0

    async def since(self, position: int, *, limit: int) -> ChangePage:
        """Return what was committed after `position`, oldest first, at most `limit` of it."""
        return await self._runner.read(partial(self._look, position=position, limit=limit))

    async def announce_eviction(self, pattern: str, token: int, *, now: Timestamp) -> None:
        """Tell all processes to evict the keys that match."""
        await self._runner.write(lambda connection: announce_pattern(connection, pattern, token, now=now))

    async def trim(self, *, before: Timestamp) -> None:
        """Drop what was committed before `before`, except the newest change."""
        await self._runner.write(lambda connection: connection.change(TRIM, {"before": before}))

    def _look(self, connection: Connection, position: int, limit: int) -> ChangePage:
        # Taken before the query: a commit between the two is told at the next look rather than never.
        mark = connection.news_mark()
        if mark is not None and self._quiet.get(mark[0]) == (mark[1], position):
            return ChangePage(position, (), gap=False)
        rows = connection.all(SINCE, {"position": position, "most": limit})
        newest, oldest = rows[0][0] or 0, rows[0][1] or 0
        found = tuple(read_change(row[2], row[3], row[4]) for row in rows if row[2] is not None)
        reached = found[-1].sequence if found else newest
        if mark is not None and reached == newest:
            self._quiet[mark[0]] = (mark[1], reached)
        # A newest change before the position: the catalog was replaced by an older copy.
        return ChangePage(reached, found, gap=oldest > position + 1 or newest < position)
