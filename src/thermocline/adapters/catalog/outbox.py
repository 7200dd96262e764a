"""`Outbox` in SQL. A row is claimed while `lease_until` has not passed on the database's clock."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, delete, false, func, null, select, true, update
from sqlalchemy import literal_column as literal

from thermocline.adapters.catalog.claims import NO_LEASE, micros, new_lease_token
from thermocline.adapters.catalog.dialects import integer_cell, listed_rows, now_micros, plain_text, rows_parameter
from thermocline.adapters.catalog.naming import UNNAMED_BY_RECORD_OR_INTENT, keys_parameter
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import outbox
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import OutboxKind, OutboxRow, OutboxState
from thermocline.ports.outbox import Outbox

_due = (
    select(outbox.c.row_id)
    .where(
        outbox.c.kind == bindparam("kind"),
        outbox.c.dead == false(),
        outbox.c.due_at <= bindparam("now"),
        outbox.c.lease_until <= now_micros(),
    )
    .order_by(outbox.c.due_at, outbox.c.row_id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")  # computed once, whatever the plan: a subquery that locks may run again, and take more than its limit
)
_is_own = outbox.c.lease_token == bindparam("token")
_is_listed = outbox.c.row_id.in_(select(integer_cell(listed_rows("row_ids"), 0)))
_unclaimed: Final[Mapping[str, Any]] = {"lease_until": literal(str(NO_LEASE)), "lease_token": null()}

CLAIM = Statement(
    update(outbox)
    .where(outbox.c.row_id.in_(select(_due.c.row_id)))
    .values(
        lease_token=bindparam("token"),
        lease_until=now_micros() + bindparam("lease"),
        attempts=outbox.c.attempts + literal("1"),
    )
    .returning(
        outbox.c.due_at,
        outbox.c.row_id,
        outbox.c.kind,
        outbox.c.subject,
        outbox.c.placement,
        outbox.c.version,
        outbox.c.hard,
        outbox.c.second_pass,
        outbox.c.attempts,
        outbox.c.lease_token,
    )
)
COMPLETE = Statement(delete(outbox).where(_is_listed, _is_own))
REPEAT = Statement(
    update(outbox)
    .where(_is_listed, _is_own)
    .values(second_pass=true(), attempts=literal("0"), due_at=bindparam("due_at"), **_unclaimed)
)
POSTPONE = Statement(
    update(outbox)
    .where(_is_listed, _is_own)
    .values(due_at=bindparam("due_at"), reason=bindparam("reason"), **_unclaimed)
)
BURY = Statement(
    update(outbox).where(_is_listed, _is_own).values(dead=true(), reason=bindparam("reason"), **_unclaimed)
)
REVIVE = Statement(
    update(outbox)
    .where(outbox.c.dead == true())
    .values(dead=false(), attempts=literal("0"), due_at=bindparam("now"), **_unclaimed)
)
STATE = Statement(
    select(outbox.c.kind, outbox.c.dead, func.count(), func.min(outbox.c.due_at)).group_by(outbox.c.kind, outbox.c.dead)
)


class SqlOutbox(Outbox):
    """The outbox in the table `outbox`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def claim(self, kind: OutboxKind, *, now: Timestamp, lease: Seconds, limit: int) -> Sequence[OutboxRow]:
        """Lease up to `limit` rows that are due at `now`, oldest first. No two claims share a row."""
        parameters = {
            "kind": kind.value,
            "now": now,
            "token": new_lease_token(),
            "lease": micros(lease),
            "most": limit,
        }
        rows = await self._runner.write(lambda connection: connection.all(CLAIM, parameters))
        return [_outbox_row(row) for row in sorted(rows)]  # RETURNING promises no order

    async def complete(self, rows: Sequence[OutboxRow]) -> None:
        """Remove rows that are done. Rows whose lease was lost meanwhile are left alone."""
        await self._for_each_lease(rows, lambda connection, lease: connection.change(COMPLETE, lease))

    async def repeat(self, rows: Sequence[OutboxRow], *, due_at: Timestamp) -> None:
        """Make rows due again as their second pass, with attempts counted anew."""
        await self._for_each_lease(
            rows, lambda connection, lease: connection.change(REPEAT, {**lease, "due_at": due_at})
        )

    async def fail(self, rows: Sequence[OutboxRow], *, reason: str, due_at: Timestamp | None) -> None:
        """Give rows back to be tried at `due_at`, or keep them as dead letters (None)."""
        statement = BURY if due_at is None else POSTPONE
        told = {"reason": plain_text(reason), "due_at": due_at}
        await self._for_each_lease(rows, lambda connection, lease: connection.change(statement, {**lease, **told}))

    async def revive(self, *, now: Timestamp) -> int:
        """Make every dead letter due at `now`, with attempts counted anew; how many."""
        return await self._runner.write(lambda connection: connection.change(REVIVE, {"now": now}))

    async def unnamed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Return those keys that no record and no intent names, asked in one statement; foreign keys never."""
        parameters = {"object_keys": keys_parameter(object_keys)}
        rows = await self._runner.read(lambda connection: connection.all(UNNAMED_BY_RECORD_OR_INTENT, parameters))
        return [row[0] for row in rows]

    async def state(self) -> Sequence[OutboxState]:
        """Return how much waits, for every kind."""
        rows = await self._runner.read(lambda connection: connection.all(STATE, {}))
        waiting = {row[0]: row for row in rows if not row[1]}
        dead = {row[0]: int(row[2]) for row in rows if row[1]}
        return [
            OutboxState(
                kind,
                waiting=int(waiting[kind][2]) if kind in waiting else 0,
                dead=dead.get(kind, 0),
                oldest_at=as_timestamp(waiting[kind][3]) if kind in waiting else None,
            )
            for kind in OutboxKind
        ]

    async def _for_each_lease(
        self, rows: Sequence[OutboxRow], change: Callable[[Connection, dict[str, Any]], int]
    ) -> None:
        by_token: defaultdict[str, list[Sequence[int]]] = defaultdict(list)
        for row in rows:
            by_token[row.lease_token].append((row.row_id,))
        if by_token:
            await self._runner.write(partial(_change_each, by_token=by_token, change=change))


def _change_each(
    connection: Connection,
    by_token: Mapping[str, list[Sequence[int]]],
    change: Callable[[Connection, dict[str, Any]], int],
) -> None:
    for token, row_ids in by_token.items():
        change(connection, {"token": token, "row_ids": rows_parameter(row_ids)})


def _outbox_row(row: Row) -> OutboxRow:
    return OutboxRow(
        row_id=row[1],
        kind=OutboxKind(row[2]),
        subject=row[3],
        placement=row[4],
        version=row[5],
        hard=bool(row[6]),
        second_pass=bool(row[7]),
        attempts=row[8],
        lease_token=row[9],
    )
