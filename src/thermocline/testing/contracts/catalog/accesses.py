"""Laws of `Accesses`, and of the access summary that `Records.describe` shows."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from thermocline.domain.content import Changes
from thermocline.domain.content_id import ContentId
from thermocline.domain.heat import DAY_MICROS, HEAT_DAYS, AccessCount, AccessDay, AccessSummary, day_of
from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVERYTHING,
    PLACEMENT,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)

DAY_SECONDS = 86_400.0
MANY_DAYS = 4000


class AccessesContract(CatalogContract):
    """Laws of `Accesses`."""

    async def test_reads_are_counted_by_day_and_kind_and_in_total(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, other = some_id(), some_id("ü/'\"")
            await steps.put(content_id)
            await steps.put(other)
            assert await _summary(steps, content_id) == AccessSummary(0, 0, None, (0.0,) * len(HEAT_DAYS))
            today = day_of(steps.clock.now())
            assert await _add(steps, AccessCount(content_id, 1, 2, 3), AccessCount(other, 1, 0)) == 2
            assert await _add(steps, AccessCount(content_id, 10, 20, 30)) == 1
            steps.clock.advance(DAY_SECONDS)
            assert await _add(steps, AccessCount(content_id, 0, 1)) == 1
            days = (AccessDay(today + 1, 0, 1, 0), AccessDay(today, 11, 22, 33))
            assert await _days(steps, content_id) == days
            assert await _days(steps, other) == (AccessDay(today, 1, 0, 0),)
            summary = await _summary(steps, content_id)
            assert (summary.reads_total, summary.storage_reads) == (67, 23)
            assert summary.last_read_at == steps.clock.now()
            assert summary.days == days
            assert list(summary.rates) == sorted(summary.rates, reverse=True), "all of it was read lately"

    async def test_days_are_told_from_the_first_to_the_last_asked_for(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            first = day_of(steps.clock.now())
            for _ in range(5):
                await _add(steps, AccessCount(content_id, 1, 0))
                steps.clock.advance(2 * DAY_SECONDS)
            told = await steps.catalog.accesses.days(content_id, first=first + 1, last=first + 6)
            assert [day.day for day in told] == [first + 6, first + 4, first + 2]
            assert tuple(await steps.catalog.accesses.days(content_id, first=first + 1, last=first + 1)) == ()
            assert tuple(await steps.catalog.accesses.days(content_id, first=first + 1, last=first)) == ()
            steps.clock.advance(40 * DAY_SECONDS)
            assert (await _summary(steps, content_id)).days == (), "a month shows no older days"

    async def test_nothing_to_add_is_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await _add(steps) == 0

    async def test_the_last_read_never_becomes_an_earlier_one(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            steps.clock.advance(30 * DAY_SECONDS)
            late = steps.clock.now()
            await _add(steps, AccessCount(content_id, 1, 0))
            steps.clock.jump(-20 * DAY_SECONDS)
            await _add(steps, AccessCount(content_id, 1, 0))
            summary = await _summary(steps, content_id)
            assert (summary.reads_total, summary.last_read_at) == (2, late)
            assert summary.rates[0] <= 2 / HEAT_DAYS[0], "a clock that was set back makes nothing hotter"

    async def test_contents_that_are_gone_leave_no_history(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            never, deleted, live = some_id(), some_id(), some_id()
            for content_id in (deleted, live):
                await steps.put(content_id)
            await steps.delete(deleted)
            counts = [AccessCount(content_id, 5, 5) for content_id in (never, deleted, live)]
            assert await _add(steps, *counts) == 1
            assert len(await _days(steps, live)) == 1
            for content_id in (never, deleted):
                assert await _days(steps, content_id) == ()
                assert await steps.find(content_id) is None
                assert await steps.catalog.records.describe(content_id, now=steps.clock.now()) is None

    async def test_an_overwrite_and_a_change_keep_the_summary_and_a_delete_ends_it(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await _add(steps, AccessCount(content_id, 3, 4))
            read = await _summary(steps, content_id)
            await steps.put(content_id, b"other")
            await steps.change(content_id, Changes(metadata={"a": 1}))
            assert await _summary(steps, content_id) == read
            steps.clock.advance(DAY_SECONDS)
            await steps.delete(content_id)
            await steps.put(content_id, b"anew")
            assert await _summary(steps, content_id) == AccessSummary(0, 0, None, (0.0,) * len(HEAT_DAYS))

    async def test_an_erasure_leaves_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, neighbour = some_id(), some_id()
            for each in (content_id, neighbour):
                await steps.put(each)
            for _ in range(3):
                await _add(steps, AccessCount(content_id, 1, 1), AccessCount(neighbour, 1, 1))
                steps.clock.advance(DAY_SECONDS)
            now = steps.clock.now()
            erased = await steps.catalog.records.commit_erase(
                content_id, prefixes=[f"home/{PLACEMENT}/{content_id}/"], now=now, evict_at=now
            )
            assert erased.access_days == 3
            assert await _days(steps, content_id) == ()
            assert await _add(steps, AccessCount(content_id, 1, 1)) == 0, "counts that come after the erasure"
            assert await _days(steps, content_id) == ()
            assert len(await _days(steps, neighbour)) == 3

    async def test_a_flush_raises_no_version_and_announces_nothing(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            content_id = some_id()
            await one.put(content_id)
            await one.take_all(OutboxKind.INVALIDATE)
            before = await one.existing(content_id)
            position = await other.catalog.changes.position()
            await _add(one, AccessCount(content_id, 1, 1))
            assert await one.existing(content_id) == before
            assert (await other.catalog.changes.since(position, limit=10)).changes == ()
            assert await one.take(OutboxKind.INVALIDATE) == []

    async def test_flushes_of_several_processes_add_up(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            contents = [some_id() for _ in range(8)]
            for content_id in contents:
                await one.put(content_id)
            sums: Counter[ContentId] = Counter()

            async def flush(steps: Steps) -> None:
                chosen = random.sample(contents, 5)
                sums.update(dict.fromkeys(chosen, 3))
                await _add(steps, *(AccessCount(content_id, 2, 1) for content_id in chosen))

            await asyncio.gather(*(flush(steps) for steps in (one, other) * 10), *(one.put(each) for each in contents))
            for content_id in contents:
                assert (await _summary(other, content_id)).reads_total == sums[content_id]
                assert sum(day.cache + day.storage for day in await _days(one, content_id)) == sums[content_id]

    async def test_old_days_are_forgotten_step_by_step(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            contents = [some_id() for _ in range(3)]
            for content_id in contents:
                await steps.put(content_id)
            first = day_of(steps.clock.now())
            for _ in range(4):
                await _add(steps, *(AccessCount(content_id, 1, 0) for content_id in contents))
                steps.clock.advance(DAY_SECONDS)
            trim = steps.catalog.accesses.trim
            assert await trim(before_day=first, limit=EVERYTHING) == 0
            forgotten = []
            while (count := await trim(before_day=first + 2, limit=2)) > 0:
                forgotten.append(count)
            assert sum(forgotten) == 6
            assert max(forgotten) <= 2
            for content_id in contents:
                assert [day.day for day in await _days(steps, content_id)] == [first + 3, first + 2]
                assert (await _summary(steps, content_id)).reads_total == 4, "totals remember"

    async def test_steady_reads_show_their_rate_for_decades(self, open_catalog: OpenCatalog) -> None:
        """Long after the first weights would have overflowed."""
        async with one_process(open_catalog) as steps:
            content_id, forgotten = some_id(), some_id()
            for each in (content_id, forgotten):
                await steps.put(each)
            await _add(steps, AccessCount(forgotten, 10**9, 0))
            for _ in range(3):
                steps.clock.advance(MANY_DAYS * DAY_SECONDS)
                await _add(steps, AccessCount(forgotten, 1, 0))
                for _ in range(80):
                    steps.clock.advance(DAY_SECONDS)
                    await _add(steps, AccessCount(content_id, 4, 2))
                rates = (await _summary(steps, content_id)).rates
                assert rates[0] == pytest.approx(6, rel=0.15)
                assert rates[1] == pytest.approx(6, rel=0.1)
                assert rates[2] < 6, "not yet read for so long"
            assert (await _summary(steps, forgotten)).reads_total == 10**9 + 3
            assert sum((await _summary(steps, forgotten)).rates) < 1


async def _add(steps: Steps, *counts: AccessCount) -> int:
    return await steps.catalog.accesses.add(counts, now=steps.clock.now())


async def _days(steps: Steps, content_id: ContentId) -> Sequence[AccessDay]:
    today = day_of(Timestamp(steps.clock.now() + 10 * DAY_MICROS))
    return tuple(await steps.catalog.accesses.days(content_id, first=today - 100, last=today))


async def _summary(steps: Steps, content_id: ContentId) -> AccessSummary:
    record = await steps.catalog.records.describe(content_id, now=steps.clock.now())
    assert record is not None
    assert record.access is not None
    return record.access
