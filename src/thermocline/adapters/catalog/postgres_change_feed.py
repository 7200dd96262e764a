"""`ChangeFeed` on PostgreSQL, where commits become visible in another order than they took their numbers.

A change gets its number inside its transaction and is visible after COMMIT, so a reader that has seen number 7 may see
number 6 only later. The numbers missing below the newest one seen are *holes*. Each look asks for what lies behind the
position and for every hole, in one statement, so in one snapshot:

1. A hole that has become visible is told then, out of order: listeners only evict older versions, in any order.
2. A hole stays one while a transaction may still fill it. Whoever took a number below a visible one had a transaction
   id by then (a commit locks its rows before it announces). So an id that is taken after the look is above all of those
   (a snapshot's `xmax` is not: it is only above those that have ended). Once the oldest running transaction, `xmin`,
   is not below it any more and the hole is still not visible, it was rolled back.
3. A listener that asks for its first position looks for holes among the numbers just below, in that same snapshot.
4. More holes than are kept, or numbers from before the beginning: as long as transactions run that may fill them, every
   look is a gap, for which listeners empty their memory. Nothing is ever left out silently.
5. After a failover the newest commits may be lost and their numbers given again: another timeline is a gap.
"""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from sqlalchemy import text

from thermocline.adapters.catalog.announcing import announce_pattern, read_change
from thermocline.adapters.catalog.change_feed import SqlChangeFeed
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.units import Timestamp
from thermocline.domain.work import ChangePage

MOST_HOLES: Final = 2000
LOOK_BACK: Final = 20_000
"""How far below its first position a listener looks for holes: commits are there while one is between its
announcement and its COMMIT."""

_STATE: Final = """
    pg_snapshot_xmin(snapshot)::text::bigint, timeline,
    (SELECT max(sequence) FROM changes), (SELECT min(sequence) FROM changes)
"""
_FROM: Final = """
    FROM (SELECT pg_current_snapshot() AS snapshot,
                 ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint AS timeline) AS state
"""
SINCE: Final = Statement(
    text(
        f"""
        SELECT {_STATE}, news.* {_FROM} LEFT JOIN (
            (SELECT sequence, content_id, version FROM changes WHERE sequence > :position ORDER BY sequence LIMIT :most)
            UNION ALL
            SELECT sequence, content_id, version FROM changes
            WHERE sequence = ANY (ARRAY(SELECT CAST(jsonb_array_elements_text(CAST(:holes AS JSONB)) AS BIGINT)))
        ) AS news ON true ORDER BY news.sequence
        """  # noqa: S608 - constants
    )
)
MISSING: Final = Statement(
    text(
        f"""
        SELECT {_STATE}, missing.* {_FROM} LEFT JOIN (
            SELECT previous + 1 AS first, sequence - 1 AS last
            FROM (SELECT sequence, lag(sequence) OVER (ORDER BY sequence) AS previous FROM changes
                  WHERE sequence > least((SELECT max(sequence) FROM changes), :position) - :look_back
                    AND sequence <= :position) AS numbered
            WHERE sequence > previous + 1
        ) AS missing ON true ORDER BY missing.first
        """  # noqa: S608 - constants
    )
)
TAKE_ID: Final = Statement(text("SELECT pg_current_xact_id()::text::bigint"))
"""A transaction id above all that were taken before: only where something is missing, for they are not endless."""
_LAST: Final = 2**62
"""Beyond every number."""
_LISTENERS: Final = 8
"""Remembered by their positions; a service has one."""


class _Snapshot(NamedTuple):
    """What the first columns of both statements say."""

    oldest_running: int
    timeline: int
    newest: int
    oldest: int

    @classmethod
    def of(cls, row: Row) -> "_Snapshot":
        return cls(row[0], row[1], row[2] or 0, row[3] or 0)


