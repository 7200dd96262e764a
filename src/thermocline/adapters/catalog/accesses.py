"""`Accesses` in SQL. A flush adds, and never asks what was there: see `domain.heat`."""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import Double, bindparam, case, delete, func, literal_column, select, text, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.dialects import (
    SMALLEST_FACTOR,
    SMALLEST_NUMBER,
    ZERO,
    integer_cell,
    is_listed,
    listed_rows,
    rows_parameter,
    texts_parameter,
)
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import ACCESS_COLUMNS, access_days, contents, has_object, installation, is_live
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.storage_days import STORAGE_HEAT, added_parameter, day_changes
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import UnavailableError
from thermocline.domain.heat import (
    HEAT_DAYS,
    AccessCount,
    AccessDay,
    AccessSummary,
    day_of,
    day_weights,
    needs_rescaling,
    rates,
    rescaling,
    weights,
)
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.accesses import Accesses

HEAT: Final = tuple(f"heat_{days}d" for days in HEAT_DAYS)
"""The columns of the decayed sums."""
_FADED: Final = literal_column(repr(SMALLEST_NUMBER), Double)
SINCE = Statement(select(func.coalesce(installation.c.heat_since, installation.c.created_at)))
KEPT_SINCE = Statement(
    select(func.coalesce(installation.c.heat_since, installation.c.created_at)).with_for_update(read=True)
)
ADD_TO_SUMMARY = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("id"), is_live)
    .values(
        reads_total=contents.c.reads_total + bindparam("reads"),
        storage_reads=contents.c.storage_reads + bindparam("storage"),
        # A clock that was set back, and a flush that was late, must not make the last read an earlier one.
        last_read_at=case(
            (contents.c.last_read_at > bindparam("now"), contents.c.last_read_at), else_=bindparam("now")
        ),
        **{name: contents.c[name] + bindparam(f"add_{name}") for name in HEAT},
        **{name: text(change) for name, change in day_changes(":storage").items()},
    )
)
_KINDS: Final = ("cache_reads", "storage_reads", "edge_reads")
_day = postgresql.insert(access_days).values(
    day=bindparam("day"),
    content_id=bindparam("id"),
    cache_reads=bindparam("cache"),
    storage_reads=bindparam("storage"),
    edge_reads=bindparam("edge"),
)
ADD_TO_DAY = Statement(
    _day.on_conflict_do_update(
        index_elements=[access_days.c.day, access_days.c.content_id],
        set_={name: access_days.c[name] + _day.excluded[name] for name in _KINDS},
    )
)
LIVE = Statement(select(contents.c.content_id).where(is_listed(contents.c.content_id, "content_ids"), has_object))
RESCALE = Statement(
    update(contents)
    .where(contents.c.reads_total > ZERO)
    .values(
        {
            # What faded long ago is 0: PostgreSQL refuses products that are too small for a double.
            name: case(
                (contents.c[name] > _FADED, contents.c[name] * bindparam(f"factor_{days}d")),
                else_=literal_column("0.0"),
            )
            for days, *names in zip(HEAT_DAYS, HEAT, STORAGE_HEAT, strict=True)
            for name in names
        }
    )
)
RESTART = Statement(update(installation).values(heat_since=bindparam("now")))
DAYS = Statement(
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

    async def add(self, counts: Sequence[AccessCount], *, now: Timestamp, max_wait: Seconds | None = None) -> int:
        """Add reads that happened about `now`, in one transaction; of how many contents."""
        if not counts:
            return 0
        return await self._runner.write(partial(add_counts, counts=counts, now=now), max_wait=max_wait)

    async def days(self, content_id: ContentId, *, first: int, last: int) -> Sequence[AccessDay]:
        """Return the content's reads on each day from `first` to `last`, newest first; days without are left out."""
        return await self._runner.read(partial(days_of, content_id=content_id, first=first, last=last))

    async def trim(self, *, before_day: int, limit: int) -> int:
        """Forget days before `before_day`; how many rows, at most `limit`."""
        return await self._runner.write(partial(_trim, before_day=before_day, limit=limit))


def summary_in(row: Row, now: Timestamp, since: Timestamp) -> AccessSummary:
    """Return the summary in a row of `ACCESS_COLUMNS`."""
    first_sum = len(ACCESS_COLUMNS) - len(HEAT_DAYS)
    last_read_at = as_timestamp(row[2])
    # As of the last read at least: the clock may have been set back.
    as_of = now if last_read_at is None else max(now, last_read_at)
    return AccessSummary(row[0], row[1], last_read_at, rates(row[first_sum : len(ACCESS_COLUMNS)], as_of, since))


def heat_since(connection: Connection, *, kept: bool = False) -> Timestamp:
    """Return since when reads are weighed; `kept`: nobody changes it before this transaction ends."""
    row = connection.first(KEPT_SINCE if kept else SINCE, {})
    if row is None:
        raise UnavailableError("the catalog has lost its installation row; restore a backup")
    return Timestamp(row[0])


def add_counts(connection: Connection, counts: Sequence[AccessCount], now: Timestamp) -> int:
    """Do what `Accesses.add` promises."""
    day = day_of(now)
    weighed = weights_now(connection, now)
    added = tuple(zip((f"add_{name}" for name in HEAT), weighed.read, strict=True))
    added_by_day = dict(zip(map(added_parameter, STORAGE_HEAT), weighed.day, strict=True))
    rows: list[dict[str, str | float]] = []
    # Sorted, so that two flushes lock rows in one order.
    for count in sorted(counts, key=attrgetter("content_id")):
        reads = count.cache + count.storage + count.edge
        row: dict[str, str | float] = {
            "id": count.content_id,
            "day": day,
            "now": now,
            "reads": reads,
            "cache": count.cache,
            "storage": count.storage,
            "edge": count.edge,
            **added_by_day,
        }
        for name, weight in added:
            row[name] = reads * weight
        rows.append(row)
    changed = connection.change_each(ADD_TO_SUMMARY, rows)
    if changed != len(rows):
        # Contents that are gone leave no history, erased ones least of all.
        ids = texts_parameter(count.content_id for count in counts)
        live = {row[0] for row in connection.all(LIVE, {"content_ids": ids})}
        rows = [row for row in rows if row["id"] in live]
    connection.change_each(ADD_TO_DAY, rows)
    return changed


class Weights(NamedTuple):
    """What is added to the decayed sums, one number for each of `HEAT_DAYS`."""

    read: Sequence[float]
    """Each read."""
    day: Sequence[float]
    """The day, if the storage was read on it."""


def weights_now(connection: Connection, now: Timestamp) -> Weights:
    """Return what a read and a day weigh now in each of the decayed sums, which are rescaled first if need be."""
    since = heat_since(connection, kept=True)
    if needs_rescaling(now, since):
        factors = zip(HEAT_DAYS, rescaling(now, since), strict=True)
        connection.change(
            RESCALE, {f"factor_{days}d": factor if factor > SMALLEST_FACTOR else 0.0 for days, factor in factors}
        )
        connection.change(RESTART, {"now": now})
        since = now
    return Weights(weights(now, since), day_weights(day_of(now), since))


def known_days(connection: Connection) -> range:
    """Return every day of which something is kept, and perhaps some between them; oldest first."""
    oldest, newest = connection.first(OLDEST_DAY, {}), connection.first(NEWEST_DAY, {})
    return range(0) if oldest is None or newest is None else range(oldest[0], newest[0] + 1)


def days_of(connection: Connection, content_id: ContentId, first: int, last: int) -> tuple[AccessDay, ...]:
    """Do what `Accesses.days` promises: one look into the table's key for each day."""
    listed = rows_parameter((day,) for day in range(first, last + 1))
    return tuple(AccessDay(*row) for row in connection.all(DAYS, {"days": listed, "content_id": content_id}))


def _trim(connection: Connection, before_day: int, limit: int) -> int:
    oldest = connection.first(OLDEST_DAY, {})
    if oldest is None or oldest[0] >= before_day:
        return 0
    return connection.change(TRIM, {"oldest": oldest[0], "most": limit})
