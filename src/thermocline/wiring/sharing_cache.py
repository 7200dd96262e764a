"""The shared cache that the settings name. The client is imported only here, so only where it is configured."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from thermocline.adapters.cache.redis_urls import parse_redis_url
from thermocline.adapters.layers.breaking import BreakingCache, BreakingCounts
from thermocline.ports.cache import SharedCounts, SharedLevel
from thermocline.ports.clock import Clock
from thermocline.wiring.sections import CacheSettings

if TYPE_CHECKING:
    from thermocline.adapters.cache.redis_access import RedisAccess


class SharedParts(NamedTuple):
    """What processes share of the cache."""

    level: SharedLevel | None = None
    counts: SharedCounts | None = None


async def open_shared_cache(
    settings: CacheSettings, clock: Clock, stack: AsyncExitStack, *, installation: str
) -> SharedParts:
    """Open the shared cache and its counters behind a circuit breaker; nothing where all stays in the process.

    A Redis that is down is none of our concern. Raises `ConfigurationError` for one that does not fit the settings.
    """
    if not settings.is_shared:
        return SharedParts()
    from thermocline.adapters.cache.redis import RedisCache
    from thermocline.adapters.cache.redis_checking import refuse_wrong_redis

    access = redis_access(settings)
    await refuse_wrong_redis(access)
    cache = RedisCache.open(access, clock, installation=installation)
    stack.push_async_callback(cache.aclose)
    breaking = BreakingCache(cache, clock)
    stack.push_async_callback(breaking.aclose)
    return SharedParts(breaking, BreakingCounts(cache.counts, breaking))


def redis_access(settings: CacheSettings) -> "RedisAccess":
    """Return where Redis is, and how it is talked to."""
    from thermocline.adapters.cache.redis_access import RedisAccess

    secret = settings.password.get_secret_value()
    return RedisAccess(
        location=parse_redis_url(settings.url).with_password(secret),
        timeout=settings.timeout,
        retries=settings.retries,
        health_check_interval=settings.health_check_interval,
        ca_file=settings.ca_file,
    )