class _Listener:
    """What a listener has not heard yet, though its position is beyond."""

    def __init__(self, snapshot: _Snapshot, position: int) -> None:
        self.position = position
        self.timeline = snapshot.timeline
        self.holes: dict[int, int] = {}
        """Missing numbers; each may be filled while a transaction below its value runs."""
        self.blind_until = 0
        """Until no transaction below runs, something may be missed that is not among the holes."""

    def miss(self, numbers: Iterable[int], connection: Connection) -> None:
        missing = list(islice(numbers, MOST_HOLES - len(self.holes) + 1))
        if not missing:
            return
        end: int = connection.all(TAKE_ID, {})[0][0]
        self.holes.update((number, end) for number in missing)
        if len(self.holes) > MOST_HOLES:
            self.holes.pop(missing[-1])
            self.blind_until = end

    def settle(self, snapshot: _Snapshot, seen: Iterable[int]) -> None:
        for number in seen:
            self.holes.pop(number, None)
        self.holes = {number: end for number, end in self.holes.items() if snapshot.oldest_running < end}
        if snapshot.oldest_running >= self.blind_until:
            self.blind_until = 0


class PostgresChangeFeed(SqlChangeFeed):
    """Changes in the table `changes`, none left out from the call of `position` on."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._listeners: dict[int, _Listener] = {}

    async def position(self) -> int:
        """Return the newest sequence number. Holes below are those of this moment: they may be filled in the next."""
        listener = await self._runner.read(partial(_begin, position=None))
        self._remember(listener)
        return listener.position

    async def since(self, position: int, *, limit: int) -> ChangePage:
        """Return what was committed after `position`, and what became visible late; at most `limit` of the former."""
        listener = self._listeners.get(position)
        page, after = await self._runner.read(partial(_look, listener=listener, position=position, limit=limit))
        self._listeners.pop(position, None)
        self._remember(after)
        return page

    async def announce_eviction(self, pattern: str, token: int, *, now: Timestamp) -> None:
        """Tell all processes to evict the keys that match."""

        def announce(connection: Connection) -> None:
            connection.first(TAKE_ID, {})  # before the number, as a commit that locks rows has one
            announce_pattern(connection, pattern, token, now=now)

        await self._runner.write(announce)

    def _remember(self, listener: _Listener) -> None:
        other = self._listeners.pop(listener.position, None)
        if other is not None:
            # Two listeners have come to one position: each is told what either still misses.
            listener.holes = other.holes | listener.holes
            listener.blind_until = max(other.blind_until, listener.blind_until)
        while len(self._listeners) >= _LISTENERS:
            del self._listeners[next(iter(self._listeners))]
        self._listeners[listener.position] = listener


def _look(
    connection: Connection, listener: _Listener | None, position: int, limit: int
) -> tuple[ChangePage, _Listener]:
    if listener is None:
        listener = _begin(connection, position)
    # The function may run again, and the answer may be lost: the listener that is handed back is a new one.
    holes = list(listener.holes)
    rows = connection.all(SINCE, {"position": position, "most": limit, "holes": str(holes)})
    snapshot = _Snapshot.of(rows[0])
    found = [row[len(_Snapshot._fields) :] for row in rows if row[len(_Snapshot._fields)] is not None]
    changes = tuple(read_change(row[0], row[1], row[2]) for row in found)
    reached = max((change.sequence for change in changes), default=0)
    reached = max(reached, position) if snapshot.newest >= position else snapshot.newest
    after = _Listener(snapshot, reached)
    after.holes = dict(listener.holes)
    after.blind_until = listener.blind_until
    seen = {change.sequence for change in changes}
    lowest = max(position, snapshot.oldest - 1)
    after.miss((number for number in range(lowest + 1, reached) if number not in seen), connection)
    gap = (
        snapshot.oldest > position + 1
        or snapshot.newest < position
        or snapshot.timeline != listener.timeline
        # The look at which blindness ends included: what it missed may have been committed since the last one.
        or after.blind_until > 0
    )
    after.settle(snapshot, seen)
    return ChangePage(reached, changes, gap=gap), after


def _begin(connection: Connection, position: int | None) -> _Listener:
    """Return a listener that has heard all that is visible up to the position (None: the newest), and no more."""
    rows = connection.all(MISSING, {"look_back": LOOK_BACK, "position": _LAST if position is None else position})
    snapshot = _Snapshot.of(rows[0])
    listener = _Listener(snapshot, snapshot.newest if position is None else position)
    ranges = [row[len(_Snapshot._fields) :] for row in rows if row[len(_Snapshot._fields)] is not None]
    listener.miss((number for first, last in reversed(ranges) for number in range(last, first - 1, -1)), connection)
    return listener
