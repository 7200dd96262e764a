"""Keeping one store open for an application, whoever comes first: its lifespan or a request."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from thermocline.orchestrator import StorageOrchestrator

OpenStore = Callable[[], AbstractAsyncContextManager[StorageOrchestrator]]


@dataclass(frozen=True, slots=True)
class _Held:
    opened: asyncio.Future[StorageOrchestrator]
    closing: asyncio.Event
    task: asyncio.Task[None]


class StoreHolder:
    """Opens the store once, in a task of its own, so that opening and closing happen in the same task.

    A store that nobody closes (a host that runs no lifespan of ours) is closed when the event loop cancels its
    tasks at its end. A later event loop opens it anew.
    """

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._held: _Held | None = None

    def current(self) -> StorageOrchestrator | None:
        """Return the store if it is open in the running event loop."""
        held = self._held
        if held is None or held.task.done() or held.task.get_loop() is not asyncio.get_running_loop():
            return None
        return held.opened.result() if held.opened.done() and not held.opened.exception() else None

    async def get(self) -> StorageOrchestrator:
        """Return the store, opening it if need be; raises what opening raised, and tries again when called again."""
        loop = asyncio.get_running_loop()
        held = self._held
        if held is None or held.task.done() or held.task.get_loop() is not loop:
            opened: asyncio.Future[StorageOrchestrator] = loop.create_future()
            closing = asyncio.Event()
            held = self._held = _Held(opened, closing, loop.create_task(self._hold(opened, closing)))
        # Shielded: one request that is cancelled must not take the store from the others that wait for it.
        return await asyncio.shield(held.opened)

    async def close(self) -> None:
        """Close the store if it is open here; raises what closing raised."""
        held, self._held = self._held, None
        if held is not None and held.task.get_loop() is asyncio.get_running_loop():
            held.closing.set()
            await held.task

    async def _hold(self, opened: asyncio.Future[StorageOrchestrator], closing: asyncio.Event) -> None:
        try:
            async with self._open_store() as store:
                opened.set_result(store)
                await closing.wait()
        except Exception as exc:
            if opened.done():
                raise
            opened.set_exception(exc)
        finally:
            if not opened.done():
                opened.cancel()
