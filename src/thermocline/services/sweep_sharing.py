"""One sweep of one placement, shared by however many workers there are.

1. *Plan*: the store's time is asked, and the keys are cut into shares at content ids of the catalog, so that each has
   as many contents. Nothing was listed yet.
2. *Look*: each share is claimed by a lease and listed page by page; of each page, afterwards, the catalog is asked what
   nothing names. Only counts are kept, with the last key, after each page. Who takes a share over goes on from there.
3. *Judge*: once every share was listed to its end, the limit is held against all of them together.
4. *Take*: shares in which something was found are listed again, and what nothing names, asked for again after its page
   was listed, goes into quarantine. One that finds far more than was judged stops the sweep: the catalog is another.

A listing that fails ends nothing: the share waits for whoever takes it up, and until all are whole nothing is judged.
Two workers on one share, after a lease was lost, are wasteful, not wrong: every step can be repeated.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import structlog

from thermocline.domain.keys import ObjectKey
from thermocline.domain.units import Seconds, Timestamp, elapsed, later
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.elections import Elections
from thermocline.ports.object_store import ObjectInfo
from thermocline.ports.ranges import ListsRanges
from thermocline.ports.sweeps import Sweeps
from thermocline.services.placements import Placement, Placements
from thermocline.services.recovering import RecoveringService
from thermocline.services.share_leases import ShareLease, ShareLeases, cut_ids
from thermocline.services.sweep_plans import Phase, SweepPlan, SweepShare, judged

log = structlog.get_logger(__name__)

SWEEP_BATCH: Final = 500
POLL: Final = Seconds(1.0)
"""How often one who waits for the others looks."""


class SharedSweep:
    """Sweeps placements whose store lists ranges."""

    def __init__(
        self,
        sweeps: Sweeps,
        cursors: Cursors,
        elections: Elections,
        placements: Placements,
        clock: Clock,
        recovering: RecoveringService,
        *,
        oldest_kept: Callable[[Placement], Awaitable[Timestamp]],
        grace: Seconds,
        max_share: float,
        share_size: int,
        new_token: Callable[[], str],
    ) -> None:
        self._sweeps = sweeps
        self._cursors = cursors
        self._placements = placements
        self._clock = clock
        self._recovering = recovering
        self._oldest_kept = oldest_kept
        self._grace = grace
        self._max_share = max_share
        self._share_size = share_size
        self._new_token = new_token
        self._leases = ShareLeases(elections, clock, new_token())

    async def plan_of(self, placement: Placement) -> SweepPlan | None:
        """Return the sweep that is under way, or was the last; None before the first."""
        cursor = await self._cursors.load(_name(placement))
        return None if cursor is None else SweepPlan.of(cursor)

    async def run(
        self,
        placement: Placement,
        store: ListsRanges,
        *,
        confirmed: bool,
        wait: bool,
        begin: bool = True,
        unless_within: Seconds = Seconds(0.0),
    ) -> SweepPlan | None:
        """Go on with the sweep under way, or begin one; return it once it has ended.

        One that ended, and began less than `unless_within` ago, is returned instead of beginning another.

        None: others are at what is left of it, and the caller does not wait; or the catalog recovers. A confirmed
        sweep is always a new one: what was counted before was not looked at by whoever confirms. Without `begin`
        only what is under way is gone on with. Raises what the store and the catalog raise.
        """
        is_ours = not begin
        while not await self._recovering.is_recovering():
            plan = await self.plan_of(placement)
            is_under_way = plan is not None and plan.ended_at is None
            if is_under_way and not (confirmed and not is_ours):
                is_ours = True
            elif is_ours or (plan is not None and 0 <= elapsed(plan.begun_at, self._clock.now()) < unless_within):
                return plan
            else:
                plan = await self._begin(placement, confirmed=confirmed)
                is_ours = plan is not None
            if plan is not None and (
                await self._go_on(placement, store, plan) or await self.plan_of(placement) != plan
            ):
                continue
            if not wait:
                return None
            await self._clock.sleep(POLL)
        return None

    async def _begin(self, placement: Placement, *, confirmed: bool) -> SweepPlan | None:
        """Plan a sweep; return it, or the one that another has just planned. None: another is planning."""
        async with self._leases.claimed(_name(placement)) as lease:
            if lease is None:
                return None
            current = await self.plan_of(placement)
            if current is not None and current.ended_at is None and not confirmed:
                return current
            plan = SweepPlan(
                token=self._new_token(),
                begun_at=self._clock.now(),
                oldest_kept=await self._oldest_kept(placement),
                confirmed=confirmed,
                bounds=await self._bounds(placement, lease),
            )
            await self._cursors.save(_name(placement), plan.as_cursor())
            return plan

    async def _bounds(self, placement: Placement, lease: ShareLease) -> tuple[str, ...]:
        """Return keys that cut the placement into shares of as many contents: of everything, or of many placements."""
        prefix = self._placements.key_prefix(placement.name)
        ids = await cut_ids(self._sweeps, self._share_size, lease.keep)
        return tuple(f"{prefix}{content_id}" for content_id in ids)

    async def _go_on(self, placement: Placement, store: ListsRanges, plan: SweepPlan) -> bool:
        """Do every share that no other is at, then judge if all are done; whether anything came of it."""
        done: dict[int, SweepShare] = {}
        moved = False
        for number in range(plan.shares):
            share = await self._share(placement, plan, number)
            if not share.is_done(plan.phase):
                found = await self._do(placement, store, plan, number)
                if found is None:
                    continue
                share, moved = found, True
            done[number] = share
        if len(done) < plan.shares:
            return moved
        return await self._replace(placement, plan, done)

    async def _do(self, placement: Placement, store: ListsRanges, plan: SweepPlan, number: int) -> SweepShare | None:
        """Do what is left of a share; None: another does, or the sweep is not what it was."""
        async with self._leases.claimed(f"{_name(placement)}/{number}") as lease:
            if lease is None or not await self._is_on(placement, plan):
                return None
            share = await self._share(placement, plan, number)
            if share.is_done(plan.phase):
                return share
            if share.phase is not plan.phase:
                share = replace(share, phase=plan.phase, after="", ended_at=None)
            ended = await self._list(placement, store, plan, share, lease)
            if ended is not None and not await self._note(placement, plan, ended, lease):
                return None
            return ended

    async def _list(
        self, placement: Placement, store: ListsRanges, plan: SweepPlan, share: SweepShare, lease: ShareLease
    ) -> SweepShare | None:
        """List what is left of a share; return it at its end, or None if it is to be left."""
        prefix = self._placements.key_prefix(placement.name)
        start, until = plan.range_of(share.number)
        begun = share
        async with aclosing(store.list_range(prefix, after=share.after or start, until=until)) as pages:
            async for page in pages:
                # Noted only now that there is more: the last page is noted together with the end.
                if share is not begun and not await self._note(placement, plan, share, lease):
                    return None
                old = _old_keys(page, plan)
                if plan.phase is Phase.LOOKING:
                    unnamed = share.unnamed + await self._count(old)
                    share = replace(share, after=page[-1].key, listed=share.listed + len(page), unnamed=unnamed)
                    continue
                taken = await self._take(placement, plan, share, old)
                if taken is None:
                    return None
                share = replace(share, after=page[-1].key, quarantined=share.quarantined + taken)
        return replace(share, ended_at=self._clock.now())

    async def _count(self, keys: Sequence[str]) -> int:
        return sum([len(await self._sweeps.unnamed(batch)) for batch in batches(keys)])

    async def _take(self, placement: Placement, plan: SweepPlan, share: SweepShare, keys: Sequence[str]) -> int | None:
        """Put what nothing names into quarantine; return how many, or None if the sweep is over."""
        unnamed = [key for batch in batches(keys) for key in await self._sweeps.unnamed(batch)]
        if not await self._is_on(placement, plan):
            return None
        if share.quarantined + len(unnamed) > share.most and not plan.confirmed:
            reason = (
                f"nothing names {share.quarantined + len(unnamed)} objects or more where {share.unnamed} were counted "
                "before; if the catalog was not exchanged meanwhile, run 'thermocline fsck --sweep --confirm'"
            )
            shares = {number: await self._share(placement, plan, number) for number in range(plan.shares)}
            await self._replace(placement, plan, shares, refused=reason)
            return None
        delete_at = later(self._clock.now(), self._grace)
        return sum(
            [
                await self._sweeps.quarantine_unnamed(batch, placement=placement.name, delete_at=delete_at)
                for batch in batches(unnamed)
            ]
        )

    async def _replace(
        self, placement: Placement, plan: SweepPlan, shares: dict[int, SweepShare], *, refused: str | None = None
    ) -> bool:
        """Let the plan be followed by what the shares say; whether it was, by this process or another."""
        now = self._clock.now()
        following = judged(plan, shares, max_share=self._max_share, now=now)
        if refused is not None:
            following = replace(following, ended_at=now, refused=refused)
        async with self._leases.claimed(_name(placement)) as lease:
            if lease is None:
                return False
            if await self.plan_of(placement) == plan:
                await self._cursors.save(_name(placement), following.as_cursor())
                _tell(placement, following)
        return True

    async def _note(self, placement: Placement, plan: SweepPlan, share: SweepShare, lease: ShareLease) -> bool:
        """Keep how far a share has come; False if it is another's by now, or the sweep is not what it was."""
        if await self.plan_of(placement) != plan or not await lease.keep():
            return False
        await self._cursors.save(f"{_name(placement)}/{share.number}", share.as_cursor())
        return True

    async def _is_on(self, placement: Placement, plan: SweepPlan) -> bool:
        return await self.plan_of(placement) == plan and not await self._recovering.is_recovering()

    async def _share(self, placement: Placement, plan: SweepPlan, number: int) -> SweepShare:
        return SweepShare.of(await self._cursors.load(f"{_name(placement)}/{number}"), plan, number)


def batches(keys: Sequence[str]) -> list[Sequence[str]]:
    """Return the keys in parts that one statement takes."""
    return [keys[start : start + SWEEP_BATCH] for start in range(0, len(keys), SWEEP_BATCH)]


def _name(placement: Placement) -> str:
    """Return what the cursor of the plan and the lease of planning are called; shares append their number."""
    return f"sweep/{placement.name}"


def _old_keys(page: Sequence[ObjectInfo], plan: SweepPlan) -> list[str]:
    return [info.key for info in page if info.modified_at < plan.oldest_kept and ObjectKey.parse(info.key)]


def _tell(placement: Placement, plan: SweepPlan) -> None:
    counted = {"listed": plan.listed, "unnamed": plan.unnamed, "quarantined": plan.quarantined}
    if plan.refused is not None:
        log.error("sweep_refused", placement=placement.name, reason=plan.refused, **counted)
    elif plan.ended_at is not None:
        log.info("sweep_ended", placement=placement.name, shares=plan.shares, **counted)
