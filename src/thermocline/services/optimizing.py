"""Optimizing: each content is where the policy wants it, if that pays for itself.

1. The catalog is swept in chunks of columns; memory holds two. 2. A chunk is decided on as a whole
(`economics.deciding`). 3. Tiers that share a placement are changed at once, in batches: each is one transaction, and
its commit point. 4. What must be copied is planned within the day's budget (`copy_planning` has its commit points);
workers make the copies, each with a commit point of its own (`moving`). 5. The background pass is shared, and
notes how far it has come (`policy_passes`).

A crash loses nothing that was committed, and leaves nothing half done: the next pass decides anew from what is there,
and what was changed in between is compared and left alone. Two passes at once are wasteful, not wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.windows import DayWindow
from thermocline.ports.clock import Clock
from thermocline.ports.columns import CHUNK, Columns
from thermocline.services.copy_planning import CopyPlanner
from thermocline.services.deciders import Deciders
from thermocline.services.moving import MovingService
from thermocline.services.optimization_reports import OptimizationReport
from thermocline.services.policy_passes import ChunkDone, PassState, PolicyPasses
from thermocline.services.recovering import RecoveringService

if TYPE_CHECKING:
    from thermocline.services.chunk_decisions import ChunkDecisions, Decider

log = structlog.get_logger(__name__)

PERIOD: Final = Seconds(60.0)
"""How often each worker asks whether a pass is due, or joins one."""
CHANGE_BATCH: Final = 1000
"""Changes of one transaction."""


@dataclass(frozen=True, slots=True)
class PolicySchedule:
    """When the policy works by itself."""

    every: Seconds
    """How long after the beginning of one pass the next begins; 0: never."""
    window: DayWindow | None
    """When copies may be planned; None: always."""


class OptimizingService:
    """Moves contents to where the policy wants them, and says what came of it."""

    def __init__(
        self,
        columns: Columns,
        passes: PolicyPasses,
        moving: MovingService,
        planner: CopyPlanner,
        recovering: RecoveringService,
        clock: Clock,
        schedule: PolicySchedule,
        deciders: Deciders,
    ) -> None:
        self._columns = columns
        self._passes = passes
        self._moving = moving
        self._planner = planner
        self._recovering = recovering
        self._clock = clock
        self._schedule = schedule
        self._deciders = deciders
        self.last_report: OptimizationReport | None = None
        """Of this process's last share of a background pass."""

    @property
    def is_on(self) -> bool:
        """Whether there is a background pass."""
        return self._schedule.every > 0

    async def decider(self) -> "Decider":
        """Return what decides now; a pass has one from its beginning to its end."""
        return await self._deciders.current()

    async def run(
        self,
        *,
        dry_run: bool = False,
        prefix: str = "",
        limit: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> OptimizationReport:
        """Decide on every content whose id starts with `prefix`; change tiers, plan copies, and report.

        With `dry_run` nothing changes; window and the day's limits are then left out of account. It ends after
        `limit` transitions. `progress` is told how many contents were decided on. Raises `UnavailableError`: what was
        changed until then stays, and the same call does the rest.
        """
        decider = await self.decider()
        report = decider.new_report(dry_run=dry_run)
        after, until = decider.bounds_of(prefix)
        now = self._clock.now()
        async with aclosing(self._columns.sweep(now=now, after=after, until=until, chunk=CHUNK)) as chunks:
            async for chunk in chunks:
                decisions = await asyncio.to_thread(decider.decide, chunk, self._clock.now(), prefix=prefix)
                await self._apply(decisions, report, limit)
                progress(chunk.count)
                if limit is not None and report.transitions >= limit:
                    report.is_complete = False
                    break
        return report

    async def work(self) -> int:
        """Do some of the background pass that is under way or due; return how many contents. Any worker may."""
        if not self._may_plan(self._clock.now()) or await self._recovering.is_recovering():
            return 0
        return await self._passes.run(self._work_through)

    async def state(self) -> PassState | None:
        """Return how far the background pass is. None before the first."""
        return await self._passes.state()

    async def _work_through(self, after: str, until: str | None, note: Callable[[ChunkDone], Awaitable[bool]]) -> bool:
        """Decide on a share of everything; whether it came to its end."""
        decider = await self.decider()
        whole = decider.new_report(dry_run=False)
        came_to_the_end = True
        async with aclosing(
            self._columns.sweep(now=self._clock.now(), after=after, until=until, chunk=CHUNK)
        ) as chunks:
            async for chunk in chunks:
                decisions = await asyncio.to_thread(decider.decide, chunk, self._clock.now())
                report = decider.new_report(dry_run=False)
                await self._apply(decisions, report, None)
                whole.add(report)
                done = ChunkDone(chunk.last, report.examined, sum(report.refused.values()), report.transitions)
                if not await note(done) or not self._may_plan(self._clock.now()):
                    came_to_the_end = False
                    break
        self.last_report = whole
        log.info("optimized", ended=came_to_the_end, **_summary(whole))
        return came_to_the_end

    def _may_plan(self, now: Timestamp) -> bool:
        return self._schedule.window is None or self._schedule.window.contains(now)

    async def _apply(self, decisions: "ChunkDecisions", report: OptimizationReport, limit: int | None) -> None:
        """Make what was decided, and add it to the report."""
        room = None if limit is None else max(limit - report.transitions, 0)
        decisions.count_into(report)
        if report.dry_run:
            wishes = decisions.copy_rows(room)
            decisions.count_transitions(
                report, wishes, decisions.in_place_rows(None if room is None else room - len(wishes))
            )
            return
        copies = decisions.copy_rows(room)
        made_copies = []
        if len(copies) and not self._may_plan(self._clock.now()):
            report.refused["outside_window"] += len(copies)
        elif len(copies):
            answers = await self._planner.plan(decisions.copy_wishes(copies))
            for row, answer in zip(copies, answers, strict=True):
                if answer.planned:
                    made_copies.append(row)
                else:
                    report.refused[answer.refusal] += 1
        left = None if room is None else max(room - len(made_copies), 0)
        rows = decisions.in_place_rows(left, without_copies=frozenset(made_copies))
        made = []
        for start in range(0, len(rows), CHANGE_BATCH):
            batch = rows[start : start + CHANGE_BATCH]
            changed = await self._moving.change_tiers(decisions.tier_changes(batch))
            made += [row for row in batch if decisions.content_id(row) in changed]
            report.refused["changed"] += len(batch) - len(changed)
        decisions.count_transitions(report, made_copies, made)


def _summary(report: OptimizationReport) -> dict[str, object]:
    return {
        "policy": report.policy,
        "examined": report.examined,
        "in_place": report.in_place,
        "copies": report.copies,
        "refused": dict(report.refused),
        "cost_savings": round(report.cost_savings, 6),
    }
