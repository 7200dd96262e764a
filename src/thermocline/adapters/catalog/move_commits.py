"""Planning copying moves, and the commit that switches a record to a finished copy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, false, literal_column, null, or_, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from thermocline.adapters.catalog.booking import Made, book
from thermocline.adapters.catalog.commits import DROP_PLAN, END_INTENT, Moments
from thermocline.adapters.catalog.dialects import (
    ZERO,
    flag_cell,
    is_listed,
    listed_rows,
    plain_text,
    real_cell,
    rows_parameter,
    text_cell,
    texts_parameter,
)
from thermocline.adapters.catalog.forecasts import cells_of
from thermocline.adapters.catalog.locking import lock
from thermocline.adapters.catalog.queueing import queue_deletion
from thermocline.adapters.catalog.record_rows import record_of
from thermocline.adapters.catalog.schema import contents, is_live, moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import GIVEN_UP, PlannedMove
from thermocline.domain.units import Timestamp
from thermocline.ports.moves import CopiedMove
from thermocline.ports.records import Committed

CLAIMED_PLAN = Statement(
    select(
        moves.c.by_policy,
        moves.c.reason,
        moves.c.saving_usd_per_month,
        moves.c.cost_usd,
        select(contents.c.storage_reads).where(contents.c.content_id == moves.c.content_id).scalar_subquery(),
    )
    .where(moves.c.content_id == bindparam("content_id"), moves.c.lease_token == bindparam("token"))
    .with_for_update()
)
SWITCH_TO_COPY = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values(
        {name: bindparam(name) for name in ("version", "placement", "object_key", "tier", "tier_since", "placed_at")}
    )
)

_plans = listed_rows("planned_moves")
_PLANS_OF_CONTENTS: Final = _plans.join(contents, contents.c.content_id == text_cell(_plans, 0))
_may_move: Final = (
    is_live,
    contents.c.held == false(),
    or_(contents.c.expires_at.is_(None), contents.c.expires_at > bindparam("now")),
    or_(contents.c.pinned == false(), ~flag_cell(_plans, 3)),
)
_plan = postgresql.insert(moves).from_select(
    [column.name for column in moves.c],
    select(
        text_cell(_plans, 0),
        text_cell(_plans, 1),
        text_cell(_plans, 2),
        flag_cell(_plans, 3),
        bindparam("now"),
        bindparam("now"),
        ZERO,
        ZERO,
        null(),
        null(),
        real_cell(_plans, 4),
        real_cell(_plans, 5),
    )
    .select_from(_PLANS_OF_CONTENTS)
    .where(*_may_move),
)
_is_same_wish: Final = moves.c.tier == _plan.excluded.tier
_is_asked_for: Final = _plan.excluded.by_policy == false()
_was_policys: Final = moves.c.by_policy == true()
_is_given_up: Final = moves.c.due_at >= literal_column(str(GIVEN_UP))


def _replaced(name: str) -> ColumnElement[Any]:
    if name in {"tier", "reason", "by_policy", "saving_usd_per_month", "cost_usd"}:
        return _plan.excluded[name]
    # The same wish again leaves whoever works on it alone. What was given up, nobody works on.
    return case((and_(_is_same_wish, ~_is_given_up), moves.c[name]), else_=_plan.excluded[name])


PLAN = Statement(
    _plan.on_conflict_do_update(
        index_elements=[moves.c.content_id],
        set_={column.name: _replaced(column.name) for column in moves.c if column.name != "content_id"},
        # A policy's wish never replaces somebody's, nor does the same wish from the same side.
        where=or_(
            and_(_is_asked_for, or_(_was_policys, _is_given_up)),
            and_(~_is_same_wish, or_(_is_asked_for, _was_policys)),
        ),
    )
)
KEEP_CONTENTS = Statement(
    select(contents.c.content_id)
    .where(is_listed(contents.c.content_id, "content_ids"))
    .order_by(contents.c.content_id)
    .with_for_update(read=True)
)
PLANNED = Statement(
    select(moves.c.content_id)
    .select_from(_PLANS_OF_CONTENTS.join(moves, moves.c.content_id == text_cell(_plans, 0)))
    .where(moves.c.tier == text_cell(_plans, 1), *_may_move)
)


def plan_moves(connection: Connection, plans: Sequence[PlannedMove], now: Timestamp) -> list[ContentId]:
    """Do what `Moves.plan` promises."""
    by_id = {plan.content_id: plan for plan in plans}
    # In order of the ids, so that two batches never wait for each other in a circle.
    listed = rows_parameter(
        (plan.content_id, plan.tier.value, plain_text(plan.reason), int(plan.by_policy), *cells_of(plan.forecast))
        for _, plan in sorted(by_id.items())
    )
    parameters = {"planned_moves": listed, "now": now}
    if connection.has_rivals:
        # A plan ends with its content: one that is just deleted or replaced must not get it afterwards.
        connection.all(KEEP_CONTENTS, {"content_ids": texts_parameter(sorted(by_id))})
    connection.change(PLAN, parameters)
    return [ContentId(row[0]) for row in connection.all(PLANNED, parameters)]


def commit_move(connection: Connection, move: CopiedMove, moments: Moments) -> Committed | None:
    """Do what `Moves.commit_move` promises. All is compared before anything changes: a refusal undoes nothing."""
    source, tier = move.source, move.claim.plan.tier
    state = lock(connection, source.content_id, move.object_key)
    if not state.is_live or not state.has_intent:
        return None
    current = record_of(state.row)
    if not _is_as_copied(current, source, moments.now):
        return None
    token = {"content_id": source.content_id, "token": move.claim.lease_token}
    plan = connection.first(CLAIMED_PLAN, token)
    if plan is None:
        return None
    # As the plan is now: what a policy wanted first, somebody may have asked for since.
    by_policy, reason, saving, cost, storage_reads = plan
    if by_policy and current.pinned:
        return None
    if not connection.change(END_INTENT, {"object_key": move.object_key}):
        return None  # condemned since it was looked at
    connection.change(DROP_PLAN, {"content_id": source.content_id})
    moved = replace(
        current,
        version=state.version + 1,
        placement=move.placement,
        object_key=move.object_key,
        tier=tier,
        tier_since=current.tier_since if current.tier is tier else moments.now,
    )
    connection.change(
        SWITCH_TO_COPY,
        {
            "content_id": source.content_id,
            "version": moved.version,
            "placement": moved.placement,
            "object_key": moved.object_key,
            "tier": tier.value,
            "tier_since": moved.tier_since,
            "placed_at": moments.now,
        },
    )
    queue_deletion(connection, current.object_key, current.placement, due_at=moments.delete_at)
    made = Made(
        source.content_id,
        moved.version,
        current.size,
        current.tier,
        tier,
        current.placement,
        moved.placement,
        int(by_policy),
        reason,
        saving,
        cost,
        storage_reads,
    )
    book(connection, [made], moments.now, moments.evict_at)
    return Committed(moved, created=False)


def _is_as_copied(current: Record, source: Record, now: Timestamp) -> bool:
    return (
        not current.held
        and current.is_alive(now)
        and current.revision == source.revision
        and current.object_key == source.object_key
        and current.tier is source.tier
    )
