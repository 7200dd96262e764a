"""`Accesses` in SQL. A flush adds, and never asks what was there: see `domain.heat`."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.dialects import ZERO, integer_cell, listed_rows, rows_parameter, text_cell
from thermocline.adapters.catalog.schema import ACCESS_COLUMNS, access_days, contents, installation, is_live
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import UnavailableError
from thermocline.domain.heat import (
    HEAT_DAYS,
    AccessCount,
    AccessDay,
    AccessSummary,
    day_of,
    needs_rescaling,
    rates,
    rescaling,
    weights,
)
from thermocline.domain.units import Timestamp
from thermocline.ports.accesses import Accesses

_HEAT: Final = tuple(f"heat_{days}d" for days in HEAT_DAYS)
_counts = listed_rows("access_counts")
_reads = integer_cell(_counts, 1) + integer_cell(_counts, 2) + integer_cell(_counts, 3)
SINCE = Statement(select(func.coalesce(installation.c.heat_since, installation.c.created_at)))
ADD_TO_SUMMARIES = Statement(
    update(contents)
    .where(contents.c.content_id == text_cell(_counts, 0), is_live)
    .values(
        reads_total=contents.c.reads_total + _reads,
        storage_reads=contents.c.storage_reads + integer_cell(_counts, 2),
        last_read_at=bindparam("now"),
        **{name: contents.c[name] + _reads * bindparam(f"weight_{name}") for name in _HEAT},
    )
)
_day = postgresql.insert(access_days).from_select(
    [column.name for column in access_days.c],
    select(bindparam("day"), text_cell(_counts, 0), *(integer_cell(_counts, cell) for cell in (1, 2, 3)))
    # Contents that are gone leave no history, erased ones least of all.
    .select_from(_counts.join(contents, contents.c.content_id == text_cell(_counts, 0)))
    .where(is_live),
)
_KINDS: Final = ("cache_reads", "storage_reads", "edge_reads")
ADD_TO_DAYS = Statement(
    _day.on_conflict_do_update(
        index_elements=[access_days.c.day, access_days.c.content_id],
        set_={name: access_days.c[name] + _day.excluded[name] for name in _KINDS},
    )
)
RESCALE = Statement(
    update(contents)
    .where(contents.c.reads_total > ZERO)
    .values({name: contents.c[name] * bindparam(f"factor_{name}") for name in _HEAT})
)
RESTART = Statement(update(installation).values(heat_since=bindparam("now")))
LATEST_DAYS = Statement(
    select(access_days.c.day, *(access_days.c[name] for name in _KINDS))
    .where(
        access_days.c.day.in_(select(integer_cell(listed_rows("days"), 0))),
        access_days.c.content_id == bindparam("content_id"),
    )
    .order_by(access_days.c.day.desc())
)
NEWEST_DAY = Statement(select(access_days.c.day).order_by(access_days.c.day.desc()).limit(1))
TRIM = Statement(
    delete(access_days).where(
        access_days.c.day == bindparam("oldest"),
        access_days.c.content_id.in_(
            select(access_days.c.content_id).where(access_days.c.day == bindparam("oldest")).limit(bindparam("most"))
        ),
    )
)
OLDEST_DAY = Statement(select(access_days.c.day).order_by(access_days.c.day).limit(1))
"""Of all contents; days are few, rows of a day are many."""


class SqlAccesses(Accesses):
    """Days in the table `access_days`, summaries in the columns of `contents` that no other statement sets."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp) -> int:
        """Add reads that happened about `now`, in one transaction; of how many contents."""
        return await self._runner.write(partial(_add, counts=counts, now=now)) if counts else 0

    async def days(self, content_id: ContentId, *, limit: int) -> Sequence[AccessDay]:
        """Return the content's reads on the latest `limit` days, newest first; days without reads are left out."""
        rows = await self._runner.read(partial(_days, content_id=content_id, limit=limit))
        return [AccessDay(*row) for row in rows]

    async def trim(self, *, before_day: int, limit: int) -> int:
        """Forget days before `before_day`; how many rows, at most `limit`."""
        return await self._runner.write(partial(_trim, before_day=before_day, limit=limit))


def summary_in(row: Row, now: Timestamp, since: Timestamp) -> AccessSummary:
    """Return the summary in a row of `ACCESS_COLUMNS`."""
    first_sum = len(ACCESS_COLUMNS) - len(HEAT_DAYS)
    last_read_at = None if row[2] is None else Timestamp(row[2])
    return AccessSummary(row[0], row[1], last_read_at, rates(row[first_sum : len(ACCESS_COLUMNS)], now, since))


def heat_since(connection: Connection) -> Timestamp:
    """Return since when reads are weighed."""
    row = connection.first(SINCE, {})
    if row is None:
        raise UnavailableError("the catalog has lost its installation row; restore a backup")
    return Timestamp(row[0])


def _add(connection: Connection, counts: Sequence[AccessCount], now: Timestamp) -> int:
    since = heat_since(connection)
    if needs_rescaling(now, since):
        factors = rescaling(now, since)
        connection.change(RESCALE, {f"factor_{name}": factor for name, factor in zip(_HEAT, factors, strict=True)})
        connection.change(RESTART, {"now": now})
        since = now
    # Sorted, so that two flushes lock rows in one order.
    rows = sorted((count.content_id, count.cache, count.storage, count.edge) for count in counts)
    listed = rows_parameter(rows)
    each = zip(_HEAT, weights(now, since), strict=True)
    changed = connection.change(
        ADD_TO_SUMMARIES, {"access_counts": listed, "now": now, **{f"weight_{name}": weight for name, weight in each}}
    )
    connection.change(ADD_TO_DAYS, {"access_counts": listed, "day": day_of(now)})
    return changed


def known_days(connection: Connection) -> range:
    """Return every day of which something is kept, and perhaps some between them; oldest first."""
    oldest, newest = connection.first(OLDEST_DAY, {}), connection.first(NEWEST_DAY, {})
    return range(0) if oldest is None or newest is None else range(oldest[0], newest[0] + 1)


def _days(connection: Connection, content_id: ContentId, limit: int) -> list[Row]:
    listed = rows_parameter((day,) for day in known_days(connection)[-limit:])
    return connection.all(LATEST_DAYS, {"days": listed, "content_id": content_id})


def _trim(connection: Connection, before_day: int, limit: int) -> int:
    oldest = connection.first(OLDEST_DAY, {})
    if oldest is None or oldest[0] >= before_day:
        return 0
    return connection.change(TRIM, {"oldest": oldest[0], "most": limit})
