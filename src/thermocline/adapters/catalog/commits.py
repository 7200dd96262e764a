"""The commits of records, each a plain function over a connection in a write transaction.

1. One statement locks the row and reads it, the revision floor, the database's time and the write's own intent.
2. All checks are made: condition, hold, intent. A refusal has changed nothing.
3. The row is switched, the intent dropped, the outbox filled, the change announced.
Where another transaction creates the row between 1 and 3 (not on SQLite: its writers take turns) 1 is repeated.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, false, literal_column, null, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.adopted_objects import note_adoption
from thermocline.adapters.catalog.announcing import announce
from thermocline.adapters.catalog.locking import Locked, lock
from thermocline.adapters.catalog.queueing import queue_deletion, queue_invalidation
from thermocline.adapters.catalog.record_rows import metadata_text, record_of, row_of
from thermocline.adapters.catalog.schema import SUMMARY_COLUMNS, contents, intents, moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Changes, Condition, Record, Visibility, etag_of, merge_metadata
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError, IntentLostError, PreconditionFailedError, UnavailableError
from thermocline.domain.units import Timestamp
from thermocline.ports.records import Committed, Write

_LOCK_ATTEMPTS: Final = 10


_KEEPS: Final = frozenset({"content_id", "deleted_at", *(column.name for column in SUMMARY_COLUMNS)})
CREATE = Statement(
    postgresql.insert(contents)
    .values(
        {column.name: bindparam(column.name) for column in contents.c if column.name not in _KEEPS - {"content_id"}}
    )
    .on_conflict_do_nothing(index_elements=[contents.c.content_id])
)
_SWITCH = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({column.name: bindparam(column.name) for column in contents.c if column.name not in _KEEPS})
    .values(deleted_at=null())
)
_CHANGE = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({name: bindparam(name) for name in ("version", "metadata", "visibility", "expires_at", "held", "pinned")})
)
_FALSE: Final = ("held", "pinned", "unproven")
_ZEROED: Final = tuple(column.name for column in SUMMARY_COLUMNS if not column.nullable)
_STAYS_IN_TOMBSTONE: Final = frozenset({"content_id", "revision", "version", "deleted_at", *_FALSE, *_ZEROED})
_BURY = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({column.name: null() for column in contents.c if column.name not in _STAYS_IN_TOMBSTONE})
    .values({name: bindparam(name) for name in ("revision", "version", "deleted_at")})
    .values({name: false() for name in _FALSE})
    .values({name: literal_column("0") for name in _ZEROED})
)
END_INTENT = Statement(
    delete(intents).where(and_(intents.c.object_key == bindparam("object_key"), intents.c.condemned == false()))
)
DROP_PLAN = Statement(delete(moves).where(moves.c.content_id == bindparam("content_id")))


@dataclass(frozen=True, slots=True)
class Moments:
    """The times that a commit needs."""

    now: Timestamp
    """The injected clock's."""
    delete_at: Timestamp
    evict_at: Timestamp


class CheckedWrite(NamedTuple):
    """A write that may be made: nothing was changed yet."""

    state: Locked
    old: Record | None
    """What it replaces, expired or not."""
    committed: Committed

    @property
    def record(self) -> Record:
        """The record to come."""
        return self.committed.record


def commit_write(connection: Connection, write: Write, moments: Moments) -> Committed:
    """Do what `Records.commit_write` promises."""
    for _ in range(_LOCK_ATTEMPTS):
        state = lock(connection, write.content_id, write.object_key)
        checked = check_write(state, write, moments)
        if state.revision is None:
            if not put_record(connection, state, checked.record):
                continue
        else:
            switch_record(connection, checked, moments)
        if not connection.change(END_INTENT, {"object_key": write.object_key}):
            raise intent_lost(write.object_key)
        if write.adopted is not None:
            note_adoption(connection, write, write.adopted)
        announce(connection, write.content_id, checked.record.version, now=moments.now)
        return checked.committed
    raise UnavailableError(f"content {write.content_id!r} is created by too many at once; try again")


