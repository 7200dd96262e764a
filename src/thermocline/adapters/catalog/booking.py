"""What a commit does for every move that it made: a ledger entry, an announcement, an invalidation of what cooled.

All of them read one list that travels once, however many moves there are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, insert, select
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import TableValuedAlias

from thermocline.adapters.catalog.announcing import ANNOUNCE_LISTED
from thermocline.adapters.catalog.dialects import (
    flag_cell,
    integer_cell,
    listed_rows,
    real_cell,
    rows_parameter,
    text_cell,
)
from thermocline.adapters.catalog.queueing import QUEUE_LISTED_INVALIDATIONS
from thermocline.adapters.catalog.schema import ledger
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp


class Made(NamedTuple):
    """One move. Id and version come first: announcements and invalidations read only those."""

    content_id: ContentId
    version: int
    """As committed."""
    size: Bytes
    from_tier: StorageTier
    to_tier: StorageTier
    from_placement: str
    to_placement: str
    by_policy: int
    reason: str
    saving_usd_per_month: float | None
    cost_usd: float | None
    storage_reads: int
    """The content's, up to the move."""


_CELL_OF: Final[Mapping[str, Callable[[TableValuedAlias, int], ColumnElement[Any]]]] = {
    "size": integer_cell,
    "by_policy": flag_cell,
    "saving_usd_per_month": real_cell,
    "cost_usd": real_cell,
    "storage_reads": integer_cell,
}
_made = listed_rows("ledger_entries")
_CELLS: Final = {
    name: _CELL_OF.get(name, text_cell)(_made, cell) for cell, name in enumerate(Made._fields) if name != "version"
}
BOOK = Statement(insert(ledger).from_select([*_CELLS, "moved_at"], select(*_CELLS.values(), bindparam("moved_at"))))


def book(connection: Connection, moves: Sequence[Made], now: Timestamp, evict_at: Timestamp) -> None:
    """Write the ledger, tell all processes, and promise to evict what left HOT."""
    made = rows_parameter(moves)
    connection.change(BOOK, {"ledger_entries": made, "moved_at": now})
    connection.change(ANNOUNCE_LISTED, {"listed_versions": made, "committed_at": now})
    cooled = [move[:2] for move in moves if move.from_tier is StorageTier.HOT and move.to_tier is not StorageTier.HOT]
    if cooled:
        connection.change(QUEUE_LISTED_INVALIDATIONS, {"listed_versions": rows_parameter(cooled), "due_at": evict_at})
