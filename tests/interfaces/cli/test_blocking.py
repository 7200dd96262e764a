"""The thread for blocking calls."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from thermocline.interfaces.cli.blocking import BlockingThread


def _in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


@_in_loop
async def test_calls_run_in_order_in_one_other_thread() -> None:
    thread = BlockingThread()
    seen: list[tuple[int, int]] = []
    await asyncio.gather(*(thread.call(lambda n=n: seen.append((n, threading.get_ident()))) for n in range(5)))
    assert [n for n, _ in seen] == [0, 1, 2, 3, 4]
    assert len({ident for _, ident in seen} - {threading.get_ident()}) == 1


@_in_loop
async def test_what_a_call_raises_reaches_its_caller() -> None:
    thread = BlockingThread()
    with pytest.raises(FileNotFoundError):
        await thread.call(os.open, "/nonexistent", os.O_RDONLY)
    assert await thread.call(int, "7") == 7


@_in_loop
async def test_finish_waits_for_the_call_under_way() -> None:
    thread = BlockingThread()
    going, done = threading.Event(), threading.Event()

    def work() -> None:
        going.wait()
        done.set()

    call = asyncio.ensure_future(thread.call(work))
    await asyncio.sleep(0)
    call.cancel()
    finishing = asyncio.ensure_future(thread.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    going.set()
    await finishing
    assert done.is_set()


def test_a_call_may_outlive_its_event_loop() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait()
        ended.set()

    async def leave() -> None:
        call = asyncio.ensure_future(BlockingThread().call(work))
        await asyncio.sleep(0)
        call.cancel()

    asyncio.run(leave())
    release.set()
    assert ended.wait(5)
