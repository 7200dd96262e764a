"""Learning, once a day, how contents are read here, so that the policy `learned` decides by it. Heavy to import.

1. The catalog is swept for contents, then for their reads of every day that is kept; a sample is kept of them. 2. A
thread learns from it, and tries what it learned beside other rules (`economics.shadows`). 3. One row of `cursors` is
set: the commit point. A crash leaves the old lesson, and the next run begins anew.

One process is elected to do it. Two at once are wasteful, not wrong: the last one's lesson stays.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import structlog

from thermocline.domain.heat import day_of
from thermocline.domain.units import Seconds, elapsed
from thermocline.domain.work import Cursor
from thermocline.economics.deciding import DecisionRules
from thermocline.economics.histories import History
from thermocline.ports.clock import Clock
from thermocline.ports.columns import Columns
from thermocline.ports.cursors import Cursors
from thermocline.ports.read_history import ReadHistory
from thermocline.services.deciders import LESSON
from thermocline.services.past_gathering import PastGatherer
from thermocline.services.policy_lessons import learn, taught
from thermocline.services.recovering import RecoveringService

log = structlog.get_logger(__name__)

EVERY: Final = Seconds(86_400.0)
"""How long after the beginning of one run the next begins."""
AGAIN_AFTER: Final = Seconds(3600.0)
"""The same, where what is saved is of no use: processes with different settings would else learn in turns for ever."""
LEAST_PLACES: Final = 2


class PolicyLearningService:
    """Learns for the rules of this process, and saves it for all of them."""

    def __init__(
        self,
        columns: Columns,
        read_history: ReadHistory,
        cursors: Cursors,
        recovering: RecoveringService,
        clock: Clock,
        make_rules: Callable[[], DecisionRules],
    ) -> None:
        self._columns = columns
        self._read_history = read_history
        self._cursors = cursors
        self._recovering = recovering
        self._clock = clock
        self._rules = make_rules()

    async def work(self) -> int:
        """Learn if that is due, and save it; return from how many contents. For an elected job.

        Where the tiers have fewer than two places to choose from there is nothing to learn. Raises `UnavailableError`:
        then what was learned before stays.
        """
        if len(self._rules.open_places) < LEAST_PLACES or await self._recovering.is_recovering():
            return 0
        begun_at = self._clock.now()
        saved = await self._cursors.load(LESSON)
        if saved is not None:
            known = await asyncio.to_thread(taught, self._rules, saved.position)
            if 0 <= elapsed(saved.begun_at, begun_at) < (EVERY if known.is_current else AGAIN_AFTER):
                return 0
        past, sample = await self._gather(day_of(begun_at))
        lesson = await asyncio.to_thread(learn, self._rules, past, sample=sample)
        await self._cursors.save(LESSON, Cursor(lesson, begun_at, self._clock.now(), done=past.object_count))
        found = taught(self._rules, lesson)
        log.info("policy_learned", policy=found.policy, note=found.note, contents=past.object_count, days=past.days)
        return past.object_count

    async def _gather(self, today: int) -> tuple[History, int]:
        """Return the past up to yesterday, and of one content in how many it is."""
        gatherer = PastGatherer(today)
        async with aclosing(self._columns.sweep(now=self._clock.now())) as contents:
            async for chunk in contents:
                await asyncio.to_thread(gatherer.take_contents, chunk)
        async with aclosing(self._read_history.sweep(0, today - 1, sample=gatherer.sample)) as reads:
            async for days in reads:
                await asyncio.to_thread(gatherer.take_reads, days)
        return await asyncio.to_thread(gatherer.past), gatherer.sample
