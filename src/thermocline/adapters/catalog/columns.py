"""`Columns` in SQL: the database writes a chunk as one text, Arrow reads it.

A chunk is a read like any other: on the catalog's own connections, by its timeouts and its table of errors. ADBC would
bring connections, and on SQLite a library, of its own: closing those drops every lock that this process holds on the
file (decision 25).
"""

import asyncio
from collections.abc import AsyncGenerator
from functools import lru_cache, partial
from typing import Any, Final

from sqlalchemy import Boolean, Text, bindparam, func, literal_column, or_, select

from thermocline.adapters.catalog.accesses import HEAT, heat_since
from thermocline.adapters.catalog.arrow_lines import batch_of, table_of
from thermocline.adapters.catalog.dialects import SMALLEST_FACTOR, joined_lines, whole_product
from thermocline.adapters.catalog.records import BEYOND_ALL, FIRST_CHARACTER
from thermocline.adapters.catalog.schema import contents, installation, is_live
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
_STEPS: Final = 1e9
"""Rates travel as whole numbers of billionths."""


@lru_cache(maxsize=16)
def statement_for(chunk: int) -> Statement:
    """Return the statement that yields count, lines and `heat_since` of one chunk."""
    rates = {
        name: whole_product(contents.c[heat], factor).label(name)
        for names, heats in ((_RATES, HEAT), (_STORAGE_RATES, STORAGE_HEAT))
        for name, heat, factor in zip(names, heats, _RATES, strict=True)
    }
    swept = (
        select(*(rates[name] if name in rates else contents.c[name] for name in _WRITTEN))
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
    return Statement(select(func.count(), joined_lines(*swept.c), since).select_from(swept))


SWEEP: Final = statement_for(CHUNK)


class SqlColumns(Columns):
    """Chunks of the table `contents`, each one statement."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def sweep(
        self, *, now: Timestamp, after: str = "", until: str | None = None, chunk: int = CHUNK
    ) -> AsyncGenerator[ColumnChunk, None]:
        """Yield chunks; the next one is read meanwhile."""
        check_chunk(chunk)
        end = BEYOND_ALL if until is None else until
        found = await self._read(after, end, now, chunk)
        while found is not None:
            if found.count < chunk:
                yield found
                return
            coming = asyncio.ensure_future(self._read(found.last, end, now, chunk))
            try:
                yield found
                found = await coming
            finally:
                # Whoever leaves early does not wait; the read ends by itself, and nobody asks how.
                if not coming.cancel() and not coming.cancelled():
                    coming.exception()

    async def _read(self, after: str, until: str, now: Timestamp, chunk: int) -> ColumnChunk | None:
        first = after + FIRST_CHARACTER if after else ""
        return await self._runner.read(partial(_chunk, first=first, until=until, now=now, chunk=chunk))


def _chunk(connection: Connection, first: str, until: str, now: Timestamp, chunk: int) -> ColumnChunk | None:
    since = heat_since(connection)
    while True:
        parameters = {"first": first, "until": until, "now": now, **_steps_of(now, since)}
        with connection.in_index_order():
            ((count, lines, found_since),) = connection.all(statement_for(chunk), parameters)
        if found_since == since:
            break
        # All sums were scaled down between the two statements: that happens once in years.
        since = Timestamp(found_since)
    if not count:
        return None
    columns = _columns_of(lines, count, first)
    return ColumnChunk(columns, count, columns[COLUMNS[0]][-1].as_py())


def _steps_of(now: Timestamp, since: Timestamp) -> dict[str, float]:
    factors = [factor * _STEPS for factor in rate_factors(now, since)]
    return {name: factor if factor > SMALLEST_FACTOR else 0.0 for name, factor in zip(_RATES, factors, strict=True)}


def _columns_of(lines: str, count: int, first: str) -> Any:
    """Return the record batch that the lines are."""
    import pyarrow as pa
    from pyarrow import compute

    table = table_of(lines, count, {name: _type_of(name, pa) for name in _WRITTEN}, first=first)
    for name in (*_RATES, *_STORAGE_RATES):
        rates = compute.divide(table[name], _STEPS)
        table = table.set_column(table.schema.get_field_index(name), name, rates)
    return batch_of(table, COLUMNS)


def _type_of(name: str, pa: Any) -> Any:
    if name in _RATES or name in _STORAGE_RATES:
        return pa.float64()
    match contents.c[name].type:
        case Boolean():
            return pa.bool_()
        case Text():
            text = pa.string()
            return text if name == COLUMNS[0] else pa.dictionary(pa.int32(), text)
        case _:
            return pa.int64()
