"""A record with all that is known of its content: how it was read, its restore, its planned move."""

from dataclasses import replace
from typing import Final

from sqlalchemy import bindparam, select

from thermocline.adapters.catalog.accesses import days_of, heat_since, summary_in
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, record_of
from thermocline.adapters.catalog.restores import FIND as FIND_RESTORE
from thermocline.adapters.catalog.restores import status_in
from thermocline.adapters.catalog.schema import ACCESS_COLUMNS, contents, is_live, moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import SHOWN_DAYS, day_of
from thermocline.domain.moves import MoveStatus
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Timestamp

DESCRIBE = Statement(
    select(*RECORD_COLUMNS, contents.c.chunk_digests, *ACCESS_COLUMNS).where(
        contents.c.content_id == bindparam("content_id"), is_live
    )
)
PLANNED_MOVE = Statement(
    select(
        moves.c.tier, moves.c.reason, moves.c.planned_at, moves.c.due_at, moves.c.attempts, moves.c.last_error
    ).where(moves.c.content_id == bindparam("content_id"))
)
_RECORD: Final = len(RECORD_COLUMNS) + 1


def describe(connection: Connection, content_id: ContentId, now: Timestamp) -> Record | None:
    """Do what `Records.describe` promises."""
    row = connection.first(DESCRIBE, {"content_id": content_id})
    if row is None:
        return None
    record = record_of(row[:_RECORD])
    restore = connection.first(FIND_RESTORE, {"object_key": record.object_key})
    move = connection.first(PLANNED_MOVE, {"content_id": content_id})
    today = day_of(now)
    # What was read of an earlier content with this id is not this one's.
    first = max(today - SHOWN_DAYS + 1, day_of(record.created_at))
    access = summary_in(row[_RECORD:], now, heat_since(connection))
    return replace(
        record,
        access=replace(access, days=days_of(connection, content_id, first, today)),
        restore=None if restore is None else status_in(restore, now),
        move=None if move is None else MoveStatus(StorageTier(move[0]), *move[1:]),
    )
