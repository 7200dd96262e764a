"""`Restores` in SQL. What is spent is booked in the transaction that asks, by one guarded update."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, case, delete, false, func, literal_column, null, or_, select, true, update
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.claims import NO_LEASE, micros, new_lease_token
from thermocline.adapters.catalog.dialects import ZERO, now_micros, plain_text
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import contents, is_live, restore_days, restores
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Row, Runner
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import RestoreBudgetError
from thermocline.domain.heat import DAY_MICROS, day_of
from thermocline.domain.restores import ARCHIVED, RestoreSpeed, RestoreStage, RestoreStatus
from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp, Usd
from thermocline.ports.restores import (
    ClaimedRestore,
    Requested,
    Restores,
    RestoresState,
    WantedRestore,
)

_ROW: Final = (
    restores.c.check_at,
    restores.c.object_key,
    restores.c.content_id,
    restores.c.placement,
    restores.c.speed,
    restores.c.days,
    restores.c.sent,
    restores.c.eta,
    restores.c.readable_until,
    restores.c.attempts,
    restores.c.lease_token,
    restores.c.requested_at,
)
IS_CURRENT = Statement(
    select(contents.c.content_id)
    .where(
        contents.c.content_id == bindparam("content_id"),
        contents.c.object_key == bindparam("object_key"),
        is_live,
        or_(contents.c.expires_at.is_(None), contents.c.expires_at > bindparam("now")),
    )
    .with_for_update()
)
FIND = Statement(select(*_ROW).where(restores.c.object_key == bindparam("object_key")))
_begun = {
    **{name: bindparam(name) for name in ("placement", "speed", "days", "cost_usd", "eta")},
    "requested_at": bindparam("now"),
    "check_at": bindparam("now"),
    "readable_until": bindparam("readable_until"),
    "sent": false(),
    "attempts": literal_column("1"),
    "lease_token": bindparam("token"),
    "lease_until": now_micros() + bindparam("lease"),
    "last_error": null(),
}
BEGIN = Statement(
    postgresql.insert(restores)
    .values(object_key=bindparam("object_key"), content_id=bindparam("content_id"), **_begun)
    .on_conflict_do_update(index_elements=[restores.c.object_key], set_=_begun)
    .returning(*_ROW)
)
_charge = postgresql.insert(restore_days).values(
    day=bindparam("day"), spent_usd=bindparam("cost"), requests=literal_column("1"), bytes=bindparam("size")
)
_CHARGED: Final = {name: restore_days.c[name] + _charge.excluded[name] for name in ("spent_usd", "requests", "bytes")}
CHARGE = Statement(_charge.on_conflict_do_update(index_elements=[restore_days.c.day], set_=_CHARGED))
CHARGE_WITHIN = Statement(
    _charge.on_conflict_do_update(
        index_elements=[restore_days.c.day],
        set_=_CHARGED,
        where=restore_days.c.spent_usd + _charge.excluded.spent_usd <= bindparam("budget"),
    )
)
SPENT = Statement(select(restore_days.c.spent_usd).where(restore_days.c.day == bindparam("day")))
_due = (
    select(restores.c.object_key)
    .where(restores.c.check_at <= bindparam("now"), restores.c.lease_until <= now_micros())
    .order_by(restores.c.check_at, restores.c.object_key)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")  # computed once, whatever the plan: a subquery that locks may run again, and take more than its limit
)
_CLAIMED: Final[dict[str, Any]] = {
    "lease_token": bindparam("token"),
    "lease_until": now_micros() + bindparam("lease"),
    "attempts": restores.c.attempts + literal_column("1"),
}
CLAIM = Statement(
    update(restores).where(restores.c.object_key.in_(select(_due.c.object_key))).values(_CLAIMED).returning(*_ROW)
)
CLAIM_ONE = Statement(
    update(restores)
    .where(restores.c.object_key == bindparam("subject"), restores.c.lease_until <= now_micros())
    .values(_CLAIMED)
    .returning(*_ROW)
)
_is_claimed = (restores.c.object_key == bindparam("subject")) & (restores.c.lease_token == bindparam("token"))
_GIVEN_BACK: Final[dict[str, Any]] = {"lease_token": null(), "lease_until": literal_column(str(NO_LEASE))}
PROGRESS = Statement(
    update(restores)
    .where(_is_claimed)
    .values(
        sent=true(),
        eta=bindparam("eta"),
        readable_until=bindparam("readable_until"),
        check_at=bindparam("check_at"),
        attempts=ZERO,
        last_error=null(),
        **_GIVEN_BACK,
    )
)
POSTPONE = Statement(
    update(restores)
    .where(_is_claimed)
    .values(check_at=bindparam("check_at"), last_error=bindparam("reason"), **_GIVEN_BACK)
)
DROP = Statement(delete(restores).where(_is_claimed))
STATE = Statement(
    select(
        func.count(case((restores.c.readable_until.is_(None), literal_column("1")))),
        func.count(case((restores.c.readable_until > bindparam("now"), literal_column("1")))),
        func.count(restores.c.last_error),
    )
)
_SHORTFALL: Final = MICROS_PER_SECOND * 3600
"""A readable copy that ends so little earlier than it should is left alone: asking again at once sends nothing."""
_ROUNDING: Final = 1e-9
"""Three times ten cents must fit into thirty, although floating-point sums miss it by a hair."""


class SqlRestores(Restores):
    """Restores in the table `restores`, money in `restore_days`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def request(
        self, wanted: WantedRestore, *, now: Timestamp, lease: Seconds, daily_budget: Usd | None
    ) -> Requested | None:
        """Ask for a restore, in one transaction with its charge to today's budget; None if the record moved on."""
        return await self._runner.write(
            partial(_request, wanted=wanted, now=now, lease=lease, daily_budget=daily_budget, token=new_lease_token())
        )

    async def claim(
        self, *, now: Timestamp, lease: Seconds, limit: int, object_key: str | None = None
    ) -> Sequence[ClaimedRestore]:
        """Lease restores that are to be looked after at `now`; of `object_key` only, due or not, if it is given."""
        parameters: dict[str, Any] = {"token": new_lease_token(), "lease": micros(lease)}
        if object_key is None:
            parameters |= {"now": now, "most": limit}
            rows = await self._runner.write(lambda connection: connection.all(CLAIM, parameters))
        else:
            parameters |= {"subject": object_key}
            rows = await self._runner.write(lambda connection: connection.all(CLAIM_ONE, parameters))
        return [_claimed(row) for row in sorted(rows, key=lambda row: row[:2])]  # RETURNING promises no order

    async def progress(
        self, claim: ClaimedRestore, *, eta: Timestamp, readable_until: Timestamp | None, check_at: Timestamp
    ) -> None:
        """Note what the store said and give the claim back, to be looked after again at `check_at`."""
        parameters = {**_identity(claim), "eta": eta, "readable_until": readable_until, "check_at": check_at}
        await self._runner.write(lambda connection: connection.change(PROGRESS, parameters))

    async def postpone(self, claim: ClaimedRestore, *, check_at: Timestamp, reason: str) -> None:
        """Give the claim back after a failure."""
        parameters = {**_identity(claim), "check_at": check_at, "reason": plain_text(reason)}
        await self._runner.write(lambda connection: connection.change(POSTPONE, parameters))

    async def drop(self, claim: ClaimedRestore) -> None:
        """Forget the restore: it is over, or its object is gone."""
        await self._runner.write(lambda connection: connection.change(DROP, _identity(claim)))

    async def find(self, object_key: str, *, now: Timestamp) -> RestoreStatus | None:
        """Return the state of a restore at `now`, or None."""
        row = await self._runner.read(lambda connection: connection.first(FIND, {"object_key": object_key}))
        return None if row is None else status_in(row, now)

    async def state(self, *, now: Timestamp) -> RestoresState:
        """Return how much is under way, and what was spent on the day of `now`."""
        return await self._runner.read(partial(_state, now=now))


