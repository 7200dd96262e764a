"""Moving content between tiers.

**Same placement**: one compare-and-set in the catalog; no byte is touched. That is its commit point.
**Other placement**: 1. The wish is planned: one row per content, the latest wins. That is what a 202 acknowledges.
2. A worker claims the plan and declares an intent for the copy. 3. It copies, verifying every byte, renewing claim and
intent. 4. It asks the target's store for what arrived. 5. **Commit point**: one catalog transaction compares
(revision, object key, tier, pin, hold), switches the record, ends plan and intent, queues the old object's deletion
after the grace and, when it leaves HOT, an invalidation, and writes the ledger. 6. Before anything is
acknowledged: evict. Then, best effort: fill the cache for HOT.

A crash before 5 leaves the plan, which is claimed again, and an intent, whose copy the cleaner removes. A lost
compare-and-set makes the copy garbage; it is removed at once. Content that leaves an archive class is restored
first, and its plan waits. Held content stays where it is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from thermocline.domain.content import ALWAYS, Condition, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ContentHeldError,
    ContentNotFoundError,
    IntegrityError,
    MoveLostError,
    ObjectArchivedError,
    ObjectMissingError,
    PreconditionFailedError,
    RestoreBudgetError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.moves import BY_USER, ClaimedMove, PlannedMove, TierChange
from thermocline.domain.restores import RestoreStage
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.ports.clock import Clock
from thermocline.ports.moves import Moves
from thermocline.ports.records import Records
from thermocline.services.background import Background
from thermocline.services.caching import ContentCache
from thermocline.services.copying import Copier
from thermocline.services.filling import Filler
from thermocline.services.placements import Placements
from thermocline.services.restoring import RestoringService
from thermocline.services.transferring import EVICT_DELAY
from thermocline.services.turns import AT_ONCE, Turns

log = structlog.get_logger(__name__)

EVICTIONS_AT_ONCE = 64
CLAIM_LEASE = Seconds(120.0)
ATTEMPTS = 10
FIRST_RETRY = Seconds(2.0)
LONGEST_RETRY = Seconds(3600.0)
BATCHES_A_RUN = 8
DAMAGE_RETRY = Seconds(86400.0)
HELD_RETRY = Seconds(3600.0)
WISH_LIFE = Seconds(7 * 86400.0)
"""For so long a policy's wish is taken to pay. Longer than any restore takes, and than the tries of a plan."""


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """How planned copies are made."""

    at_once: int = 4
    """By one process: copies wait for stores, and each holds memory for up to three parts."""
    per_second: float | None = None
    """How many one process begins into one store in a second; None: as many as it can."""
    attempts: int = 50
    """After so many failures a plan is given up: kept and shown until somebody asks again. With the longest pause
    that is two days."""


