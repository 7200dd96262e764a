"""Adding rows to the outbox inside the commit that promises the work."""

from sqlalchemy import bindparam, false, insert, literal, null, select

from thermocline.adapters.catalog.dialects import ZERO, integer_cell, listed_rows, text_cell
from thermocline.adapters.catalog.schema import outbox
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Record
from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind

_QUEUE = Statement(
    insert(outbox).values(
        **{name: bindparam(name) for name in ("kind", "subject", "placement", "version", "hard", "due_at")},
        second_pass=false(),
        attempts=ZERO,
        lease_until=ZERO,
        lease_token=null(),
        dead=false(),
        reason=null(),
    )
)

_listed = listed_rows("listed_versions")
QUEUE_LISTED_INVALIDATIONS = Statement(
    insert(outbox).from_select(
        ["kind", "subject", "version", "due_at", "hard", "second_pass", "attempts", "lease_until", "dead"],
        select(
            literal(OutboxKind.INVALIDATE.value),
            text_cell(_listed, 0),
            integer_cell(_listed, 1),
            bindparam("due_at"),
            false(),
            false(),
            ZERO,
            ZERO,
            false(),
        ),
    )
)
"""Soft invalidations of many: rows of content id and version."""


def queue_deletion(connection: Connection, object_key: str, placement: str, *, due_at: Timestamp) -> None:
    """Promise to delete an object that no record names any more."""
    connection.change(
        _QUEUE,
        {
            "kind": OutboxKind.DELETE_OBJECT.value,
            "subject": object_key,
            "placement": placement,
            "version": None,
            "hard": False,
            "due_at": due_at,
        },
    )


def queue_invalidation(connection: Connection, record: Record, *, hard: bool, due_at: Timestamp) -> None:
    """Promise to evict, announce and purge everything of the content that is older than `record`."""
    connection.change(
        _QUEUE,
        {
            "kind": OutboxKind.INVALIDATE.value,
            "subject": record.content_id,
            "placement": None,
            "version": record.version,
            "hard": hard,
            "due_at": due_at,
        },
    )
