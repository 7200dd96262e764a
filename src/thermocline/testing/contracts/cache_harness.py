"""What the laws of caches have in common: a cache with its clock, and entries to put into it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.cache import Cache, CacheEntry, Sweepable

TTL = Seconds(60.0)


class SweptCache(Cache, Sweepable, Protocol):
    """A cache that also does what concerns many keys."""


@dataclass(frozen=True, slots=True)
class CacheHarness:
    """A fresh cache and the clock it lives by."""

    cache: SweptCache
    now: Callable[[], Timestamp]
    advance: Callable[[Seconds], Awaitable[None]]
    """Lets that much time pass for the cache."""


OpenCache = Callable[[], AbstractAsyncContextManager[CacheHarness]]


def entry(
    version: int = 1,
    payload: bytes = b"payload",
    *,
    expires_at: Timestamp | None = None,
    fresh_until: Timestamp | None = None,
) -> CacheEntry:
    """Return an entry each field of which differs from its neighbours'."""
    return CacheEntry(
        payload=payload,
        version=version,
        revision=version + 1_000,
        visibility=Visibility.PUBLIC,
        expires_at=expires_at,
        cached_at=Timestamp(1_700_000_000_000_001),
        modified_at=Timestamp(1_700_000_000_000_002),
        digest=bytes(range(32)),
        headers=StoredHeaders("text/plain; charset=utf-8", "max-age=5", "attachment; filename*=UTF-8''%C3%A9"),
        tier="hot",
        fetch_cost=Seconds(0.25),
        fresh_until=fresh_until,
    )


async def stored(cache: Cache, key: str, what: CacheEntry, *, ttl: Seconds = TTL) -> bool:
    """Lease and fill `key`; whether the entry was stored."""
    assert await cache.lease(key, "token of stored", ttl=TTL)
    return await cache.fill(key, "token of stored", what, ttl=ttl)