@dataclass(frozen=True, slots=True)
class TierOutcome:
    """What asking for another tier led to."""

    record: Record
    """As committed, or as it stays until a planned move is made."""
    target: StorageTier
    planned: bool
    """Whether the move needs a copy and is yet to be made."""
    error: str | None = None
    """Why making it failed; it stays planned. None also if it only waits for a restore."""

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON-ready values."""
        return {
            "content_id": self.record.content_id,
            "tier": self.record.tier.value,
            "target": self.target.value,
            "state": "planned" if self.planned else "done",
            "placement": self.record.placement,
            "revision": self.record.revision,
            "version": self.record.version,
            "error": self.error,
        }


class MovingService:
    """Moves of contents between tiers; each is made once, whoever works on it."""

    def __init__(
        self,
        moves: Moves,
        records: Records,
        placements: Placements,
        copier: Copier,
        restoring: RestoringService,
        cache: ContentCache,
        filler: Filler,
        background: Background,
        clock: Clock,
        limits: MoveLimits,
    ) -> None:
        self._moves = moves
        self._records = records
        self._placements = placements
        self._copier = copier
        self._restoring = restoring
        self._cache = cache
        self._filler = filler
        self._background = background
        self._clock = clock
        self._limits = limits
        self._turns: dict[str, Seconds] = {}
        self.moved = 0
        self.copied_bytes = 0
        self.lost = 0
        self.failed = 0

    async def set_tier(
        self, content_id: ContentId, tier: StorageTier, *, reason: str = BY_USER, condition: Condition = ALWAYS
    ) -> TierOutcome:
        """Move the content, at once if no copy is needed, else durably planned; idempotent.

        A wish for the present tier drops an older plan. Raises `ContentNotFoundError`, `ContentHeldError`,
        `PreconditionFailedError`.
        """
        for _ in range(ATTEMPTS):
            record = await self._find(content_id)
            if not condition.holds_for(record.revision):
                raise PreconditionFailedError(content_id, current_etag=record.etag)
            if record.tier is tier:
                await self._moves.cancel(content_id)
                return TierOutcome(record, tier, planned=False)
            if record.held:
                raise ContentHeldError(content_id)
            if self._placements.of_tier(tier).name == record.placement:
                moved = await self._change_in_place(record, PlannedMove(content_id, tier, reason))
                if moved is not None:
                    return TierOutcome(moved, tier, planned=False)
            elif await self._moves.plan([PlannedMove(content_id, tier, reason)], now=self._clock.now()):
                return TierOutcome(record, tier, planned=True)
        raise UnavailableError(f"content {content_id!r} changes faster than it can be moved; try again")

    async def change_tiers(self, changes: Sequence[TierChange]) -> frozenset[ContentId]:
        """Commit many moves that need no copy, in one transaction; return the contents of those that were made.

        The others are not any more as described, or must not be moved by a policy. What was made is evicted where it
        can be reached; where it left HOT, elsewhere too.
        """
        now = self._clock.now()
        made = await self._moves.change_tiers(changes, now=now, evict_at=later(now, EVICT_DELAY))
        wanted = {change.content_id: change for change in changes}
        for start in range(0, len(made), EVICTIONS_AT_ONCE):
            await asyncio.gather(
                *(
                    self._cache.invalidate(changed.content_id, changed.version)
                    for changed in made[start : start + EVICTIONS_AT_ONCE]
                )
            )
        self.moved += len(made)
        for changed in made:
            change = wanted[changed.content_id]
            log.info(
                "moved",
                content_id=change.content_id,
                from_tier=change.from_tier.value,
                to_tier=change.to_tier.value,
                copied=False,
                reason=change.reason,
            )
        return frozenset(changed.content_id for changed in made)

    async def make_now(self, content_id: ContentId) -> bool:
        """Make the planned move of one content, due or not, unless somebody else is at it; whether it was tried."""
        claims = await self._moves.claim(now=self._clock.now(), lease=CLAIM_LEASE, limit=1, content_id=content_id)
        for claim in claims:
            await self._make(claim)
        return bool(claims)

    async def finish(self, outcome: TierOutcome) -> TierOutcome:
        """Make the planned move now, if nothing stands in its way; return what came of it.

        Raises `MoveLostError` if something newer took its place, such as new bytes with a tier of their own.
        """
        content_id, target = outcome.record.content_id, outcome.target
        await self.make_now(content_id)
        now = self._clock.now()
        record = await self._records.describe(content_id, now=now)
        if record is None or not record.is_alive(now):
            raise ContentNotFoundError(content_id)
        if record.tier is target:
            return TierOutcome(record, target, planned=False)
        # It failed, waits for a restore, or for somebody else who is at it.
        if record.move is None or record.move.tier is not target:
            raise MoveLostError(
                f"content {content_id!r} was changed before it was moved; ask again if it still shall be"
            )
        return TierOutcome(record, target, planned=True, error=record.move.last_error)

    async def run(self) -> int:
        """Make planned moves that are due, some batches of them; return how many were tried.

        As many again are claimed and renewed meanwhile, so that a copy that ends is followed by another at once.
        """
        most, tried, due = BATCHES_A_RUN * self._limits.at_once, 0, True
        turns = asyncio.Semaphore(self._limits.at_once)
        under_way: set[asyncio.Task[None]] = set()
        failures: list[BaseException] = []
        try:
            while due or under_way:
                free = 2 * self._limits.at_once - len(under_way)
                if due and free >= self._limits.at_once:
                    claims = await self._moves.claim(now=self._clock.now(), lease=CLAIM_LEASE, limit=free)
                    under_way |= {asyncio.ensure_future(self._make(claim, turns)) for claim in claims}
                    tried += len(claims)
                    due = len(claims) == free and tried < most
                if under_way:
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    failures += [failure for each in done if (failure := each.exception()) is not None]
                    due = due and not failures
        finally:
            for each in under_way:
                each.cancel()
            if under_way:
                await asyncio.wait(under_way)
        if failures:
            raise failures[0]
        return tried

    async def _make(self, claim: ClaimedMove, turns: Turns = AT_ONCE) -> None:
        content_id = claim.plan.content_id
        try:
            async with self._renewing(claim):
                await self._try(claim, turns)
        except asyncio.CancelledError:
            # So that the next one need not wait for the claim's end. What was copied is the cleaner's.
            with suppress(StorageError):
                await self._later(claim, Seconds(0.0), None)
            raise
        except MoveLostError as exc:
            self.lost += 1
            log.info("move_lost", content_id=content_id, reason=str(exc))
            await self._later(claim, FIRST_RETRY, None)
        except (IntegrityError, ObjectMissingError) as exc:
            await self._fail_damaged(claim, exc)
        except RestoreBudgetError as exc:
            await self._later(claim, exc.retry_after, str(exc))
        except StorageError as exc:
            self.failed += 1
            reason = f"{type(exc).__name__}: {exc}"
            if claim.attempts >= self._limits.attempts:
                log.warning("move_given_up", content_id=content_id, attempts=claim.attempts, error=str(exc))
                await self._moves.postpone(claim, due_at=None, reason=reason)
                return
            delay = Seconds(min(FIRST_RETRY * 2 ** min(claim.attempts - 1, 20), LONGEST_RETRY))
            log.warning("move_failed", content_id=content_id, attempts=claim.attempts, error=str(exc))
            await self._later(claim, delay, reason)

    async def _try(self, claim: ClaimedMove, turns: Turns) -> None:
        plan = claim.plan
        record = await self._records.find(plan.content_id)
        if (
            record is None
            or not record.is_alive(self._clock.now())
            or record.tier is plan.tier
            or (plan.by_policy and (record.pinned or self._is_outdated(claim)))
        ):
            await self._moves.cancel(plan.content_id, lease_token=claim.lease_token)
            return
        if record.held:
            await self._later(claim, HELD_RETRY, "the content is on hold")
            return
        target = self._placements.of_tier(plan.tier)
        if target.name == record.placement:
            if await self._change_in_place(record, plan) is None:
                raise MoveLostError(f"content {plan.content_id!r} changed; it is looked at again")
            return
        if self._restoring.needs_restore(record) and not await self._is_readable(claim, record, refused=False):
            return
        source = self._placements.named(record.placement)
        await self._take_turn(target.store_name)
        try:
            committed = await self._copier.copy(claim, record, source, target, turns)
        except ObjectArchivedError:
            if await self._is_readable(claim, record, refused=True):
                raise
            return
        self.copied_bytes += record.size
        await self._settle(record, committed.record, plan)

    def _is_outdated(self, claim: ClaimedMove) -> bool:
        """Whether so much may have been read since it was decided that it must be decided anew: the next pass does."""
        if self._clock.now() <= later(claim.planned_at, WISH_LIFE):
            return False
        log.info("move_outdated", content_id=claim.plan.content_id, to_tier=claim.plan.tier.value)
        return True

    async def _take_turn(self, store_name: str) -> None:
        """Return when the next copy into the store may begin."""
        if self._limits.per_second is None:
            return
        now = self._clock.monotonic()
        turn = max(self._turns.get(store_name, now), now)
        self._turns[store_name] = Seconds(turn + 1 / self._limits.per_second)
        if turn > now:
            await self._clock.sleep(Seconds(turn - now))

    async def _is_readable(self, claim: ClaimedMove, record: Record, *, refused: bool) -> bool:
        """Whether the archived object can be read now; if not, its restore is under way and the plan waits for it."""
        status = await self._restoring.status(record)
        if refused or status.stage is not RestoreStage.READABLE:
            status = await self._restoring.request(record, refused=refused)
        if status.stage is RestoreStage.READABLE:
            return True
        soon = later(self._clock.now(), FIRST_RETRY)
        # Never at once: whoever looks after the restore may not have noticed yet that it has come, or fail to.
        due_at = soon if status.eta is None else max(soon, status.eta)
        await self._moves.postpone(claim, due_at=due_at, reason=None)
        return False

    async def _change_in_place(self, record: Record, plan: PlannedMove) -> Record | None:
        """Commit a move that needs no copy; None if the content is not any more as `record` says."""
        now = self._clock.now()
        change = TierChange(
            record.content_id, record.revision, record.placement, record.tier, plan.tier, plan.reason, plan.by_policy
        )
        made = await self._moves.change_tiers([change], now=now, evict_at=later(now, EVICT_DELAY))
        if not made:
            return None
        moved = replace(record, tier=plan.tier, tier_since=now, version=made[0].version)
        await self._settle(record, moved, plan)
        return moved

    async def _settle(self, before: Record, after: Record, plan: PlannedMove) -> None:
        await self._cache.invalidate(before.content_id, after.version)
        self.moved += 1
        log.info(
            "moved",
            content_id=before.content_id,
            from_tier=before.tier.value,
            to_tier=plan.tier.value,
            copied=before.object_key != after.object_key,
            reason=plan.reason,
        )
        if after.tier is StorageTier.HOT and self._cache.is_cacheable(after):
            self._background.spawn(self._filler.warm(after.content_id))

    async def _find(self, content_id: ContentId) -> Record:
        record = await self._records.find(content_id)
        if record is None or not record.is_alive(self._clock.now()):
            raise ContentNotFoundError(content_id)
        return record

    async def _fail_damaged(self, claim: ClaimedMove, exc: StorageError) -> None:
        """Look whether the content only moved on meanwhile; if not, its object is damaged and stays where it is."""
        self.failed += 1
        log.error("move_found_damage", content_id=claim.plan.content_id, error=str(exc))
        # The first time it may have raced an overwrite.
        delay = FIRST_RETRY if claim.attempts == 1 else DAMAGE_RETRY
        await self._later(claim, delay, f"{type(exc).__name__}: {exc}")

    async def _later(self, claim: ClaimedMove, delay: Seconds, reason: str | None) -> None:
        await self._moves.postpone(claim, due_at=later(self._clock.now(), delay), reason=reason)

    @asynccontextmanager
    async def _renewing(self, claim: ClaimedMove) -> AsyncIterator[None]:
        """Keep the claim for as long as the block takes: a large copy must not be begun by a second worker."""

        async def renew() -> None:
            while True:
                await self._clock.sleep(Seconds(CLAIM_LEASE / 3))
                try:
                    await self._moves.renew(claim, lease=CLAIM_LEASE)
                except StorageError as exc:
                    log.warning("move_renewal_failed", content_id=claim.plan.content_id, error=str(exc))

        renewing = asyncio.get_running_loop().create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
