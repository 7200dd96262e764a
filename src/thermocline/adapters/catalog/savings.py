"""`Savings` in SQL: each of a policy's ledger entries with the next one of its content, and with the content now."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from sqlalchemy import bindparam, func, select, true

from thermocline.adapters.catalog.ledger_entries import ENTRY, entry_of
from thermocline.adapters.catalog.schema import contents, ledger
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Row, Runner
from thermocline.domain.units import Timestamp
from thermocline.ports.savings import Realised, Savings

_LAST: Final = 2**62
_later = ledger.alias("later")
_next = ledger.alias("next")
_latest = (
    select(
        ledger.c.row_id,
        *ENTRY,
        select(func.min(_later.c.row_id))
        .where(_later.c.content_id == ledger.c.content_id, _later.c.row_id > ledger.c.row_id)
        .scalar_subquery()
        .label("next_id"),
        contents.c.deleted_at,
        contents.c.created_at,
        contents.c.storage_reads.label("reads_now"),
    )
    .select_from(ledger.join(contents, contents.c.content_id == ledger.c.content_id))
    .where(ledger.c.by_policy == true(), ledger.c.row_id < bindparam("before"))
    .order_by(ledger.c.row_id.desc())
    .limit(bindparam("most"))
    .subquery("latest")
)
REALISED = Statement(
    select(
        *(_latest.c[column.name] for column in ENTRY),
        _latest.c.row_id,
        _next.c.moved_at,
        _next.c.storage_reads,
        _latest.c.deleted_at,
        _latest.c.created_at,
        _latest.c.reads_now,
    ).select_from(_latest.outerjoin(_next, _next.c.row_id == _latest.c.next_id))
)


class SqlSavings(Savings):
    """Joins of the table `ledger` with itself and with `contents`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def realised(self, *, now: Timestamp, limit: int, before: int | None = None) -> Sequence[Realised]:
        """Return the latest, newest first, at most `limit`; only those at positions before `before`, if it is given."""
        parameters = {"most": limit, "before": _LAST if before is None else before}
        rows = await self._runner.read(lambda connection: connection.all(REALISED, parameters))
        return sorted((_realised(row, now) for row in rows), key=attrgetter("position"), reverse=True)


def _realised(row: Row, now: Timestamp) -> Realised:
    entry = entry_of(row)
    position, next_at, next_reads, deleted_at, created_at, reads_now = row[len(ENTRY) :]
    ended_at = deleted_at if deleted_at is not None else created_at if created_at > entry.moved_at else None
    if next_at is not None and (ended_at is None or next_at <= ended_at):
        until, reads = next_at, next_reads
    elif ended_at is not None:
        until, reads = ended_at, None  # its count ended with it
    else:
        until, reads = now, reads_now
    known = reads is not None and entry.storage_reads is not None and reads >= entry.storage_reads
    return Realised(
        position,
        entry,
        # The clock may have been set back.
        Timestamp(max(until, entry.moved_at)),
        reads - entry.storage_reads if known else None,
    )
