"""The commit of an erasure: like a deletion, and nothing that tells of the content stays in the catalog."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, false, func, null, select, update

from thermocline.adapters.catalog.accesses import known_days
from thermocline.adapters.catalog.commits import DROP_PLAN, Moments, commit_delete
from thermocline.adapters.catalog.dialects import (
    ZERO,
    integer_cell,
    is_listed,
    listed_rows,
    rows_parameter,
    texts_parameter,
)
from thermocline.adapters.catalog.schema import (
    access_days,
    adopted,
    found_objects,
    ledger,
    moves,
    names_an_object,
    outbox,
    quarantine,
    restores,
)
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row
from thermocline.domain.content import ALWAYS
from thermocline.domain.content_id import ContentId
from thermocline.domain.keys import TOKEN_LENGTH, ObjectKey
from thermocline.domain.units import Timestamp
from thermocline.ports.records import Erased, ErasedObject

QUEUED_OBJECTS = Statement(
    select(outbox.c.row_id, outbox.c.subject, outbox.c.placement).where(
        names_an_object,
        outbox.c.subject >= bindparam("first"),
        outbox.c.subject < bindparam("end"),
        # Keys of this content, not of those whose ids go on after it.
        func.length(outbox.c.subject) == bindparam("length"),
    )
)
QUARANTINED_OBJECTS = Statement(
    select(quarantine.c.object_key, quarantine.c.placement).where(
        quarantine.c.object_key >= bindparam("first"),
        quarantine.c.object_key < bindparam("end"),
        func.length(quarantine.c.object_key) == bindparam("length"),
    )
)
ADOPTED_OBJECTS = Statement(
    select(outbox.c.row_id, outbox.c.subject, outbox.c.placement)
    .select_from(adopted.join(outbox, outbox.c.subject == adopted.c.object_key))
    .where(adopted.c.content_id == bindparam("content_id"), names_an_object)
)
HURRY = Statement(
    update(outbox)
    .where(outbox.c.row_id.in_(select(integer_cell(listed_rows("row_ids"), 0))))
    # Dead letters are tried again too: what was erased may not stay because a store was down for long.
    .values(due_at=bindparam("due_at"), attempts=ZERO, dead=false(), reason=null())
)
HURRY_QUARANTINED = Statement(
    update(quarantine).where(is_listed(quarantine.c.object_key, "object_keys")).values(delete_at=bindparam("delete_at"))
)
HAS_PLAN = Statement(select(moves.c.content_id).where(moves.c.content_id == bindparam("content_id")))
DROP_RESTORES = Statement(delete(restores).where(restores.c.content_id == bindparam("content_id")))
DROP_FOUND = Statement(delete(found_objects).where(found_objects.c.content_id == bindparam("content_id")))
DROP_DAYS = Statement(
    delete(access_days).where(
        access_days.c.day.in_(select(integer_cell(listed_rows("days"), 0))),
        access_days.c.content_id == bindparam("content_id"),
    )
)
FORGET_WHOSE = Statement(
    update(ledger).where(ledger.c.content_id == bindparam("whose")).values(content_id=bindparam("nobody"))
)


def commit_erase(connection: Connection, content_id: ContentId, prefixes: Sequence[str], moments: Moments) -> Erased:
    """Do what `Records.commit_erase` promises."""
    planned = connection.all(HAS_PLAN, {"content_id": content_id})
    committed = commit_delete(connection, content_id, ALWAYS, moments, only_expired=False)
    objects = [found for prefix in prefixes for found in _hurry(connection, content_id, prefix, moments.now)]
    parameters = {"content_id": content_id}
    objects += _hurried(connection, connection.all(ADOPTED_OBJECTS, parameters), moments.now)
    connection.change(DROP_PLAN, parameters)
    days = rows_parameter((day,) for day in known_days(connection))
    return Erased(
        committed=committed,
        objects=tuple(objects),
        moves=len(planned),
        restores=connection.change(DROP_RESTORES, parameters),
        access_days=connection.change(DROP_DAYS, {**parameters, "days": days}),
        ledger_entries=connection.change(FORGET_WHOSE, {"whose": content_id, "nobody": ""}),
        found_objects=connection.change(DROP_FOUND, parameters),
    )


def _hurry(connection: Connection, content_id: ContentId, prefix: str, now: Timestamp) -> list[ErasedObject]:
    """Make due now whatever will delete objects under `prefix`; return those objects."""
    # The prefix ends with a slash, which "0" follows.
    bounds = {"first": prefix, "end": prefix[:-1] + "0", "length": len(prefix) + TOKEN_LENGTH}
    queued = [row for row in connection.all(QUEUED_OBJECTS, bounds) if _is_of(row[1], content_id)]
    hurried = _hurried(connection, queued, now)
    kept = [row for row in connection.all(QUARANTINED_OBJECTS, bounds) if _is_of(row[0], content_id)]
    if kept:
        keys = texts_parameter(row[0] for row in kept)
        connection.change(HURRY_QUARANTINED, {"object_keys": keys, "delete_at": now})
    return [*hurried, *(ErasedObject(key, placement) for key, placement in kept)]


def _hurried(connection: Connection, queued: Sequence[Row], now: Timestamp) -> list[ErasedObject]:
    if queued:
        connection.change(HURRY, {"row_ids": rows_parameter((row[0],) for row in queued), "due_at": now})
    return [ErasedObject(key, placement) for _, key, placement in queued]


def _is_of(object_key: str, content_id: ContentId) -> bool:
    parsed = ObjectKey.parse(object_key)
    return parsed is not None and parsed.content_id == content_id
