"""The commits of moves: tiers changed in batches where the object stays, and the switch to a finished copy.

A batch is a few statements however many contents it has: each compares and sets, and what was set is then booked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, delete, false, insert, null, or_, select, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.announcing import ANNOUNCE_LISTED, announce
from thermocline.adapters.catalog.commits import END_INTENT, Moments
from thermocline.adapters.catalog.dialects import (
    ZERO,
    flag_cell,
    integer_cell,
    listed_rows,
    listed_texts,
    rows_parameter,
    text_cell,
    texts_parameter,
)
from thermocline.adapters.catalog.locking import lock
from thermocline.adapters.catalog.queueing import QUEUE_LISTED_INVALIDATIONS, queue_deletion, queue_invalidation
from thermocline.adapters.catalog.record_rows import record_of
from thermocline.adapters.catalog.schema import contents, is_live, ledger, moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import IntentLostError
from thermocline.domain.moves import PlannedMove, TierChange, TierChanged
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Timestamp
from thermocline.ports.moves import CopiedMove
from thermocline.ports.records import Committed

_changes = listed_rows("tier_changes")
CHANGE_TIERS = Statement(
    update(contents)
    .where(
        contents.c.content_id == text_cell(_changes, 0),
        contents.c.revision == integer_cell(_changes, 1),
        contents.c.placement == text_cell(_changes, 2),
        contents.c.tier == text_cell(_changes, 3),
        is_live,
        contents.c.held == false(),
        or_(contents.c.expires_at.is_(None), contents.c.expires_at > bindparam("now")),
        or_(contents.c.pinned == false(), ~flag_cell(_changes, 5)),
    )
    .values(tier=text_cell(_changes, 4), tier_since=bindparam("now"), version=contents.c.version + 1)
    .returning(contents.c.content_id, contents.c.version, contents.c.size)
)
_entries = listed_rows("ledger_entries")
BOOK = Statement(
    insert(ledger).from_select(
        [column.name for column in ledger.c if column.name != "row_id"],
        select(
            text_cell(_entries, 0),
            bindparam("moved_at"),
            *(text_cell(_entries, cell) for cell in (1, 2, 3, 4)),
            integer_cell(_entries, 5),
            flag_cell(_entries, 6),
            text_cell(_entries, 7),
        ),
    )
)
DROP_PLANS = Statement(delete(moves).where(moves.c.content_id.in_(select(listed_texts("content_ids").c.value))))
DROP_CLAIMED = Statement(
    delete(moves).where(moves.c.content_id == bindparam("content_id"), moves.c.lease_token == bindparam("token"))
)
SWITCH_TO_COPY = Statement(
    update(contents)
    .where(contents.c.content_id == bindparam("content_id"))
    .values({name: bindparam(name) for name in ("version", "placement", "object_key", "tier", "tier_since")})
)

_plans = listed_rows("planned_moves")
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
    )
    .select_from(_plans.join(contents, contents.c.content_id == text_cell(_plans, 0)))
    .where(is_live, contents.c.held == false(), or_(contents.c.pinned == false(), ~flag_cell(_plans, 3))),
)
PLAN = Statement(
    _plan.on_conflict_do_update(
        index_elements=[moves.c.content_id],
        set_={column.name: _plan.excluded[column.name] for column in moves.c if column.name != "content_id"},
        # The same wish again leaves whoever works on it alone.
        where=moves.c.tier != _plan.excluded.tier,
    )
)
PLANNED = Statement(
    select(moves.c.content_id)
    .select_from(_plans.join(moves, moves.c.content_id == text_cell(_plans, 0)))
    .where(moves.c.tier == text_cell(_plans, 1))
)

_SIZE: Final = 2


def change_tiers(
    connection: Connection, changes: Sequence[TierChange], now: Timestamp, evict_at: Timestamp
) -> list[TierChanged]:
    """Do what `Moves.change_tiers` promises."""
    by_id = {change.content_id: change for change in sorted(changes, key=lambda change: change.content_id)}
    rows = connection.all(
        CHANGE_TIERS,
        {"tier_changes": rows_parameter(_row_of(change) for change in by_id.values()), "now": now},
    )
    if not rows:
        return []
    made = [(by_id[row[0]], row) for row in rows]
    _book(
        connection,
        now,
        (
            (
                change.content_id,
                change.from_tier.value,
                change.to_tier.value,
                change.placement,
                change.placement,
                row[_SIZE],
                int(change.by_policy),
                change.reason,
            )
            for change, row in made
        ),
    )
    versions = rows_parameter((row[0], row[1]) for row in rows)
    connection.change(DROP_PLANS, {"content_ids": texts_parameter(row[0] for row in rows)})
    connection.change(ANNOUNCE_LISTED, {"listed_versions": versions, "committed_at": now})
    cooled = [row for change, row in made if change.from_tier is StorageTier.HOT]
    if cooled:
        connection.change(
            QUEUE_LISTED_INVALIDATIONS,
            {"listed_versions": rows_parameter((row[0], row[1]) for row in cooled), "due_at": evict_at},
        )
    return [TierChanged(ContentId(row[0]), row[1]) for row in rows]


def plan_moves(connection: Connection, plans: Sequence[PlannedMove], now: Timestamp) -> list[ContentId]:
    """Do what `Moves.plan` promises."""
    by_id = {plan.content_id: plan for plan in sorted(plans, key=lambda plan: plan.content_id)}
    parameter = rows_parameter(
        (plan.content_id, plan.tier.value, plan.reason, int(plan.by_policy)) for plan in by_id.values()
    )
    connection.change(PLAN, {"planned_moves": parameter, "now": now})
    return [ContentId(row[0]) for row in connection.all(PLANNED, {"planned_moves": parameter})]


def commit_move(connection: Connection, move: CopiedMove, moments: Moments) -> Committed | None:
    """Do what `Moves.commit_move` promises."""
    source, plan = move.source, move.claim.plan
    state = lock(connection, source.content_id, move.object_key)
    if not state.is_live or not state.has_intent:
        return None
    current = record_of(state.row)
    if not _is_as_copied(current, source) or (plan.by_policy and current.pinned):
        return None
    if not connection.change(DROP_CLAIMED, {"content_id": source.content_id, "token": move.claim.lease_token}):
        return None
    if not connection.change(END_INTENT, {"object_key": move.object_key}):
        # Condemned since it was locked: raising undoes what was done above.
        raise IntentLostError(f"the copy {move.object_key!r} was given up before its commit; nothing was moved")
    version = state.version + 1
    connection.change(
        SWITCH_TO_COPY,
        {
            "content_id": source.content_id,
            "version": version,
            "placement": move.placement,
            "object_key": move.object_key,
            "tier": plan.tier.value,
            "tier_since": moments.now,
        },
    )
    moved = _moved(current, move, version, moments.now)
    queue_deletion(connection, current.object_key, current.placement, due_at=moments.delete_at)
    if current.tier is StorageTier.HOT:
        queue_invalidation(connection, moved, hard=False, due_at=moments.evict_at)
    _book(
        connection,
        moments.now,
        [
            (
                source.content_id,
                current.tier.value,
                plan.tier.value,
                current.placement,
                move.placement,
                current.size,
                int(plan.by_policy),
                plan.reason,
            )
        ],
    )
    announce(connection, source.content_id, version, now=moments.now)
    return Committed(moved, created=False)


def _row_of(change: TierChange) -> tuple[str | int, ...]:
    return (
        change.content_id,
        change.revision,
        change.placement,
        change.from_tier.value,
        change.to_tier.value,
        int(change.by_policy),
    )


def _book(connection: Connection, now: Timestamp, entries: Iterable[Sequence[Any]]) -> None:
    connection.change(BOOK, {"ledger_entries": rows_parameter(entries), "moved_at": now})


def _is_as_copied(current: Record, source: Record) -> bool:
    return (
        not current.held
        and current.revision == source.revision
        and current.object_key == source.object_key
        and current.tier is source.tier
    )


def _moved(current: Record, move: CopiedMove, version: int, now: Timestamp) -> Record:
    return replace(
        current,
        version=version,
        placement=move.placement,
        object_key=move.object_key,
        tier=move.claim.plan.tier,
        tier_since=now,
    )
