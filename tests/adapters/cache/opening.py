"""Opens caches on real servers, with time that tests move."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_routes import RedisAccess
from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.domain.units import Seconds
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import CacheHarness


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
            async for names in cache._scan("*"):
                for name in names:
                    left = await cache._calls.command(name, "PTTL", name) - round(seconds * 1000)
                    command = ("PEXPIRE", name, left) if left > 0 else ("DEL", name)
                    await cache._calls.command(name, *command)

        yield CacheHarness(cache, clock.now, advance)
