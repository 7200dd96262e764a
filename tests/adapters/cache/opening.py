"""Opens caches on real servers, with time that tests move."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_access import RedisAccess
from thermocline.adapters.cache.redis_frame import MARK, TOKEN_BYTES
from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.domain.units import Seconds
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import CacheHarness

ENDS = (MARK.size + TOKEN_BYTES, MARK.size + TOKEN_BYTES + 7)
"""Where a value's frame tells when the token beside it ends."""


@asynccontextmanager
async def redis_cache(url: str, **access: Any) -> AsyncIterator[RedisCache]:
    """Open a cache of an installation of its own."""
    cache = RedisCache.open(RedisAccess(parse_redis_url(url), **access), ManualClock(), installation=uuid.uuid4().hex)
    try:
        yield cache
    finally:
        await cache.aclose()


@asynccontextmanager
async def redis_harness(url: str, **access: Any) -> AsyncIterator[CacheHarness]:
    """Open a cache whose lifetimes end when the test says so: time passes by shortening what Redis still grants."""
    async with redis_cache(url, timeout=Seconds(5.0), **access) as cache:
        clock: ManualClock = cache._clock  # type: ignore[assignment]

        async def advance(seconds: Seconds) -> None:
            clock.advance(seconds)
            gone = round(seconds * 1000)
            async for names in cache._scan("*"):
                for name in names:
                    ends = await cache._calls.command(name, "GETRANGE", name, *ENDS)
                    if len(ends) == 8:  # the slot of a value: whoever refreshes it grows older, too
                        left = max(int.from_bytes(ends) - gone, 0)
                        await cache._calls.command(name, "SETRANGE", name, ENDS[0], left.to_bytes(8))
                    left = await cache._calls.command(name, "PTTL", name) - gone
                    command = ("PEXPIRE", name, left) if left > 0 else ("DEL", name)
                    await cache._calls.command(name, *command)

        yield CacheHarness(cache, clock.now, advance)
