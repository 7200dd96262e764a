"""Adding rows to the outbox inside the commit that promises the work."""

from sqlalchemy import Integer, bindparam, false, insert, literal_column, null

from thermocline.adapters.catalog.schema import outbox
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Record
from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind

_ZERO = literal_column("0", Integer)
_QUEUE = Statement(
    insert(outbox).values(
        **{name: bindparam(name) for name in ("kind", "subject", "placement", "version", "hard", "due_at")},
        second_pass=false(),
        attempts=_ZERO,
        lease_until=_ZERO,
        lease_token=null(),
        dead=false(),
        reason=null(),
    )
)


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
