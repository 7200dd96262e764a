"""Running a command's asynchronous work: signals cancel it, and it is awaited until it has cleaned up."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from thermocline.interfaces.cli.exits import InterruptedCommandError

T = TypeVar("T")

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(work: Coroutine[Any, Any, T], *, is_long: bool = False) -> T:
    """Return what `work` returns. Ctrl-C, SIGTERM and SIGHUP cancel it and wait for its end; a second one does not.

    Raises `InterruptedCommandError` then. Work that `is_long` gets the fastest event loop there is.
    """
    try:
        with asyncio.Runner(loop_factory=_fastest_loop() if is_long else None) as runner:
            return runner.run(_interruptible(work))
    except asyncio.CancelledError as exc:
        raise InterruptedCommandError from exc
    except KeyboardInterrupt as exc:
        raise InterruptedCommandError from exc


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    # What our parent told us to ignore (nohup, background jobs) stays ignored.
    heard = [number for number in ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def stop_listening() -> None:
        for number in heard:
            loop.remove_signal_handler(number)

    def interrupt() -> None:
        stop_listening()
        task.cancel()

    try:
        for number in heard:
            loop.add_signal_handler(number, interrupt)
    except (ValueError, RuntimeError):  # not in the main thread: whoever runs us there ends us in another way
        return await task
    try:
        return await task
    finally:
        stop_listening()
