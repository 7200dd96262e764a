"""How contract tests run coroutines: each asynchronous test in an event loop of its own."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class AsyncTests:
    """Runs each `async def test_*` of a subclass with `asyncio.run`; any pytest, without a plugin, collects them.

    Fixtures are made outside the loop, so they hand out what opens a resource, not the open resource.
    """

    def __init_subclass__(cls) -> None:
        """Replace the asynchronous tests of the new class by functions that pytest can call."""
        super().__init_subclass__()
        for name, member in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, in_event_loop(member))


def in_event_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Return a function that runs the asynchronous `test` to its end."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
