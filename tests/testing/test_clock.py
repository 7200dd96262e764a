"""The manual clock: sleepers wake in order, at exactly their time, and never by themselves."""

import asyncio
import threading

import pytest

from thermocline.domain.units import Seconds, Timestamp
from thermocline.testing.clock import START, ManualClock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(Timestamp(5_000_000))
    assert (clock.now(), clock.now()) == (5_000_000, 5_000_000)
    before = clock.monotonic()
    clock.advance(0.1)
    clock.advance(0.2)
    assert clock.now() == 5_300_000
    assert round(clock.monotonic() - before, 9) == 0.3
    assert ManualClock().now() == START


def test_a_jump_moves_the_wall_clock_alone() -> None:
    clock = ManualClock()
    before = clock.monotonic()
    clock.jump(-3600)
    assert clock.now() == START - 3_600_000_000
    assert clock.monotonic() == before


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="jump"):
        ManualClock().advance(-1)


def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    async def run() -> list[str]:
        clock, woken = ManualClock(), list[str]()

        async def sleeper(name: str, delay: float) -> None:
            await clock.sleep(Seconds(delay))
            woken.append(name)

        tasks = [asyncio.create_task(sleeper(name, delay)) for name, delay in (("c", 3), ("a", 1), ("b", 1))]
        await asyncio.sleep(0)
        assert clock.sleeping == 3
        clock.advance(0.999999)
        await asyncio.sleep(0)
        assert not woken
        clock.advance(2.1)
        await asyncio.gather(*tasks)
        assert clock.sleeping == 0
        return woken

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_a_loop_that_sleeps_runs_once_per_step_of_run_for() -> None:
    async def run() -> list[int]:
        clock, seen = ManualClock(), list[int]()

        async def loop() -> None:
            while True:
                await clock.sleep(Seconds(1))
                seen.append(clock.now() - START)

        task = asyncio.create_task(loop())
        await clock.run_for(3.5)
        task.cancel()
        assert clock.now() - START == 3_500_000
        return seen

    assert asyncio.run(run()) == [1_000_000, 2_000_000, 3_000_000]


def test_a_cancelled_sleeper_is_forgotten() -> None:
    async def run() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(Seconds(5)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert clock.sleeping == 0
        clock.advance(10)

    asyncio.run(run())


def test_the_clock_can_be_moved_from_another_thread() -> None:
    async def run() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(Seconds(5)))
        await asyncio.sleep(0)
        threading.Thread(target=clock.advance, args=(5,)).start()
        await task

    asyncio.run(asyncio.wait_for(run(), 10))


def test_no_delay_takes_one_turn() -> None:
    asyncio.run(ManualClock().sleep(Seconds(0)))
