"""Totals are asked of the catalog seldom, and are never older than the caller allows."""

import asyncio
from collections.abc import Sequence

from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds
from thermocline.domain.work import QuarantineTotals, TierTotals
from thermocline.ports.totals import Totals
from thermocline.services.totalling import TotallingService
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.running import in_event_loop


class Counted(Totals):
    def __init__(self) -> None:
        self.asked = 0

    async def tiers(self) -> Sequence[TierTotals]:
        self.asked += 1
        await asyncio.sleep(0)
        return [TierTotals(StorageTier.HOT, self.asked, Bytes(0))]

    async def quarantine(self) -> QuarantineTotals:
        raise NotImplementedError


@in_event_loop
async def test_an_answer_is_kept_as_long_as_it_may_be_old() -> None:
    clock, totals = ManualClock(), Counted()
    service = TotallingService(totals, clock)
    first = await service.storage(max_age=Seconds(60))
    assert first.as_of == clock.now()
    clock.advance(60)
    assert await service.storage(max_age=Seconds(60)) == first
    clock.advance(1)
    assert (await service.storage(max_age=Seconds(60))).as_of == clock.now()
    assert totals.asked == 2
    clock.jump(-3600)
    clock.advance(61)
    assert (await service.storage(max_age=Seconds(60))).as_of == clock.now(), "a clock that was set back"


@in_event_loop
async def test_many_who_ask_at_once_share_one_question() -> None:
    totals = Counted()
    service = TotallingService(totals, ManualClock())
    answers = await asyncio.gather(*(service.storage(max_age=Seconds(0)) for _ in range(20)))
    assert totals.asked == 1
    assert len(set(map(id, answers))) == 1
