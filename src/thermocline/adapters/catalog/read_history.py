"""`ReadHistory` in SQL: day by day along the key of `access_days`, with a look at each row's content."""

import zlib
from collections.abc import AsyncGenerator
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select

from thermocline.adapters.catalog.accesses import known_days
from thermocline.adapters.catalog.arrow_lines import batch_of, table_of
from thermocline.adapters.catalog.dialects import ZERO, joined_lines, whole_cell
from thermocline.adapters.catalog.records import first_after
from thermocline.adapters.catalog.schema import access_days, contents, has_object
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.heat import DAY_MICROS
from thermocline.ports.columns import CHUNK, check_chunk
from thermocline.ports.read_history import HISTORY_COLUMNS, HistoryChunk, ReadHistory

_WRITTEN: Final = (*HISTORY_COLUMNS[1:], HISTORY_COLUMNS[0])
"""The id last, see `arrow_lines`."""


@lru_cache(maxsize=16)
def statement_for(chunk: int) -> Statement:
    """Return the statement that yields count and lines of one chunk, how many rows it looked at, and the last id."""
    # Limited before it is joined: so each row is one look at a content, whatever the planner believes of either table.
    swept = (
        select(*(access_days.c[name] for name in ("day", "content_id", "storage_reads", "cache_reads")))
        .where(access_days.c.day == bindparam("day"), access_days.c.content_id >= bindparam("first"))
        .order_by(access_days.c.content_id)
        # No parameter: for an unknown limit PostgreSQL plans to read a tenth of everything.
        .limit(literal_column(str(chunk)))
        .subquery("swept")
    )
    living = (
        select(swept, contents.c.size, contents.c.created_at)
        .select_from(swept.join(contents, contents.c.content_id == swept.c.content_id))
        .where(
            has_object,
            # What was read of an earlier content with this id is not this one's.
            swept.c.day >= contents.c.created_at / literal_column(str(DAY_MICROS)),
            swept.c.storage_reads + swept.c.cache_reads > ZERO,
        )
        .order_by(swept.c.content_id)
        .subquery("living")
    )
    return Statement(
        select(
            func.count(),
            joined_lines(*(whole_cell(living.c[name]) for name in _WRITTEN[:-1]), living.c[_WRITTEN[-1]]),
            select(func.count()).select_from(swept).scalar_subquery(),
            select(func.max(swept.c.content_id)).scalar_subquery(),
        ).select_from(living)
    )


SWEEP: Final = statement_for(CHUNK)


class _Page(NamedTuple):
    chunk: HistoryChunk | None
    last: str | None
    """The last content id that was looked at; None: the day has no more."""


class SqlReadHistory(ReadHistory):
    """Joins of `access_days` with `contents`, each chunk one statement."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def sweep(
        self, first_day: int, last_day: int, *, sample: int = 1, chunk: int = CHUNK
    ) -> AsyncGenerator[HistoryChunk, None]:
        """Yield the reads of all days from the first to the last, days ascending, contents of a day in byte order."""
        if sample < 1:
            raise ValueError(f"one content in how many is a number from 1 on, not {sample}")
        check_chunk(chunk)
        known = await self._runner.read(known_days)
        for day in range(max(first_day, known.start), min(last_day + 1, known.stop)):
            last: str | None = ""
            while last is not None:
                page = await self._runner.read(partial(_page, day=day, after=last, sample=sample, chunk=chunk))
                if page.chunk is not None:
                    yield page.chunk
                last = page.last


def _page(connection: Connection, day: int, after: str, sample: int, chunk: int) -> _Page:
    first = first_after(after)
    with connection.in_index_order():
        ((count, lines, looked_at, last),) = connection.all(statement_for(chunk), {"day": day, "first": first})
    following = last if looked_at == chunk else None
    if not count:
        return _Page(None, following)
    columns = _sampled(_columns_of(lines, count, first), sample)
    return _Page(HistoryChunk(columns, columns.num_rows) if columns.num_rows else None, following)


def _columns_of(lines: bytes, count: int, first: str) -> Any:
    import pyarrow as pa

    types = {name: pa.int64() for name in _WRITTEN} | {HISTORY_COLUMNS[0]: pa.string()}
    return batch_of(table_of(lines, count, types, first=first), HISTORY_COLUMNS)


def _sampled(columns: Any, sample: int) -> Any:
    """Return the rows of one content in `sample`, by a hash that is the same everywhere and for ever."""
    if sample == 1:
        return columns
    import pyarrow as pa

    ids = columns.column(0).to_pylist()
    return columns.filter(pa.array([zlib.crc32(content_id.encode()) % sample == 0 for content_id in ids], pa.bool_()))
