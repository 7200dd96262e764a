"""A pass of the policy over everything, shared by however many workers there are.

1. *Plan*: ids of the catalog are cut into shares of as many contents; one cursor keeps the plan. 2. Each share is
claimed by a lease and decided on chunk by chunk; its cursor is noted after each chunk, so that who takes a share over
goes on from there. 3. Whoever finds that all shares have ended notes the end, with the sums.

Each row carries the token of its pass, so what a worker that slept writes into the next one counts for nothing there.
Two workers on one share, after a lease was lost, are wasteful, not wrong: each finds what the other has done.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.domain.units import Seconds, Timestamp, elapsed
from thermocline.domain.work import Cursor
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.elections import Elections
from thermocline.ports.sweeps import Sweeps
from thermocline.services.share_leases import ShareLease, ShareLeases, cut_ids

NAME: Final = "optimize"
"""The cursor of the plan, and the lease of planning; shares append their number."""


@dataclass(frozen=True, slots=True)
class PassState:
    """A pass under way, or the last one."""

    begun_at: Timestamp
    ended_at: Timestamp | None
    examined: int
    refused: int
    changed: int
    """Tiers changed, and copies planned."""


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """What became of a chunk."""

    last: str
    """Its last id."""
    examined: int
    refused: int
    changed: int


@dataclass(frozen=True, slots=True)
class _Plan:
    token: str
    bounds: tuple[str, ...]
    cursor: Cursor

    @property
    def shares(self) -> int:
        return len(self.bounds) + 1

    def range_of(self, number: int) -> tuple[str, str | None]:
        """Return the ids between which a share lies: above the first, up to the second."""
        after = self.bounds[number - 1] if number else ""
        return after, self.bounds[number] if number < len(self.bounds) else None


WorkThrough = Callable[[str, str | None, Callable[[ChunkDone], Awaitable[bool]]], Awaitable[bool]]
"""Works through the ids above the first, up to the second; tells each chunk, and stops if the answer is False. Returns
whether it came to the end."""


class PolicyPasses:
    """Divides passes among workers."""

    def __init__(
        self,
        cursors: Cursors,
        elections: Elections,
        sweeps: Sweeps,
        clock: Clock,
        *,
        every: Seconds,
        share_size: int,
        new_token: Callable[[], str],
    ) -> None:
        self._cursors = cursors
        self._leases = ShareLeases(elections, clock, new_token())
        self._sweeps = sweeps
        self._clock = clock
        self._every = every
        self._share_size = share_size
        self._new_token = new_token

    async def run(self, work_through: WorkThrough) -> int:
        """Do what is left of the pass under way, or due, and what no other is at; return how many contents."""
        plan = await self._plan_of() or await self._begin()
        if plan is None:
            return 0
        examined = 0
        shares: list[Cursor] = []
        for number in range(plan.shares):
            share = await self._share(plan, number)
            if share.ended_at is None:
                share, done = await self._do(plan, number, work_through)
                examined += done
                if done and share.ended_at is None:
                    return examined  # it was stopped: the window has closed, or another has the share
            shares.append(share)
        if all(share.ended_at is not None for share in shares):
            await self._end(plan, shares)
        return examined

    async def state(self) -> PassState | None:
        """Return how far the pass is; None before the first."""
        cursor = await self._cursors.load(NAME)
        if cursor is None:
            return None
        if cursor.ended_at is not None:
            return PassState(cursor.begun_at, cursor.ended_at, cursor.done, cursor.skipped, cursor.findings)
        plan = _plan_in(cursor)
        shares = [await self._share(plan, number) for number in range(plan.shares)]
        return PassState(cursor.begun_at, None, *_sums(shares))

    async def _plan_of(self) -> _Plan | None:
        """Return the pass under way."""
        cursor = await self._cursors.load(NAME)
        return None if cursor is None or cursor.ended_at is not None else _plan_in(cursor)

    async def _begin(self) -> _Plan | None:
        """Plan a pass if one is due; None: none is, or another is planning it."""
        if not await self._is_due():
            return None
        async with self._leases.claimed(NAME) as lease:
            if lease is None:
                return None
            # Another may have planned it, or ended it, since it was looked at.
            current = await self._plan_of()
            if current is not None or not await self._is_due():
                return current
            begun_at = self._clock.now()
            bounds = await cut_ids(self._sweeps, self._share_size, lease.keep)
            told = json.dumps({"token": self._new_token(), "bounds": bounds})
            cursor = Cursor(told, begun_at)
            await self._cursors.save(NAME, cursor)
            return _plan_in(cursor)

    async def _is_due(self) -> bool:
        cursor = await self._cursors.load(NAME)
        return cursor is None or not 0 <= elapsed(cursor.begun_at, self._clock.now()) < self._every

    async def _do(self, plan: _Plan, number: int, work_through: WorkThrough) -> tuple[Cursor, int]:
        """Do what is left of a share; return how far it is, and how many contents were decided on."""
        async with self._leases.claimed(f"{NAME}/{number}") as lease:
            share = await self._share(plan, number)
            if lease is None or share.ended_at is not None:
                return share, 0
            begun = share.done
            kept = _Kept(self._cursors, lease, plan, number, share)
            after, until = plan.range_of(number)
            came_to_the_end = await work_through(_position(share) or after, until, kept.note)
            if came_to_the_end and await lease.keep():
                await kept.end(self._clock.now())
            return kept.share, kept.share.done - begun

    async def _share(self, plan: _Plan, number: int) -> Cursor:
        cursor = await self._cursors.load(f"{NAME}/{number}")
        if cursor is None or json.loads(cursor.position)["token"] != plan.token:
            return Cursor(json.dumps({"token": plan.token, "after": ""}), plan.cursor.begun_at)
        return cursor

    async def _end(self, plan: _Plan, shares: Sequence[Cursor]) -> None:
        async with self._leases.claimed(NAME) as lease:
            current = await self._plan_of()
            if lease is not None and current is not None and current.token == plan.token:
                examined, refused, changed = _sums(shares)
                ended = Cursor(
                    plan.cursor.position, plan.cursor.begun_at, self._clock.now(), examined, refused, changed
                )
                await self._cursors.save(NAME, ended)


class _Kept:
    """How far a share is, kept as its chunks are done."""

    def __init__(self, cursors: Cursors, lease: ShareLease, plan: _Plan, number: int, share: Cursor) -> None:
        self.share = share
        self._cursors = cursors
        self._lease = lease
        self._plan = plan
        self._number = number

    async def note(self, done: ChunkDone) -> bool:
        """Keep that a chunk is done; False if the share is another's by now."""
        share = self.share
        self.share = Cursor(
            json.dumps({"token": self._plan.token, "after": done.last}),
            share.begun_at,
            None,
            share.done + done.examined,
            share.skipped + done.refused,
            share.findings + done.changed,
        )
        if not await self._lease.keep():
            return False
        await self._save()
        return True

    async def end(self, now: Timestamp) -> None:
        """Keep that it came to its end."""
        share = self.share
        self.share = Cursor(share.position, share.begun_at, now, share.done, share.skipped, share.findings)
        await self._save()

    async def _save(self) -> None:
        await self._cursors.save(f"{NAME}/{self._number}", self.share)


def _plan_in(cursor: Cursor) -> _Plan:
    told = json.loads(cursor.position)
    return _Plan(told["token"], tuple(told["bounds"]), cursor)


def _position(share: Cursor) -> str:
    after: str = json.loads(share.position)["after"]
    return after


def _sums(shares: Sequence[Cursor]) -> tuple[int, int, int]:
    return (
        sum(share.done for share in shares),
        sum(share.skipped for share in shares),
        sum(share.findings for share in shares),
    )
