"""The commit of metadata-only moves: a few statements, however many there are.

1. One statement locks the rows in order of their ids, so that two batches never wait for each other in a circle.
2. Each is compared with what the caller saw. A refusal has changed nothing.
3. One update per target tier, then the books.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, literal_column, select, update

from thermocline.adapters.catalog.booking import Made, book
from thermocline.adapters.catalog.dialects import is_listed, plain_text, texts_parameter
from thermocline.adapters.catalog.forecasts import cells_of
from thermocline.adapters.catalog.schema import contents, has_object, moves, placed_since
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import TierChange, TierChanged
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp

LOCK_LISTED = Statement(
    select(
        contents.c.content_id,
        contents.c.version,
        contents.c.size,
        contents.c.revision,
        contents.c.placement,
        contents.c.tier,
        contents.c.held,
        contents.c.pinned,
        contents.c.expires_at,
        contents.c.storage_reads,
    )
    .where(is_listed(contents.c.content_id, "content_ids"), has_object)
    .order_by(contents.c.content_id)
    .with_for_update()
)
ANY_PLAN = Statement(select(moves.c.content_id).limit(literal_column("1")))
PLANS = Statement(select(moves.c.content_id, moves.c.by_policy).where(is_listed(moves.c.content_id, "content_ids")))
DROP_PLANS = Statement(delete(moves).where(is_listed(moves.c.content_id, "content_ids")))
SET_TIER = Statement(
    update(contents)
    .where(is_listed(contents.c.content_id, "content_ids"))
    .values(
        tier=bindparam("to_tier"),
        tier_since=bindparam("now"),
        placed_at=placed_since,
        version=contents.c.version + literal_column("1"),
    )
)


def change_tiers(
    connection: Connection, changes: Sequence[TierChange], now: Timestamp, evict_at: Timestamp
) -> list[TierChanged]:
    """Do what `Moves.change_tiers` promises."""
    wanted = {change.content_id: change for change in changes}
    ids = texts_parameter(sorted(wanted))
    rows = connection.all(LOCK_LISTED, {"content_ids": ids})
    plans = _plans(connection, ids)
    made = [
        move
        for row in rows
        if (move := _made(row, wanted[row[0]], now, asked_for=plans.get(row[0]) is False)) is not None
    ]
    for tier in StorageTier:
        moved = [move.content_id for move in made if move.to_tier is tier]
        if moved:
            connection.change(SET_TIER, {"content_ids": texts_parameter(moved), "to_tier": tier.value, "now": now})
    if made:
        planned = [move.content_id for move in made if move.content_id in plans]
        if planned:
            connection.change(DROP_PLANS, {"content_ids": texts_parameter(planned)})
        book(connection, made, now, evict_at)
    return [TierChanged(move.content_id, move.version) for move in made]


def _plans(connection: Connection, ids: str) -> Mapping[str, bool]:
    """Return which of the contents have a plan, and whether a policy's."""
    # Most batches run while nothing at all is planned.
    if connection.first(ANY_PLAN, {}) is None:
        return {}
    return {row[0]: bool(row[1]) for row in connection.all(PLANS, {"content_ids": ids})}


def _made(row: Row, change: TierChange, now: Timestamp, *, asked_for: bool) -> Made | None:
    content_id, version, size, revision, placement, tier, held, pinned, expires_at, storage_reads = row
    if (
        held
        or revision != change.revision
        or placement != change.placement
        or tier != change.from_tier.value
        or change.to_tier is change.from_tier
        or (expires_at is not None and expires_at <= now)
        or (change.by_policy and (pinned or asked_for))
    ):
        return None
    return Made(
        ContentId(content_id),
        version + 1,
        Bytes(size),
        change.from_tier,
        change.to_tier,
        placement,
        placement,
        int(change.by_policy),
        plain_text(change.reason),
        *cells_of(change.forecast),
        storage_reads,
    )
