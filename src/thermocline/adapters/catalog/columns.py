"""`Columns` in SQL: the database writes a chunk as one text, Arrow reads it.

A chunk is a read like any other: on the catalog's own connections, by its timeouts and its table of errors. ADBC would
bring connections, and on SQLite a library, of its own: closing those drops every lock that this process holds on the
file (decision 25).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Text, bindparam, func, literal_column, or_, select

from thermocline.adapters.catalog.accesses import HEAT, heat_since
from thermocline.adapters.catalog.arrow_lines import batch_of, table_of
from thermocline.adapters.catalog.dialects import SMALLEST_FACTOR, joined_lines, whole_cell, whole_product
from thermocline.adapters.catalog.records import BEYOND_ALL, first_after
from thermocline.adapters.catalog.schema import contents, installation, is_live, placed_since
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.storage_days import STORAGE_HEAT
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.heat import HEAT_DAYS, rate_factors
from thermocline.domain.units import Timestamp
from thermocline.ports.columns import CHUNK, COLUMNS, ColumnChunk, Columns, check_chunk

_WRITTEN: Final = (*COLUMNS[1:], COLUMNS[0])
"""The id last, see `arrow_lines`."""
_RATES: Final = tuple(f"rate_{days}d" for days in HEAT_DAYS)
_STORAGE_RATES: Final = tuple(f"storage_{name}" for name in _RATES)
_NULLABLE: Final = ("expires_at", "last_read_at", "last_storage_day")
AHEAD: Final = 3
"""Chunks that are under way beside the one that is looked at: enough for two statements, and Arrow on a third."""
_STEPS: Final = 1e9
"""Rates travel as whole numbers of billionths."""


@lru_cache(maxsize=16)
def statement_for(chunk: int) -> Statement:
    """Return the statement that yields count, lines and `heat_since` of one chunk."""
    computed: dict[str, ColumnElement[Any]] = {
        name: whole_product(contents.c[heat], factor).label(name)
        for names, heats in ((_RATES, HEAT), (_STORAGE_RATES, STORAGE_HEAT))
        for name, heat, factor in zip(names, heats, _RATES, strict=True)
    }
    computed["placed_at"] = placed_since.label("placed_at")
    swept = (
        select(*(computed[name] if name in computed else contents.c[name] for name in _WRITTEN))
        .where(
            is_live,
            contents.c.content_id >= bindparam("first"),
            contents.c.content_id <= bindparam("until"),
            or_(contents.c.expires_at.is_(None), contents.c.expires_at > bindparam("now")),
        )
        .order_by(contents.c.content_id)
        # No parameter: for an unknown limit PostgreSQL plans to read a tenth of everything.
        .limit(literal_column(str(chunk)))
        .subquery("swept")
    )
    since = select(func.coalesce(installation.c.heat_since, installation.c.created_at)).scalar_subquery()
    return Statement(select(func.count(), joined_lines(*map(_cell, swept.c)), since).select_from(swept))


def _cell(column: ColumnElement[Any]) -> ColumnElement[Any]:
    is_text = isinstance(column.type, Text)
    return column if is_text or column.key in _NULLABLE else whole_cell(column)


@lru_cache(maxsize=16)
def end_for(chunk: int) -> Statement:
    """Return the statement that yields the last id of as many as a chunk has, tombstones included; nothing: fewer.

    Without a look at a row: ids are in the index of the primary key.
    """
    return Statement(
        select(contents.c.content_id)
        .where(contents.c.content_id >= bindparam("first"), contents.c.content_id <= bindparam("until"))
        .order_by(contents.c.content_id)
        .offset(literal_column(str(chunk - 1)))
        .limit(literal_column("1"))
    )


SWEEP: Final = statement_for(CHUNK)
RANGE_END: Final = end_for(CHUNK)


class SqlColumns(Columns):
    """Ranges of the table `contents`, each one statement."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turns = asyncio.Semaphore(runner.long_reads)

    async def sweep(
        self, *, now: Timestamp, after: str = "", until: str | None = None, chunk: int = CHUNK
    ) -> AsyncGenerator[ColumnChunk, None]:
        """Yield chunks; the next ones are read meanwhile.

        Where a range of so many ids ends is asked of the index alone, in a moment: so ranges can be read side by side.
        """
        check_chunk(chunk)
        end = BEYOND_ALL if until is None else until
        coming: deque[_Coming] = deque()
        ranges = _Ranges(self._runner, after, end, chunk)
        try:
            while True:
                while len(coming) < AHEAD and (bounds := await ranges.following()) is not None:
                    coming.append(self._begin(*bounds, now, chunk))
                if not coming:
                    return
                first = coming[0]
                found = await first.chunk
                coming.popleft()
                if found is None:
                    continue
                if found.count == chunk and found.last < first.until:
                    # So many contents came since the end of the range was found. Its rest is next.
                    coming.appendleft(self._begin(found.last, first.until, now, chunk))
                yield found
        finally:
            ranges.leave()
            for each in coming:
                _leave(each.chunk)

    def _begin(self, after: str, until: str, now: Timestamp, chunk: int) -> "_Coming":
        return _Coming(until, asyncio.ensure_future(self._read(after, until, now, chunk)))

    async def _read(self, after: str, until: str, now: Timestamp, chunk: int) -> ColumnChunk | None:
        first = first_after(after)
        async with self._turns:
            read = partial(read_lines, first=first, until=until, now=now, chunk=chunk)
            count, lines = await self._runner.read(read)
        return await asyncio.to_thread(_chunk_of, lines, count, first) if count else None