def check_write(state: Locked, write: Write, moments: Moments) -> CheckedWrite:
    """Return what the write makes of the content as it was locked. Raises if it is refused."""
    old = record_of(state.row) if state.is_live else None
    alive = old is not None and old.is_alive(moments.now)
    _check_condition(write.content_id, write.condition, old if alive else None)
    _check_hold(old)
    if not state.has_intent:
        raise intent_lost(write.object_key)
    record = _written(write, state, old if alive else None, moments.now)
    return CheckedWrite(state, old, Committed(record, created=not alive))


def switch_record(connection: Connection, checked: CheckedWrite, moments: Moments) -> None:
    """Write the record over the row that was locked, and queue what must follow."""
    state, old, record = checked.state, checked.old, checked.record
    put_record(connection, state, record)
    if old is not None:
        queue_deletion(connection, old.object_key, old.placement, due_at=moments.delete_at)
        # New bytes came with a tier of their own: that is the latest wish.
        connection.change(DROP_PLAN, {"content_id": record.content_id})
    hard = old is not None and turns_private(old, record)
    queue_invalidation(connection, record, hard=hard, due_at=moments.evict_at)


def commit_delete(
    connection: Connection,
    content_id: ContentId,
    condition: Condition,
    moments: Moments,
    *,
    only_expired: bool,
) -> Committed | None:
    """Do what `Records.commit_delete` promises."""
    state = lock(connection, content_id)
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
    connection.change(DROP_PLAN, {"content_id": content_id})
    deleted = replace(old, version=version)
    queue_deletion(connection, old.object_key, old.placement, due_at=moments.delete_at)
    queue_invalidation(connection, deleted, hard=True, due_at=moments.evict_at)
    announce(connection, content_id, version, now=moments.now)
    return Committed(deleted, created=not alive)


def commit_changes(
    connection: Connection, content_id: ContentId, changes: Changes, condition: Condition, moments: Moments
) -> Committed | None:
    """Do what `Records.commit_changes` promises."""
    state = lock(connection, content_id)
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
            "pinned": record.pinned,
        },
    )
    queue_invalidation(connection, record, hard=turns_private(old, record), due_at=moments.evict_at)
    announce(connection, content_id, record.version, now=moments.now)
    return Committed(record, created=False)


def put_record(connection: Connection, state: Locked, record: Record) -> bool:
    """Make `record` the row that was locked; False if another transaction has made a row there meanwhile."""
    return connection.change(CREATE if state.revision is None else _SWITCH, row_of(record)) > 0


def _check_condition(content_id: ContentId, condition: Condition, current: Record | None) -> None:
    revision = None if current is None else current.revision
    if not condition.holds_for(revision):
        raise PreconditionFailedError(content_id, current_etag=None if revision is None else etag_of(revision))


def _check_hold(record: Record | None) -> None:
    # A held content exists until the hold is released, expired or not.
    if record is not None and record.held:
        raise ContentHeldError(record.content_id)


def intent_lost(object_key: str) -> IntentLostError:
    """Return the error of a write whose intent is gone."""
    return IntentLostError(
        f"the upload of {object_key!r} was given up before its commit; nothing was stored; try again"
    )


def turns_private(old: Record, new: Record) -> bool:
    """Whether copies that anyone may read must go."""
    return old.visibility is Visibility.PUBLIC and new.visibility is Visibility.PRIVATE


def _ends_earlier(old: Record, new: Record) -> bool:
    return new.expires_at is not None and (old.expires_at is None or new.expires_at < old.expires_at)


def _written(write: Write, state: Locked, old: Record | None, now: Timestamp) -> Record:
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
        pinned=old is not None and old.pinned,
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
        pinned=old.pinned if changes.pinned is None else changes.pinned,
    )
