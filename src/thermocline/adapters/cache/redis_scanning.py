"""Finding keys on every server, while servers fail over and slots move.

SCAN promises a key that stood on one server from its beginning to its end. So after each server's SCAN it is asked
what it held before and after. Slots that it held all the time are done. What moved, or whose server was not the same
any more, is looked for again at its owner of then. Keys of a slot that is just being moved leave one by one: whatever
was not found at the source is at the target, if that is looked through afterwards. So:

**Every key that stood from the beginning to the end is found, whatever moved meanwhile**, but what a failover lost; or
else `UnavailableError` is raised, after everything that can be found was. Memory is bounded by a page, not by the keys.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final, TypeVar

import structlog

from thermocline.adapters.cache.redis_errors import as_ours
from thermocline.adapters.cache.redis_routes import Holdings, RedisRoute
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds

log = structlog.get_logger(__name__)

SCAN_COUNT: Final = 500
LARGEST_PAGE: Final = 500
"""Of keys. SCAN may tell more than it was asked for: all that share a bucket."""
MOST_PASSES: Final = 32
"""Looks at what has moved. Each ends with fewer slots, or is followed by a pause."""
PAUSE: Final = Seconds(0.2)
PATIENCE: Final = 10
"""So many timeouts without any slot done: a failover ends sooner, with the settings that clusters have."""
ATTEMPTS: Final = 2
"""At one step of SCAN: a connection may have been closed since the last."""

T = TypeVar("T")


class Scan:
    """One look through every server for keys that match."""

    def __init__(self, route: RedisRoute, pattern: str, *, timeout: Seconds) -> None:
        self._route = route
        self._pattern = pattern
        self._timeout = timeout
        self._slots_left: set[int] = set()
        """What was not looked through yet."""
        self._is_begun = False
        self._behind: dict[str, set[int]] = {}
        """By server: slots that are being moved to it, whose source was looked through."""

    async def pages(self) -> AsyncIterator[Sequence[bytes]]:
        """Yield the names that match, at most `LARGEST_PAGE` at a time, none twice in a page."""
        loop = asyncio.get_running_loop()
        moved_on = loop.time()
        failure: Exception | None = None
        for _ in range(MOST_PASSES):
            before, was_begun = len(self._slots_left), self._is_begun
            try:
                servers = await self._owners()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the servers may be well again in a moment
                servers, failure = [], exc
            else:
                if not servers:
                    return
                failure = None
            for server in servers:
                if not self._has_left(server):
                    continue
                try:
                    async for page in self._look_through(server):
                        yield page
                except Exception as exc:  # noqa: BLE001 - likewise
                    log.info("redis_scan_interrupted", server=server, error=type(exc).__name__)
                    failure = exc
            if len(self._slots_left) < before or not was_begun:
                moved_on = loop.time()
            elif loop.time() - moved_on > PATIENCE * self._timeout:
                break
            if failure is not None:
                await asyncio.sleep(PAUSE)
        if failure is not None:
            raise as_ours(failure) from failure
        raise UnavailableError("slots of the cluster kept moving: not all of its keys were looked through")

    async def _owners(self) -> Sequence[str]:
        """Return the servers that have slots that are left, as of now; first those that others' keys move to."""
        servers = await self._ask(self._route.servers())
        if not self._is_begun:
            self._is_begun = True
            self._slots_left = {slot for server in servers for slot in self._route.slots_of(server)}
        return [server for server in dict.fromkeys((*self._behind, *servers)) if self._has_left(server)]

    async def _look_through(self, server: str) -> AsyncIterator[Sequence[bytes]]:
        before = await self._ask(self._route.holdings(server))
        cursor: Any = b"0"
        while True:
            cursor, names = await self._step(server, cursor)
            wanted = [name for name in dict.fromkeys(names) if self._route.slot_of(name) in self._slots_left]
            for first in range(0, len(wanted), LARGEST_PAGE):
                yield wanted[first : first + LARGEST_PAGE]
            if int(cursor) == 0:
                break
        self._take(server, before, await self._ask(self._route.holdings(server)))

    async def _step(self, server: str, cursor: Any) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                return await self._ask(
                    self._route.execute_at(server, "SCAN", cursor, "MATCH", self._pattern, "COUNT", SCAN_COUNT)
                )
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _ask(self, question: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timeout):
            return await question

    def _has_left(self, server: str) -> bool:
        return bool((self._behind.get(server, set()) | self._route.slots_of(server)) & self._slots_left)

    def _take(self, server: str, before: Holdings, after: Holdings) -> None:
        """Note which slots are done, after a server was looked through."""
        left, behind = self._slots_left, self._behind.pop(server, set())
        if before.identity != after.identity:
            return
        leaving = {**before.leaving, **after.leaving}
        left -= (before.slots & after.slots) - leaving.keys()
        # Their sources were looked through before; the rest of their keys was here, or came here meanwhile.
        left -= behind & before.arriving & (after.arriving | after.slots)
        for slot, target in leaving.items():
            if slot in left and slot in before.slots and target:
                self._behind.setdefault(target, set()).add(slot)