def status_in(row: Row, now: Timestamp) -> RestoreStatus:
    """Return the state that a row of `FIND` stands for at `now`."""
    readable_until = as_timestamp(row[8])
    if readable_until is None:
        stage = RestoreStage.REQUESTED
    elif now < readable_until:
        stage = RestoreStage.READABLE
    else:
        return ARCHIVED
    return RestoreStatus(
        stage,
        speed=RestoreSpeed(row[4]),
        days=row[5],
        requested_at=Timestamp(row[11]),
        eta=Timestamp(row[7]) if stage is RestoreStage.REQUESTED else None,
        readable_until=readable_until,
    )


def _request(
    connection: Connection,
    wanted: WantedRestore,
    now: Timestamp,
    lease: Seconds,
    daily_budget: Usd | None,
    token: str,
) -> Requested | None:
    # The record's row is locked first: requests for one object take turns, and so does an overwrite.
    current = {"content_id": wanted.content_id, "object_key": wanted.object_key, "now": now}
    if not connection.all(IS_CURRENT, current):
        return None
    row = connection.first(FIND, {"object_key": wanted.object_key})
    status = ARCHIVED if row is None else status_in(row, now)
    is_readable = status.stage is RestoreStage.READABLE
    if row is not None and status.stage is not RestoreStage.ARCHIVED:
        until, is_sent = status.readable_until, bool(row[6])
        # A longer stay that was asked for but not sent yet is under way, too.
        if until is None or not is_sent or until >= now + wanted.days * DAY_MICROS - _SHORTFALL:
            return Requested(status, None, charged=Usd(0.0))
    if not is_readable:
        # A readable copy that shall stay longer costs nothing more: the bytes were retrieved already.
        _spend(connection, wanted, now, daily_budget)
    charged = Usd(0.0) if is_readable else wanted.cost
    begun = connection.all(
        BEGIN,
        {
            "object_key": wanted.object_key,
            "content_id": wanted.content_id,
            "placement": wanted.placement,
            "speed": wanted.speed.value,
            "days": wanted.days,
            "cost_usd": charged,
            "eta": wanted.eta,
            "now": now,
            "readable_until": status.readable_until,
            "token": token,
            "lease": micros(lease),
        },
    )[0]
    return Requested(status_in(begun, now), _claimed(begun), charged)


