"""Laws of `Savings`."""
# ruff: noqa: D102 - the name of a test states its law

from collections.abc import Sequence
from dataclasses import replace

from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import AccessCount
from thermocline.domain.moves import MoveForecast, TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Usd
from thermocline.ports.savings import Realised
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import EVERYTHING, FAR_FUTURE, OpenCatalog, Steps, one_process, some_id

HOT, WARM, COLD, ARCHIVE = StorageTier
_FORECAST = MoveForecast(Usd(0.25), Usd(0.001))


class SavingsContract(CatalogContract):
    """Laws of `Savings`."""

    async def test_a_move_is_good_until_now_and_its_reads_are_those_since(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, other = some_id("a"), some_id("b")
            for each in (content_id, other):
                await steps.put(each, tier=WARM)
                await _read(steps, each, 5)
            await _change(steps, content_id, COLD)
            steps.clock.advance(10)
            for each in (content_id, other):
                await _read(steps, each, 2)
            (found,) = await _realised(steps)
            assert (found.entry,) == tuple(await steps.ledger(content_id))
            assert (found.entry.forecast, found.entry.storage_reads) == (_FORECAST, 5)
            assert (found.until, found.storage_reads_since) == (steps.clock.now(), 2)

    async def test_the_next_move_ends_it_whoever_wanted_that_one(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=HOT)
            await _change(steps, content_id, WARM)
            steps.clock.advance(10)
            await _read(steps, content_id, 3)
            move = await steps.begin_move(content_id, COLD, by_policy=True, forecast=_FORECAST)
            assert await steps.commit_move(move) is not None
            copied_at = steps.clock.now()
            steps.clock.advance(10)
            await _read(steps, content_id, 4)
            await _change(steps, content_id, HOT, by_policy=False)
            asked_at = steps.clock.now()
            steps.clock.advance(10)
            await _read(steps, content_id, 100)
            newer, older = await _realised(steps)
            assert (older.entry.to_tier, older.until, older.storage_reads_since) == (WARM, copied_at, 3)
            assert (newer.entry.to_tier, newer.until, newer.storage_reads_since) == (COLD, asked_at, 4)
            assert newer.entry.forecast == older.entry.forecast == _FORECAST

    async def test_the_end_of_a_content_ends_it_and_its_reads_are_unknown(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, again = some_id("a"), some_id("b")
            for each in (content_id, again):
                await steps.put(each, tier=WARM)
                await _change(steps, each, COLD)
                await _read(steps, each, 1)
            steps.clock.advance(10)
            ended_at = steps.clock.now()
            for each in (content_id, again):
                await steps.delete(each)
            steps.clock.advance(10)
            await steps.put(again, tier=WARM)
            created_at = steps.clock.now()
            steps.clock.advance(10)
            await _read(steps, again, 50)
            await _change(steps, again, HOT)
            found = {(each.entry.content_id, each.entry.to_tier): each for each in await _realised(steps)}
            assert {each: (row.until, row.storage_reads_since) for each, row in found.items()} == {
                (content_id, COLD): (ended_at, None),
                # Nobody knows any more when the first one ended: not after the second began.
                (again, COLD): (created_at, None),
                (again, HOT): (steps.clock.now(), 0),
            }

    async def test_an_overwrite_ends_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=WARM)
            await _change(steps, content_id, COLD)
            steps.clock.advance(10)
            await steps.put(content_id, b"other", tier=COLD)
            await _read(steps, content_id, 2)
            (found,) = await _realised(steps)
            assert (found.until, found.storage_reads_since) == (steps.clock.now(), 2)

    async def test_erased_and_long_gone_contents_are_left_out(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            kept, erased, gone = some_id("a"), some_id("b"), some_id("c")
            for each in (kept, erased, gone):
                await steps.put(each, tier=WARM)
                await _change(steps, each, COLD)
            await steps.delete(gone)
            await steps.catalog.records.forget_tombstones(deleted_before=FAR_FUTURE, limit=EVERYTHING)
            await steps.erase(erased)
            assert [each.entry.content_id for each in await _realised(steps)] == [kept]

    async def test_pages_go_from_the_newest_to_the_oldest(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = [some_id(str(number)) for number in range(7)]
            for content_id in ids:
                await steps.put(content_id, tier=WARM)
                await _change(steps, content_id, COLD)
                await _change(steps, content_id, HOT, by_policy=False)
            savings, before, found = steps.catalog.savings, None, list[Realised]()
            while page := await savings.realised(now=steps.clock.now(), limit=3, before=before):
                assert len(page) <= 3
                found += page
                before = page[-1].position
            assert [each.entry.content_id for each in found] == ids[::-1]
            assert found == await _realised(steps)

    async def test_a_clock_that_was_set_back_ends_nothing_before_it_began(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=WARM)
            steps.clock.advance(100)
            await _change(steps, content_id, COLD)
            steps.clock.jump(-50)
            (found,) = await _realised(steps)
            assert found.until == found.entry.moved_at


async def _change(steps: Steps, content_id: ContentId, tier: StorageTier, *, by_policy: bool = True) -> None:
    record = await steps.existing(content_id)
    change = TierChange(content_id, record.revision, record.placement, record.tier, tier)
    if by_policy:
        change = replace(change, by_policy=True, forecast=_FORECAST)
    assert len(await steps.set_tiers([change])) == 1


async def _read(steps: Steps, content_id: ContentId, reads: int) -> None:
    await steps.catalog.accesses.add([AccessCount(content_id, cache=9, storage=reads)], now=steps.clock.now())


async def _realised(steps: Steps) -> Sequence[Realised]:
    return await steps.catalog.savings.realised(now=steps.clock.now(), limit=EVERYTHING)
