"""The memory budget: never exceeded, first come first served, bounded waiting, nothing leaks."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.errors import BusyError
from thermocline.domain.units import Bytes, Seconds
from thermocline.services.admission import MemoryBudget

CAPACITY = Bytes(100)


def budget(*, max_wait: float = 60.0, max_waiters: int = 1000) -> MemoryBudget:
    return MemoryBudget(CAPACITY, max_wait=Seconds(max_wait), max_waiters=max_waiters)


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 3), st.booleans()), max_size=40), st.integers(0, 2**32))
def test_never_more_than_the_capacity_and_all_is_given_back(work: list[tuple[int, int, bool]], seed: int) -> None:
    dice = random.Random(seed)

    async def scenario() -> None:
        memory = budget()
        held = 0
        highest = 0

        async def worker(size: int, turns: int) -> None:
            nonlocal held, highest
            async with memory.grant(size):
                held += min(size, CAPACITY)
                highest = max(highest, held)
                for _ in range(turns):
                    await asyncio.sleep(0)
                held -= min(size, CAPACITY)

        tasks = [asyncio.create_task(worker(size, turns)) for size, turns, _ in work]
        for task, (_, _, cancelled) in zip(tasks, work, strict=True):
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        # A worker that is cancelled inside its block leaves `held` as it was: count only those that finished.
        await asyncio.gather(*tasks, return_exceptions=True)
        assert memory.in_use == 0
        if not any(cancelled for _, _, cancelled in work):
            assert highest <= CAPACITY

    asyncio.run(scenario())


def test_large_requests_are_not_starved_by_small_ones() -> None:
    async def scenario() -> list[str]:
        memory = budget()
        order: list[str] = []

        async def worker(name: str, size: int) -> None:
            async with memory.grant(size):
                order.append(name)

        first = await memory.take(60)
        tasks = [asyncio.create_task(worker("large", 100)), asyncio.create_task(worker("small", 10))]
        await asyncio.sleep(0)
        memory.give_back(first)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == ["large", "small"]


def test_waiting_ends_and_is_bounded() -> None:
    async def scenario() -> None:
        memory = budget(max_wait=0.0, max_waiters=1)
        await memory.take(100)
        with pytest.raises(BusyError) as refusal:
            await memory.take(1)
        assert refusal.value.retryable
        assert memory.refused == 1
        patient = budget(max_waiters=1)
        taken = await patient.take(100)
        waiting = asyncio.create_task(patient.take(1))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await patient.take(1)
        patient.give_back(taken)
        assert await waiting == 1

    asyncio.run(scenario())


def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_it_back() -> None:
    async def scenario() -> None:
        memory = budget()
        taken = await memory.take(100)
        waiting = asyncio.create_task(memory.take(50))
        await asyncio.sleep(0)
        memory.give_back(taken)  # grants the waiter, which has not run yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert memory.in_use == 0

    asyncio.run(scenario())


def test_who_needs_nothing_waits_for_nobody() -> None:
    """Content that is in memory already is written even while others wait for room."""

    async def scenario() -> None:
        memory = budget(max_wait=0.0, max_waiters=0)
        await memory.take(100)
        assert await memory.take(0) == 0
        async with memory.grant(0):
            assert memory.in_use == 100
        with pytest.raises(BusyError):
            await memory.take(1)
        patient = budget()
        taken = await patient.take(100)
        waiting = asyncio.create_task(patient.take(50))
        await asyncio.sleep(0)
        assert await patient.take(0) == 0
        patient.give_back(taken)
        assert await waiting == 50

    asyncio.run(scenario())


def test_one_larger_than_the_budget_gets_all_of_it_alone() -> None:
    async def scenario() -> None:
        memory = budget()
        async with memory.grant(10**9):
            assert memory.in_use == CAPACITY
        assert memory.in_use == 0

    asyncio.run(scenario())


def test_a_block_that_fails_gives_its_grant_back() -> None:
    async def scenario() -> None:
        memory = budget()
        for failure in (ZeroDivisionError, asyncio.CancelledError, GeneratorExit):
            with pytest.raises(failure):
                async with memory.grant(60):
                    raise failure
            assert memory.in_use == 0

    asyncio.run(scenario())


def test_whoever_gives_up_waiting_lets_the_next_one_in() -> None:
    """The first in the queue is too large for what is free; the second would fit and must not wait on."""

    async def scenario(*, cancelled: bool) -> None:
        memory = budget(max_wait=60.0 if cancelled else 0.01)
        await memory.take(60)
        large = asyncio.create_task(memory.take(80))
        await asyncio.sleep(0)
        small = [asyncio.create_task(memory.take(20)) for _ in range(2)]
        await asyncio.sleep(0)
        assert not memory.take_now(10), "nobody overtakes"
        if cancelled:
            large.cancel()
        outcomes = await asyncio.gather(large, *small, return_exceptions=True)
        if cancelled:
            assert isinstance(outcomes[0], asyncio.CancelledError)
            assert outcomes[1:] == [20, 20]
            assert memory.in_use == 100
        else:
            assert isinstance(outcomes[0], BusyError)
        assert not memory._waiting

    for cancelled in (True, False):
        asyncio.run(scenario(cancelled=cancelled))


def test_one_return_lets_everybody_in_who_fits() -> None:
    async def scenario() -> None:
        memory = budget()
        taken = await memory.take(100)
        waiting = [asyncio.create_task(memory.take(30)) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        memory.give_back(taken)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [outcome for outcome in outcomes if not isinstance(outcome, BaseException)] == [30, 30, 30]
        assert memory.in_use == 90
        assert memory.take_now(10)
        assert not memory.take_now(1)

    asyncio.run(scenario())
