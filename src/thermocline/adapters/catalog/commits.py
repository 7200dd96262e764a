"""The commits of records, each a plain function over a connection in a write transaction.

1. One statement locks the row and reads it, the revision floor, the database's time and the write's own intent.
2. All checks are made: condition, hold, intent. A refusal has changed nothing.
3. The row is switched, the intent dropped, the outbox filled, the change announced.
Where another transaction creates the row between 1 and 3 (not on SQLite: its writers take turns) 1 is repeated.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, delete, exists, false, null, select, true, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.announcing import announce
from thermocline.adapters.catalog.dialects import now_micros
from thermocline.adapters.catalog.queueing import queue_deletion, queue_invalidation
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, metadata_text, record_of, row_of
from thermocline.adapters.catalog.schema import contents, installation, intents
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row
from thermocline.domain.content import Changes, Condition, Record, Visibility, etag_of, merge_metadata
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError, IntentLostError, PreconditionFailedError, UnavailableError
from thermocline.domain.units import Timestamp
from thermocline.ports.records import Committed, Write

_LOCK_ATTEMPTS: Final = 10


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


_LOCK = Statement(_lock_clause())
_STATE_COLUMNS: Final = 4
_CREATE = Statement(
    postgresql.insert(contents)
    .values({column.name: bindparam(column.name) for column in contents.c if column.name != "deleted_at"})
    .on_conflict_do_nothing(index_elements=[contents.c.content_id])
)
_KEEPS: Final = frozenset({"content_id", "deleted_at"})
_SWITCH = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({column.name: bindparam(column.name) for column in contents.c if column.name not in _KEEPS})
    .values(deleted_at=null())
)
_CHANGE = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({name: bindparam(name) for name in ("version", "metadata", "visibility", "expires_at", "held")})
)
_STAYS_IN_TOMBSTONE: Final = frozenset({"content_id", "revision", "version", "deleted_at", "held"})
_BURY = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({column.name: null() for column in contents.c if column.name not in _STAYS_IN_TOMBSTONE})
    .values({name: bindparam(name) for name in ("revision", "version", "deleted_at")})
    .values(held=false())
)
_END_INTENT = Statement(
    delete(intents).where(and_(intents.c.object_key == bindparam("object_key"), intents.c.condemned == false()))
)


@dataclass(frozen=True, slots=True)
class Moments:
    """The times that a commit needs."""

    now: Timestamp
    """The injected clock's."""
    delete_at: Timestamp
    evict_at: Timestamp


class _State:
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


def commit_write(connection: Connection, write: Write, moments: Moments) -> Committed:
    """Do what `Records.commit_write` promises."""
    for _ in range(_LOCK_ATTEMPTS):
        state = _lock(connection, write.content_id, write.object_key)
        old = record_of(state.row) if state.is_live else None
        alive = old is not None and old.is_alive(moments.now)
        _check_condition(write.content_id, write.condition, old if alive else None)
        _check_hold(old)
        if not state.has_intent:
            raise _intent_lost(write.object_key)
        record = _written(write, state, old if alive else None, moments.now)
        if not connection.change(_CREATE if state.revision is None else _SWITCH, row_of(record)):
            continue
        if not connection.change(_END_INTENT, {"object_key": write.object_key}):
            raise _intent_lost(write.object_key)
        if old is not None:
            queue_deletion(connection, old.object_key, old.placement, due_at=moments.delete_at)
        if state.revision is not None:
            queue_invalidation(
                connection, record, hard=old is not None and _turns_private(old, record), due_at=moments.evict_at
            )
        announce(connection, record.content_id, record.version, now=moments.now)
        return Committed(record, created=not alive)
    raise UnavailableError(f"content {write.content_id!r} is created by too many at once; try again")