@dataclass(frozen=True, slots=True)
class _Coming:
    """What is being read of the contents up to an id."""

    until: str
    chunk: asyncio.Future[ColumnChunk | None]


class _Ranges:
    """Cuts the ids between two into ranges of so many; the end of the next one is looked for ahead of time."""

    def __init__(self, runner: Runner, after: str, until: str, chunk: int) -> None:
        self._runner = runner
        self._after = after
        self._until = until
        self._chunk = chunk
        self._end: asyncio.Future[str | None] | None = self._look()

    async def following(self) -> tuple[str, str] | None:
        """Return after which id the next range begins, and the last one in it; None after the last range."""
        if self._end is None:
            return None
        after, end = self._after, await self._end
        if end is None:
            self._end = None
            return after, self._until
        self._after = end
        self._end = self._look()
        return after, end

    def leave(self) -> None:
        if self._end is not None:
            _leave(self._end)

    def _look(self) -> asyncio.Future[str | None]:
        look = partial(_end_of, first=first_after(self._after), until=self._until, chunk=self._chunk)
        return asyncio.ensure_future(self._runner.read(look))


def _leave(reading: asyncio.Future[Any]) -> None:
    """Whoever leaves early does not wait; the read ends by itself, and nobody asks how."""
    if not reading.cancel() and not reading.cancelled():
        reading.exception()


def _end_of(connection: Connection, first: str, until: str, chunk: int) -> str | None:
    with connection.in_index_order():
        found = connection.first(end_for(chunk), {"first": first, "until": until})
    return None if found is None else str(found[0])


def read_lines(connection: Connection, first: str, until: str, now: Timestamp, chunk: int) -> tuple[int, bytes]:
    """Return how many contents a range has, at most a chunk's, and their lines."""
    since = heat_since(connection)
    while True:
        parameters = {"first": first, "until": until, "now": now, **_steps_of(now, since)}
        with connection.in_index_order():
            ((count, lines, found_since),) = connection.all(statement_for(chunk), parameters)
        if found_since == since:
            return count, lines
        # All sums were scaled down between the two statements: that happens once in years.
        since = Timestamp(found_since)


def _steps_of(now: Timestamp, since: Timestamp) -> dict[str, float]:
    factors = [factor * _STEPS for factor in rate_factors(now, since)]
    return {name: factor if factor > SMALLEST_FACTOR else 0.0 for name, factor in zip(_RATES, factors, strict=True)}


def _chunk_of(lines: bytes, count: int, first: str) -> ColumnChunk:
    columns = _columns_of(lines, count, first)
    return ColumnChunk(columns, count, columns[COLUMNS[0]][-1].as_py())


def _columns_of(lines: bytes, count: int, first: str) -> Any:
    """Return the record batch that the lines are."""
    import pyarrow as pa
    from pyarrow import compute

    table = table_of(lines, count, {name: _type_of(name, pa) for name in _WRITTEN}, first=first)
    for name in (*_RATES, *_STORAGE_RATES):
        rates = compute.divide(table[name].cast(pa.float64(), safe=False), _STEPS)
        table = table.set_column(table.schema.get_field_index(name), name, rates)
    return batch_of(table, COLUMNS)


def _type_of(name: str, pa: Any) -> Any:
    if name in _RATES or name in _STORAGE_RATES:
        return pa.int64()
    match contents.c[name].type:
        case Boolean():
            return pa.bool_()
        case Text():
            text = pa.string()
            return text if name == COLUMNS[0] else pa.dictionary(pa.int32(), text)
        case _:
            return pa.int64()
