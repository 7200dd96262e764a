"""Restoring archived content: one row, one request, one charge, however many ask.

1. **Commit point** of the wish: one transaction writes the restore's row and charges today's budget, or finds the
   row of somebody who asked before. 2. Who wrote the row sends the request to the store. 3. The store's answer is
   noted. 4. A worker looks after the row: when the object is readable it notes until when; when that is over it asks
   the store once more, then drops the row, and the content is archived again.

A crash between 1 and 3 leaves a row that was not sent: its claim expires, and a worker sends it; the store takes a
repeated request for the same one. The store's own word overrides the row: a row that says "readable" of an object
that the store refuses is dropped (`request` with `refused`).
"""

import asyncio
from dataclasses import dataclass

import structlog

from thermocline.domain.content import Record
from thermocline.domain.errors import InvalidInputError, ObjectMissingError, StorageError, UnavailableError
from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.moves import PlannedMove
from thermocline.domain.restores import (
    ARCHIVED,
    RestoreSpeed,
    RestoreStage,
    RestoreStatus,
    StoreRestore,
    check_days,
)
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp, Usd, elapsed, later
from thermocline.ports.clock import Clock
from thermocline.ports.moves import Moves
from thermocline.ports.records import Records
from thermocline.ports.restores import ClaimedRestore, Requested, Restores, WantedRestore
from thermocline.services.placements import Placements, RestoreRules

log = structlog.get_logger(__name__)

BATCH = 100
AT_ONCE = 16
"""Of one batch. Each waits for two answers of its store, which takes a hundred of them side by side; a lease that ran
out before its turn came would have others ask once more."""
CLAIM_LEASE = Seconds(120.0)
"""Longer than two requests to a store take."""
FIRST_RETRY = Seconds(2.0)
LONGEST_RETRY = Seconds(900.0)
SHORTEST_WAIT = Seconds(0.05)
OVERDUE_SHARE = 16
"""A restore that takes longer than expected is asked for again after this part of the time it took so far: soon
after one of seconds, and not every minute of one of days."""
SHORTEST_POLL = Seconds(0.1)
ATTEMPTS = 5
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class RestorePolicy:
    """What holds for restores of an installation."""

    speed: RestoreSpeed
    days: int
    daily_budget: Usd | None
    on_read: bool
    move_to: StorageTier | None
    poll_every: Seconds