def commit_delete(
    connection: Connection,
    content_id: ContentId,
    condition: Condition,
    moments: Moments,
    *,
    only_expired: bool,
) -> Committed | None:
    """Do what `Records.commit_delete` promises."""
    state = _lock(connection, content_id)
    old = record_of(state.row) if state.is_live else None
    alive = old is not None and old.is_alive(moments.now)
    _check_condition(content_id, condition, old if alive else None)
    if old is None or (only_expired and alive):
        return None
    _check_hold(old)
    revision = state.next_revision()
    version = state.next_version(revision)
    connection.change(
        _BURY, {"content_id": content_id, "revision": revision, "version": version, "deleted_at": moments.now}
    )
    deleted = replace(old, version=version)
    queue_deletion(connection, old.object_key, old.placement, due_at=moments.delete_at)
    queue_invalidation(connection, deleted, hard=True, due_at=moments.evict_at)
    announce(connection, content_id, version, now=moments.now)
    return Committed(deleted, created=not alive)


def commit_changes(
    connection: Connection, content_id: ContentId, changes: Changes, condition: Condition, moments: Moments
) -> Committed | None:
    """Do what `Records.commit_changes` promises."""
    state = _lock(connection, content_id)
    old = record_of(state.row) if state.is_live else None
    if old is None or not old.is_alive(moments.now):
        return None
    _check_condition(content_id, condition, old)
    record = _changed(old, changes, version=state.version + 1)
    if old.held and record.held and _ends_earlier(old, record):
        raise ContentHeldError(content_id)
    connection.change(
        _CHANGE,
        {
            "content_id": content_id,
            "version": record.version,
            "metadata": metadata_text(record.metadata),
            "visibility": record.visibility.value,
            "expires_at": record.expires_at,
            "held": record.held,
        },
    )
    queue_invalidation(connection, record, hard=_turns_private(old, record), due_at=moments.evict_at)
    announce(connection, content_id, record.version, now=moments.now)
    return Committed(record, created=False)


def _lock(connection: Connection, content_id: ContentId, object_key: str | None = None) -> _State:
    row = connection.first(_LOCK, {"content_id": content_id, "object_key": object_key})
    if row is None:
        raise UnavailableError("the catalog has lost its installation row; restore a backup")
    return _State(row)


def _check_condition(content_id: ContentId, condition: Condition, current: Record | None) -> None:
    revision = None if current is None else current.revision
    if not condition.holds_for(revision):
        raise PreconditionFailedError(content_id, current_etag=None if revision is None else etag_of(revision))


def _check_hold(record: Record | None) -> None:
    # A held content exists until the hold is released, expired or not.
    if record is not None and record.held:
        raise ContentHeldError(record.content_id)


def _intent_lost(object_key: str) -> IntentLostError:
    return IntentLostError(
        f"the upload of {object_key!r} was given up before its commit; nothing was stored; try again"
    )


def _turns_private(old: Record, new: Record) -> bool:
    return old.visibility is Visibility.PUBLIC and new.visibility is Visibility.PRIVATE


def _ends_earlier(old: Record, new: Record) -> bool:
    return new.expires_at is not None and (old.expires_at is None or new.expires_at < old.expires_at)


def _written(write: Write, state: _State, old: Record | None, now: Timestamp) -> Record:
    revision = state.next_revision()
    return Record(
        content_id=write.content_id,
        revision=revision,
        version=state.next_version(revision),
        placement=write.placement,
        object_key=write.object_key,
        digest=write.digest,
        chunk_digests=write.chunk_digests,
        size=write.size,
        headers=write.headers,
        metadata=write.metadata,
        tier=write.tier,
        tier_since=old.tier_since if old is not None and old.tier is write.tier else now,
        visibility=write.visibility,
        created_at=now if old is None else old.created_at,
        modified_at=now,
        expires_at=write.expires_at,
        held=False,
    )


def _changed(old: Record, changes: Changes, *, version: int) -> Record:
    expires_at = old.expires_at if changes.expires_at is None else changes.expires_at
    return replace(
        old,
        version=version,
        metadata=old.metadata if changes.metadata is None else merge_metadata(old.metadata, changes.metadata),
        visibility=old.visibility if changes.visibility is None else changes.visibility,
        expires_at=None if changes.never_expires else expires_at,
        held=old.held if changes.held is None else changes.held,
    )
