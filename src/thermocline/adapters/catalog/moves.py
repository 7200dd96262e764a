"""`Moves` in SQL."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, literal_column, null, select, update

from thermocline.adapters.catalog.claims import NO_LEASE, micros, new_lease_token
from thermocline.adapters.catalog.commits import DROP_PLAN, Moments
from thermocline.adapters.catalog.dialects import ZERO, now_micros, plain_text
from thermocline.adapters.catalog.forecasts import forecast_of
from thermocline.adapters.catalog.ledger_entries import ENTRY, entry_of
from thermocline.adapters.catalog.move_commits import commit_move, plan_moves
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import ledger, moves
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.tier_changes import change_tiers
from thermocline.adapters.catalog.transactions import Row, Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import GIVEN_UP, ClaimedMove, LedgerEntry, PlannedMove, TierChange, TierChanged
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.moves import CopiedMove, Moves, MovesState
from thermocline.ports.records import Committed

_is_free = moves.c.lease_until <= now_micros()
_due = (
    select(moves.c.content_id)
    .where(moves.c.due_at <= bindparam("now"), _is_free)
    .order_by(moves.c.due_at, moves.c.content_id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")  # computed once, whatever the plan: a subquery that locks may run again, and take more than its limit
)
_CLAIMED: Final[dict[str, Any]] = {
    "lease_token": bindparam("token"),
    "lease_until": now_micros() + bindparam("lease"),
    "attempts": moves.c.attempts + literal_column("1"),
}
_PLAN: Final = (
    moves.c.due_at,
    moves.c.content_id,
    moves.c.tier,
    moves.c.reason,
    moves.c.by_policy,
    moves.c.attempts,
    moves.c.lease_token,
    moves.c.saving_usd_per_month,
    moves.c.cost_usd,
    moves.c.planned_at,
)
CLAIM = Statement(
    update(moves).where(moves.c.content_id.in_(select(_due.c.content_id))).values(_CLAIMED).returning(*_PLAN)
)
CLAIM_ONE = Statement(
    update(moves).where(moves.c.content_id == bindparam("subject"), _is_free).values(_CLAIMED).returning(*_PLAN)
)
CANCEL_CLAIMED = Statement(
    delete(moves).where(moves.c.content_id == bindparam("content_id"), moves.c.lease_token == bindparam("token"))
)
_is_claimed = (moves.c.content_id == bindparam("subject")) & (moves.c.lease_token == bindparam("token"))
RENEW = Statement(update(moves).where(_is_claimed).values(lease_until=now_micros() + bindparam("lease")))
_GIVEN_BACK: Final[dict[str, Any]] = {
    "due_at": bindparam("due_at"),
    "lease_token": null(),
    "lease_until": literal_column(str(NO_LEASE)),
}
POSTPONE = Statement(update(moves).where(_is_claimed).values(last_error=bindparam("reason"), **_GIVEN_BACK))
WAIT = Statement(update(moves).where(_is_claimed).values(last_error=null(), attempts=ZERO, **_GIVEN_BACK))
LEDGER = Statement(select(*ENTRY).order_by(ledger.c.row_id.desc()).limit(bindparam("most")))
LEDGER_OF = Statement(
    select(*ENTRY)
    .where(ledger.c.content_id == bindparam("content_id"))
    .order_by(ledger.c.row_id.desc())
    .limit(bindparam("most"))
)
_is_given_up = moves.c.due_at >= literal_column(str(GIVEN_UP))
STATE = Statement(
    select(_is_given_up, func.count(), func.count(moves.c.last_error), func.min(moves.c.planned_at)).group_by(
        _is_given_up
    )
)


class SqlMoves(Moves):
    """Plans in the table `moves`, made ones in `ledger`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def change_tiers(
        self, changes: Sequence[TierChange], *, now: Timestamp, evict_at: Timestamp
    ) -> Sequence[TierChanged]:
        """Make metadata-only moves, each by compare-and-set, all in one transaction; return those that were made."""
        if not changes:
            return ()
        return await self._runner.write(partial(change_tiers, changes=changes, now=now, evict_at=evict_at))

    async def plan(self, moves: Sequence[PlannedMove], *, now: Timestamp) -> Sequence[ContentId]:
        """Plan copying moves, in one transaction; return the contents for which there is now such a plan."""
        return await self._runner.write(partial(plan_moves, plans=moves, now=now)) if moves else ()

    async def cancel(self, content_id: ContentId, *, lease_token: str | None = None) -> bool:
        """Drop the plan, with `lease_token` only if its claim still holds; whether there was one."""
        if lease_token is None:
            statement, parameters = DROP_PLAN, {"content_id": str(content_id)}
        else:
            statement, parameters = CANCEL_CLAIMED, {"content_id": content_id, "token": lease_token}
        return await self._runner.write(lambda connection: connection.change(statement, parameters)) > 0

    async def claim(
        self, *, now: Timestamp, lease: Seconds, limit: int, content_id: ContentId | None = None
    ) -> Sequence[ClaimedMove]:
        """Lease plans that are due, oldest first; of `content_id` only, due or not, if it is given."""
        parameters = {"token": new_lease_token(), "lease": micros(lease)}
        if content_id is None:
            parameters |= {"now": now, "most": limit}
            rows = await self._runner.write(lambda connection: connection.all(CLAIM, parameters))
        else:
            parameters |= {"subject": content_id}
            rows = await self._runner.write(lambda connection: connection.all(CLAIM_ONE, parameters))
        return [_claimed(row) for row in sorted(rows)]  # RETURNING promises no order

    async def renew(self, claim: ClaimedMove, *, lease: Seconds) -> None:
        """Extend a claim from now on. Without effect if it was lost."""
        parameters = {"subject": claim.plan.content_id, "token": claim.lease_token, "lease": micros(lease)}
        await self._runner.write(lambda connection: connection.change(RENEW, parameters))

    async def commit_move(
        self, move: CopiedMove, *, now: Timestamp, delete_at: Timestamp, evict_at: Timestamp
    ) -> Committed | None:
        """Switch the record to the copy, in one transaction with all that must follow; None: the copy is garbage."""
        return await self._runner.write(partial(commit_move, move=move, moments=Moments(now, delete_at, evict_at)))

    async def postpone(self, claim: ClaimedMove, *, due_at: Timestamp | None, reason: str | None) -> None:
        """Give a claimed plan back, to be tried at `due_at`, or give it up (None)."""
        parameters: dict[str, Any] = {
            "subject": claim.plan.content_id,
            "token": claim.lease_token,
            "due_at": GIVEN_UP if due_at is None else due_at,
        }
        if reason is None:
            await self._runner.write(lambda connection: connection.change(WAIT, parameters))
        else:
            await self._runner.write(
                lambda connection: connection.change(POSTPONE, {**parameters, "reason": plain_text(reason)})
            )

    async def ledger(self, *, content_id: ContentId | None, limit: int) -> Sequence[LedgerEntry]:
        """Return the latest entries, newest first."""
        statement = LEDGER if content_id is None else LEDGER_OF
        parameters = {"most": limit} | ({} if content_id is None else {"content_id": content_id})
        return [
            entry_of(row) for row in await self._runner.read(lambda connection: connection.all(statement, parameters))
        ]

    async def state(self) -> MovesState:
        """Return how much waits."""
        rows = await self._runner.read(lambda connection: connection.all(STATE, {}))
        given_up = sum(row[1] for row in rows if row[0])
        for is_given_up, waiting, failing, oldest_at in rows:
            if not is_given_up:
                return MovesState(waiting, failing, given_up, as_timestamp(oldest_at))
        return MovesState(0, 0, given_up, None)


def _claimed(row: Row) -> ClaimedMove:
    plan = PlannedMove(ContentId(row[1]), StorageTier(row[2]), row[3], bool(row[4]), forecast_of(row[7], row[8]))
    return ClaimedMove(plan, row[5], row[6], Timestamp(row[9]))