class RestoringService:
    """Restores of archived objects; idempotent."""

    def __init__(
        self,
        restores: Restores,
        records: Records,
        moves: Moves,
        placements: Placements,
        clock: Clock,
        policy: RestorePolicy,
    ) -> None:
        self._restores = restores
        self._records = records
        self._moves = moves
        self._placements = placements
        self._clock = clock
        self._policy = policy
        self.requested = 0
        self.arrived = 0
        self.expired = 0

    @property
    def policy(self) -> RestorePolicy:
        """What holds for restores here."""
        return self._policy

    def needs_restore(self, record: Record) -> bool:
        """Whether the content lies in a class that must be restored before it is read."""
        return self._placements.named(record.placement).restores is not None

    async def status(self, record: Record) -> RestoreStatus:
        """Return how far the restore of the content's object is, as far as we know."""
        if not self.needs_restore(record):
            return RestoreStatus(RestoreStage.READABLE)
        return await self._restores.find(record.object_key, now=self._clock.now()) or ARCHIVED

    async def request(
        self, record: Record, *, speed: RestoreSpeed | None = None, days: int | None = None, refused: bool = False
    ) -> RestoreStatus:
        """Make sure that the content's object is restored, or will be; return how far that is.

        Asking again costs nothing; it makes a copy that is readable for a shorter time stay longer. `refused` says
        that the store has just refused to read the object. Content that needs no restore is readable already.
        Raises `InvalidInputError` for a speed that does not exist there and for days out of range,
        `RestoreBudgetError` if today's budget does not cover it (nothing was requested then).
        """
        stays = check_days(self._policy.days if days is None else days)
        rules = self._placements.named(record.placement).restores
        if rules is None:
            return RestoreStatus(RestoreStage.READABLE)
        chosen = self._chosen(rules, speed, record)
        if refused and (await self.status(record)).stage is RestoreStage.READABLE:
            # The store's word counts: a row that is out of date goes first, so that what it sends now is paid for.
            status = await self.look_after(record.object_key)
            if status is not None and status.stage is RestoreStage.READABLE:
                return status
        for _ in range(ATTEMPTS):
            requested = await self._ask(record, rules, chosen, stays)
            if requested is None:
                # It was overwritten or moved: its new object may not even need a restore.
                current = await self._records.find(record.content_id)
                if current is None or not self.needs_restore(current):
                    return RestoreStatus(RestoreStage.READABLE)
                record = current
                continue
            if requested.claim is not None:
                self.requested += 1
                log.info(
                    "restore_requested",
                    object_key=record.object_key,
                    speed=chosen.value,
                    cost_usd=round(requested.charged, 6),
                )
                return await self._attend(requested.claim) or requested.status
            return requested.status
        raise UnavailableError(f"content {record.content_id!r} changes faster than it can be restored; try again")

    async def wait(
        self,
        record: Record,
        *,
        within: Seconds,
        speed: RestoreSpeed | None = None,
        days: int | None = None,
        refused: bool = False,
    ) -> RestoreStatus:
        """Make sure that the content is being restored, and return when it is readable or `within` has passed.

        What is readable already stays so no longer than before. Raises as `request` does.
        """
        deadline, patience = self._clock.monotonic() + within, SHORTEST_WAIT
        asked = self.request(record, speed=speed, days=days, refused=True) if refused else self.status(record)
        status: RestoreStatus | None = await asked
        while True:
            if status is None or status.stage is RestoreStage.ARCHIVED:
                status = await self.request(record, speed=speed, days=days)
            remaining = deadline - self._clock.monotonic()
            if status.stage is RestoreStage.READABLE or remaining <= 0:
                return status
            expected = self._policy.poll_every if status.eta is None else elapsed(self._clock.now(), status.eta)
            if expected <= 0:  # overdue, and the store did not answer
                expected, patience = patience, Seconds(min(2 * patience, FIRST_RETRY))
            pause = min(max(expected, SHORTEST_WAIT), self._policy.poll_every, remaining)
            await self._clock.sleep(Seconds(pause))
            # Itself: perhaps nobody else works on this installation.
            status = await self.look_after(record.object_key)

    async def look_after(self, object_key: str) -> RestoreStatus | None:
        """Ask the store about one restore now, unless somebody else just does; return what is known then."""
        for claim in await self._restores.claim(
            now=self._clock.now(), lease=CLAIM_LEASE, limit=1, object_key=object_key
        ):
            await self._attend(claim)
        return await self._restores.find(object_key, now=self._clock.now())

    async def run(self) -> int:
        """Look after one batch of restores that are due, some at once; return how many.

        Raises what the catalog raises, after the others of the batch had their turn.
        """
        claims = await self._restores.claim(now=self._clock.now(), lease=CLAIM_LEASE, limit=BATCH)
        left = iter(claims)

        async def some() -> None:
            for claim in left:
                await self._attend(claim)

        for ended in await asyncio.gather(*(some() for _ in range(AT_ONCE)), return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
        return len(claims)

    async def _ask(self, record: Record, rules: RestoreRules, speed: RestoreSpeed, days: int) -> Requested | None:
        now, terms = self._clock.now(), rules.terms[speed]
        wanted = WantedRestore(
            object_key=record.object_key,
            content_id=record.content_id,
            placement=record.placement,
            speed=speed,
            days=days,
            size=record.size,
            cost=terms.cost(record.size),
            eta=later(now, terms.delay),
        )
        return await self._restores.request(wanted, now=now, lease=CLAIM_LEASE, daily_budget=self._policy.daily_budget)

    async def _attend(self, claim: ClaimedRestore) -> RestoreStatus | None:
        """Send the request if that is not done, ask how far it is, and note it; None if it is over or failed."""
        try:
            rules = self._placements.named(claim.placement).restores
            if rules is None:
                await self._restores.drop(claim)  # the settings say that it needs none any more
                return None
            if not claim.sent:
                await rules.store.request_restore(claim.object_key, speed=claim.speed, days=claim.days)
            state = await rules.store.restore_state(claim.object_key)
            if state.stage is RestoreStage.ARCHIVED and claim.sent and claim.readable_until is None:
                # Sent, never arrived, and the store knows nothing of it: what was paid for is asked for again.
                await rules.store.request_restore(claim.object_key, speed=claim.speed, days=claim.days)
                state = await rules.store.restore_state(claim.object_key)
        except ObjectMissingError:
            await self._restores.drop(claim)  # overwritten or deleted: nobody will read it
            return None
        except StorageError as exc:
            await self._fail(claim, exc)
            return None
        return await self._note(claim, state)

    async def _note(self, claim: ClaimedRestore, state: StoreRestore) -> RestoreStatus | None:
        now = self._clock.now()
        if state.stage is RestoreStage.READABLE:
            until = state.readable_until or Timestamp(now + claim.days * DAY_MICROS)
            if claim.readable_until is None:
                self.arrived += 1
                log.info("restore_arrived", object_key=claim.object_key)
                await self._move_on(claim)
            await self._restores.progress(claim, eta=claim.eta, readable_until=until, check_at=until)
            return RestoreStatus(
                state.stage,
                speed=claim.speed,
                days=claim.days,
                requested_at=claim.requested_at,
                readable_until=until,
            )
        if state.stage is RestoreStage.ARCHIVED:
            self.expired += 1
            log.info("restore_ended", object_key=claim.object_key)
            await self._restores.drop(claim)
            return None
        eta = claim.eta
        if now >= eta:
            so_far = elapsed(claim.requested_at, now) / OVERDUE_SHARE
            eta = later(now, Seconds(min(max(so_far, SHORTEST_POLL), self._policy.poll_every)))
        await self._restores.progress(claim, eta=eta, readable_until=None, check_at=eta)
        return RestoreStatus(state.stage, speed=claim.speed, days=claim.days, requested_at=claim.requested_at, eta=eta)

    async def _move_on(self, claim: ClaimedRestore) -> None:
        """Plan the move that restored content is due for, before its arrival is noted: a crash then repeats both."""
        if self._policy.move_to is None:
            return
        record = await self._records.find(claim.content_id)
        if record is not None and record.object_key == claim.object_key:
            plan = PlannedMove(claim.content_id, self._policy.move_to, reason=RESTORED, by_policy=True)
            await self._moves.plan([plan], now=self._clock.now())

    async def _fail(self, claim: ClaimedRestore, exc: StorageError) -> None:
        delay = Seconds(min(FIRST_RETRY * 2 ** min(claim.attempts - 1, 20), LONGEST_RETRY))
        log.warning("restore_failed", object_key=claim.object_key, attempts=claim.attempts, error=str(exc))
        check_at = later(self._clock.now(), delay)
        await self._restores.postpone(claim, check_at=check_at, reason=f"{type(exc).__name__}: {exc}")

    def _chosen(self, rules: RestoreRules, speed: RestoreSpeed | None, record: Record) -> RestoreSpeed:
        if speed is None:
            return rules.speed_near(self._policy.speed)
        if speed not in rules.terms:
            raise InvalidInputError(
                f"placement {record.placement!r} has no speed {speed.value!r}; it has "
                f"{', '.join(each.value for each in rules.terms)}"
            )
        return speed
