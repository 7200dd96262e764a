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
