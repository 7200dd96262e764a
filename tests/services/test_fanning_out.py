"""Work is bounded, ends whole, and its failures are heard."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from thermocline.services.fanning_out import FanOut

ITEMS = 100


async def pages(size: int, drawn: list[int] | None = None) -> AsyncIterator[Sequence[int]]:
    for start in range(0, ITEMS, size):
        if drawn is not None:
            drawn.append(start)
        yield range(start, min(start + size, ITEMS))
        await asyncio.sleep(0)


@pytest.mark.parametrize("jobs", [1, 3, 200])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_item_is_worked_on_once(jobs: int, size: int) -> None:
    async def scenario() -> None:
        done: list[int] = []
        running = most = 0

        async def work(item: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(item % 5):
                await asyncio.sleep(0)
            running -= 1
            done.append(item)

        await FanOut[int](jobs).run(pages(size), work)
        assert sorted(done) == list(range(ITEMS))
        assert most <= jobs

    asyncio.run(scenario())


def test_pages_are_not_drawn_far_ahead() -> None:
    async def scenario() -> None:
        drawn: list[int] = []
        opened = asyncio.Event()

        async def work(_: int) -> None:
            await opened.wait()

        running = asyncio.ensure_future(FanOut[int](2).run(pages(10, drawn), work))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(drawn) == 1
        opened.set()
        await running

    asyncio.run(scenario())


def test_a_stop_begins_nothing_more() -> None:
    async def scenario() -> None:
        done: list[int] = []
        fan: FanOut[int] = FanOut(2)

        async def work(item: int) -> None:
            await asyncio.sleep(0)
            done.append(item)
            if item == 10:
                fan.stop()

        await fan.run(pages(5), work)
        assert 11 <= len(done) <= 12

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["work", "pages"])
def test_a_failure_ends_it_after_all_has_come_to_rest(where: str) -> None:
    async def scenario() -> None:
        resting = 0

        async def broken() -> AsyncIterator[Sequence[int]]:
            yield [1, 2, 3]
            if where == "pages":
                raise LookupError("gone")
            yield [13]

        async def work(item: int) -> None:
            nonlocal resting
            if item == 13:
                raise LookupError("gone")
            for _ in range(10):
                await asyncio.sleep(0)
            resting += 1

        with pytest.raises(LookupError, match="gone"):
            await FanOut[int](4).run(broken(), work)
        assert resting == 3

    asyncio.run(scenario())


def test_a_cancellation_lets_what_has_begun_come_to_its_end() -> None:
    async def scenario() -> None:
        begun: list[int] = []
        ended: list[int] = []
        go_on, all_begun = asyncio.Event(), asyncio.Event()

        async def work(item: int) -> None:
            begun.append(item)
            if len(begun) == 3:
                all_begun.set()
            await go_on.wait()
            ended.append(item)

        running = asyncio.ensure_future(FanOut[int](3).run(pages(10), work))
        await all_begun.wait()
        running.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert begun == ended == [0, 1, 2]

    asyncio.run(scenario())
