"""Locking a content's row inside a commit, and allocating its next revision and version."""

from typing import Any, Final

from sqlalchemy import Select, bindparam, exists, false, select, true

from thermocline.adapters.catalog.dialects import now_micros
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS
from thermocline.adapters.catalog.schema import contents, installation, intents
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import UnavailableError


def _lock_clause() -> Select[*tuple[Any, ...]]:
    locked = (
        select(*RECORD_COLUMNS, contents.c.deleted_at)
        .where(contents.c.content_id == bindparam("content_id"))
        .with_for_update()
        .subquery("locked")
    )
    own_intent = exists().where(intents.c.object_key == bindparam("object_key"), intents.c.condemned == false())
    return select(installation.c.revision_floor, now_micros(), own_intent, locked.c.deleted_at, *locked.c).select_from(
        installation.outerjoin(locked, true())
    )


LOCK = Statement(_lock_clause())
KEEP_FLOOR = Statement(select(installation.c.revision_floor, now_micros()).with_for_update(read=True, key_share=True))
CLOSE_FLOOR = Statement(select(installation.c.revision_floor).with_for_update())
_STATE_COLUMNS: Final = 4


class Locked:
    """A content as locked: nothing, a tombstone, or a record; and what allocating needs."""

    __slots__ = ("floor", "has_intent", "is_live", "now", "revision", "row", "version")

    def __init__(self, row: Row) -> None:
        self.floor: int = row[0]
        self.now: int = row[1]
        self.has_intent = bool(row[2])
        self.row = row[_STATE_COLUMNS : _STATE_COLUMNS + len(RECORD_COLUMNS)]
        known = self.row[0] is not None
        self.is_live = known and row[3] is None
        """Whether there is a record, perhaps an expired one."""
        self.revision: int | None = self.row[1] if known else None
        self.version: int = self.row[2] if known else 0

    def next_revision(self) -> int:
        """Return a revision above every earlier one of this id, forgotten ones too."""
        return max(self.now, (self.revision or 0) + 1, self.floor + 1)

    def next_version(self, revision: int) -> int:
        """Return a version above every earlier one: also of a forgotten tombstone, whose version raised the floor."""
        return max(self.version + 1, revision)


def lock(connection: Connection, content_id: ContentId, object_key: str | None = None) -> Locked:
    """Lock the content's row, whatever it is, and read what a commit needs: in one statement.

    `object_key` is the object whose own intent the commit needs.
    """
    row = connection.first(LOCK, {"content_id": content_id, "object_key": object_key})
    if row is not None and row[_STATE_COLUMNS] is None:
        row = (*kept_floor(connection, row[:2]), *row[2:])
    if row is None:
        raise floor_lost()
    return Locked(row)


def kept_floor(connection: Connection, seen: Row) -> Row:
    """Return the revision floor, which stays until this transaction ends, and the database's time.

    A creation needs it. The statement that waited for a row in vain has seen the floor as it was before it waited:
    the row may have been a tombstone, and its revision may be in the floor by now.
    """
    if not connection.has_rivals:
        return seen
    row = connection.first(KEEP_FLOOR, {})
    if row is None:
        raise floor_lost()
    return row


def floor_lost() -> UnavailableError:
    """Return the error of a catalog without its one row."""
    return UnavailableError("the catalog has lost its installation row; restore a backup")
