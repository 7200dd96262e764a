"""The threads: bounded, in order, deaf to callers that left, gone when closed."""

import asyncio
import gc
import threading
import time

import pytest

from thermocline.adapters.objects.io_threads import IoThreads


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pool")]


def wait_until_gone() -> None:
    for _ in range(1000):
        if not names():
            return
        time.sleep(0.005)
    raise AssertionError(names())


def test_results_and_errors_come_back() -> None:
    async def run() -> None:
        threads = IoThreads(3, name="pool")
        assert await asyncio.gather(*(threads.run(pow, 2, n) for n in range(100))) == [2**n for n in range(100)]
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        assert len(names()) <= 3
        threads.close()
        assert names() == []
        with pytest.raises(RuntimeError, match="closed"):
            await threads.run(int)

    asyncio.run(run())


def test_no_more_threads_than_work_and_never_more_than_allowed() -> None:
    async def run() -> None:
        threads = IoThreads(4, name="pool")
        await threads.run(int)
        assert len(names()) == 1
        barrier = threading.Barrier(5)
        waiting = [threads.run(barrier.wait, 30) for _ in range(4)]
        later = [threads.run(int) for _ in range(10)]
        await asyncio.to_thread(barrier.wait, 30)
        await asyncio.gather(*waiting, *later)
        assert len(names()) == 4
        threads.close()

    asyncio.run(run())


def test_one_pool_serves_one_loop_after_another() -> None:
    threads = IoThreads(2, name="pool")

    async def run() -> int:
        return await threads.run(int, "7")

    assert [asyncio.run(run()) for _ in range(3)] == [7, 7, 7]
    threads.close()


def test_a_loop_that_closed_is_not_waited_for() -> None:
    threads = IoThreads(1, name="pool")
    go = threading.Event()

    async def leave() -> None:
        _left = threads.run(go.wait, 30)
        await asyncio.sleep(0)

    asyncio.run(leave())
    go.set()

    async def run() -> int:
        return await threads.run(int, "7")

    assert asyncio.run(run()) == 7
    threads.close()


def test_a_forgotten_pool_ends_its_threads() -> None:
    async def run() -> None:
        await IoThreads(2, name="pool").run(int)

    asyncio.run(run())
    gc.collect()
    wait_until_gone()