def _spend(connection: Connection, wanted: WantedRestore, now: Timestamp, daily_budget: Usd | None) -> None:
    parameters = {"day": day_of(now), "cost": wanted.cost, "size": wanted.size}
    if daily_budget is None:
        connection.change(CHARGE, parameters)
        return
    budget = daily_budget + _ROUNDING
    # The day's first charge finds no row to compare with, so it is compared here.
    if wanted.cost <= budget and connection.change(CHARGE_WITHIN, {**parameters, "budget": budget}):
        return
    spent = connection.first(SPENT, {"day": day_of(now)})
    raise RestoreBudgetError(
        f"restoring {wanted.content_id!r} costs ${wanted.cost:.4f}, but ${spent[0] if spent else 0.0:.4f} of today's "
        f"${daily_budget:.2f} are spent; "
        + ("wait for tomorrow (UTC), or " if wanted.cost <= budget else "")
        + "raise [restore] daily_budget",
        retry_after=Seconds((DAY_MICROS - now % DAY_MICROS) / MICROS_PER_SECOND),
    )


def _state(connection: Connection, now: Timestamp) -> RestoresState:
    counts = connection.all(STATE, {"now": now})[0]
    spent = connection.first(SPENT, {"day": day_of(now)})
    return RestoresState(counts[0], counts[1], counts[2], Usd(spent[0] if spent else 0.0))


def _identity(claim: ClaimedRestore) -> dict[str, str]:
    return {"subject": claim.object_key, "token": claim.lease_token}


def _claimed(row: Row) -> ClaimedRestore:
    return ClaimedRestore(
        object_key=row[1],
        content_id=ContentId(row[2]),
        placement=row[3],
        speed=RestoreSpeed(row[4]),
        days=row[5],
        sent=bool(row[6]),
        requested_at=Timestamp(row[11]),
        eta=Timestamp(row[7]),
        readable_until=as_timestamp(row[8]),
        attempts=row[9],
        lease_token=row[10],
    )
