"""Laws of `ChangeFeed`."""
# ruff: noqa: D102 - the name of a test states its law

from thermocline.domain.content import Changes
from thermocline.domain.units import Timestamp
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id, two_processes


class ChangeFeedContract(CatalogContract):
    """Laws of `ChangeFeed`."""

    async def test_every_commit_is_told_in_order_to_every_process(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            position = await one.catalog.changes.position()
            content_id = some_id()
            versions = [(await one.put(content_id)).record.version]
            for committed in (
                await other.change(content_id, Changes(metadata={"a": 1})),
                await one.put(content_id),
                await other.delete(content_id),
            ):
                assert committed is not None
                versions.append(committed.record.version)
            for steps in (one, other):
                page = await steps.catalog.changes.since(position, limit=10)
                assert [(change.content_id, change.version) for change in page.changes] == [
                    (content_id, version) for version in versions
                ]
                assert not page.gap
                assert page.position == await steps.catalog.changes.position()

    async def test_what_was_refused_is_not_told(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            position = await steps.catalog.changes.position()
            await steps.delete(some_id())
            await steps.change(some_id(), Changes())
            assert (await steps.catalog.changes.since(position, limit=10)).changes == ()

    async def test_a_quiet_feed_stays_quiet_and_wakes_up(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            position = await other.catalog.changes.position()
            for _ in range(5):
                for _ in range(4):
                    page = await other.catalog.changes.since(position, limit=10)
                    assert (page.position, page.changes, page.gap) == (position, (), False)
                committed = await one.put(some_id())
                page = await other.catalog.changes.since(position, limit=10)
                assert [change.content_id for change in page.changes] == [committed.record.content_id]
                position = page.position

    async def test_an_earlier_position_is_told_again(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            start = await steps.catalog.changes.position()
            await _put(steps, 3)
            for _ in range(3):
                assert len((await steps.catalog.changes.since(start, limit=10)).changes) == 3
                assert (await steps.catalog.changes.since(start + 3, limit=10)).changes == ()

    async def test_a_long_backlog_is_told_in_pieces(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            position = await steps.catalog.changes.position()
            await _put(steps, 7)
            told = []
            for _ in range(4):
                page = await steps.catalog.changes.since(position, limit=3)
                told += [change.sequence for change in page.changes]
                assert not page.gap
                position = page.position
            assert len(told) == 7
            assert told == sorted(set(told))

    async def test_a_gap_is_told_to_whoever_was_away_too_long(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            changes = steps.catalog.changes
            start = await changes.position()
            await _put(steps, 3)
            middle = await changes.position()
            steps.clock.advance(10)
            await _put(steps, 3)
            await changes.trim(before=steps.clock.now())
            page = await changes.since(start, limit=10)
            assert page.gap
            assert page.position == await changes.position()
            page = await changes.since(middle, limit=10)
            assert (page.gap, len(page.changes)) == (False, 3)
            # Even if nothing new ever comes, whoever missed something learns of it.
            end = await changes.position()
            await changes.trim(before=Timestamp(steps.clock.now() + 1))
            assert await changes.position() == end, "numbering never starts again"
            assert (await changes.since(middle, limit=10)).gap
            assert not (await changes.since(end, limit=10)).gap
            await _put(steps, 1)
            page = await changes.since(end, limit=10)
            assert (page.gap, len(page.changes), page.position > end) == (False, 1, True)

    async def test_a_position_of_a_newer_copy_is_a_gap(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _put(steps, 1)
            now = await steps.catalog.changes.position()
            page = await steps.catalog.changes.since(now + 1000, limit=10)
            assert (page.gap, page.position) == (True, now)


async def _put(steps: Steps, count: int) -> None:
    for _ in range(count):
        await steps.put(some_id())
