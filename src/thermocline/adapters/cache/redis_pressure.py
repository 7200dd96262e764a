"""How full Redis is: asked in the background, seldom, and only while somebody wants to know."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from thermocline.adapters.cache.redis_routes import RedisRoute
from thermocline.domain.units import Seconds

log = structlog.get_logger(__name__)

ASK_EVERY: Final = Seconds(3.0)
FORGET_AFTER: Final = Seconds(30.0)
"""What was told so long ago is not known any more."""


class Pressure:
    """The share of its memory that the fullest server uses, as told a moment ago."""

    def __init__(self, route: RedisRoute, *, timeout: Seconds) -> None:
        self._route = route
        self._timeout = timeout
        self._share = 0.0
        self._told_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def share(self) -> float:
        """Return the share, at once; 0 where there is no limit, or where nothing is known. Must be called in a loop."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._asked_at >= ASK_EVERY and (self._asking is None or self._asking.done()):
            self._asked_at = now
            self._asking = loop.create_task(self._ask())
        return self._share if now - self._told_at < FORGET_AFTER else 0.0

    async def aclose(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                servers = await self._route.servers()
                told = await asyncio.gather(*(self._route.execute_at(name, "INFO", "memory") for name in servers))
        except Exception as exc:  # noqa: BLE001 - whoever wants to know cannot do anything about it
            log.debug("redis_pressure_unknown", error=str(exc))
            return
        self._share = max((_share_in(text) for text in told), default=0.0)
        self._told_at = asyncio.get_running_loop().time()


def _share_in(told: bytes) -> float:
    facts = dict(line.partition(b":")[::2] for line in told.splitlines())
    try:
        limit = int(facts.get(b"maxmemory", b"0"))
        return int(facts.get(b"used_memory", b"0")) / limit if limit > 0 else 0.0
    except ValueError:
        return 0.0
