"""Hearing what is committed to the catalog, so that this process's memory does not grow stale.

Own commits are heard too: one whose caller was cancelled, or whose acknowledgement was lost, evicts here.
"""

from collections.abc import Awaitable, Callable

import structlog

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Seconds
from thermocline.ports.change_feed import ChangeFeed
from thermocline.ports.clock import Clock
from thermocline.services.caching import ContentCache

log = structlog.get_logger(__name__)

POLL_SECONDS = Seconds(0.05)
PAUSE_SECONDS = Seconds(1.0)
"""After a failure that nobody foresaw: logged whole, but not twenty times a second."""
BATCH = 1000


class ChangeListener:
    """Tails the change feed: evicts what was changed at most one poll ago, and everything after a gap.

    While the feed cannot be read for longer than `max_silence`, memory is emptied at each attempt: what others
    commit meanwhile is unknown.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        cache: ContentCache,
        clock: Clock,
        *,
        on_eviction: Callable[[str, int], Awaitable[object]],
        on_other_change: Callable[[], Awaitable[None]],
        max_silence: Seconds,
    ) -> None:
        self._feed = feed
        self._cache = cache
        self._clock = clock
        self._on_eviction = on_eviction
        self._on_other_change = on_other_change
        self._max_silence = max_silence
        self._position: int | None = None
        self._heard_at = clock.monotonic()

    async def poll(self) -> None:
        """Apply what others committed since the last call. Never raises `StorageError`."""
        try:
            if self._position is None:
                self._position = await self._feed.position()
                await self._cache.clear()  # what was committed before this position was not heard
            page = await self._feed.since(self._position, limit=BATCH)
        except StorageError as exc:
            await self._forget_if_silent(exc)
            return
        self._heard_at = self._clock.monotonic()
        if page.gap:
            await self._cache.clear()
        for change in page.changes:
            if change.content_id is not None:
                await self._cache.hear(change.content_id, change.version)
            elif change.pattern is not None:
                await self._on_eviction(change.pattern, change.version)
        if page.gap or any(change.content_id is None and change.pattern is None for change in page.changes):
            try:
                await self._on_other_change()
            except StorageError as exc:
                log.warning("change_not_taken_in", error=type(exc).__name__, message=str(exc))
                return  # the position stays: it is heard again at the next look
        self._position = page.position

    async def run(self) -> None:
        """Poll until cancelled, whatever goes wrong: a process that stopped listening would grow stale unnoticed."""
        while True:
            pause = POLL_SECONDS
            try:
                await self.poll()
            except Exception as exc:
                log.exception("change_listening_failed")
                await self._forget_if_silent(exc)
                pause = PAUSE_SECONDS
            await self._clock.sleep(pause)

    async def _forget_if_silent(self, exc: Exception) -> None:
        if self._clock.monotonic() - self._heard_at > self._max_silence:
            log.warning("change_feed_silent", error=str(exc))
            await self._cache.clear()
