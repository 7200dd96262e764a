"""Caches of values by type, for any bytes: put, get, and get-or-compute with one computation at a time everywhere.

No record stands behind such a value. `put` stores over whatever is there. `fetch` takes the lease *before* it computes,
like a read of content does, so that an eviction meanwhile refuses what was computed from older facts; processes wait
for one another's computations, and take over from a holder that died. Where computing fails, a value that is no longer
fresh is served, up to the age that the settings allow.

What is cached under the type `content` and an id that the catalog knows must be that content: other bytes are refused.
Ids that it does not know are values like any other, until such a content is stored.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from thermocline.domain.cache_types import CONTENT, CacheType, unknown_type, value_key
from thermocline.domain.content import DEFAULT_CONTENT_TYPE, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import InvalidInputError, StorageError
from thermocline.domain.glob import glob_matcher
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.ports.cache import CacheEntry
from thermocline.ports.clock import Clock
from thermocline.ports.records import Records
from thermocline.services.background import Background
from thermocline.services.cache_counts import CacheCounts, TypeCounts
from thermocline.services.cache_levels import CacheLevels, Found, Level
from thermocline.services.caching import ContentCache
from thermocline.services.refreshing import is_due

log = structlog.get_logger(__name__)

Compute = Callable[[], Awaitable[bytes | None]]
"""Makes a value; None: there is nothing to cache."""
LONGEST_TTL: Final = Seconds(366 * 86400.0)
MOST_DUE: Final = 10_000
_HEADERS: Final = StoredHeaders(DEFAULT_CONTENT_TYPE)
_NO_DIGEST: Final = bytes(32)


class ValueCaches:
    """Values by type and id. Only `fetch` raises what is not the caller's mistake: what computing raised."""

    def __init__(
        self,
        levels: CacheLevels,
        contents: ContentCache,
        records: Records,
        background: Background,
        clock: Clock,
        types: Mapping[str, CacheType],
    ) -> None:
        self._levels = levels
        self._contents = contents
        self._records = records
        self._background = background
        self._clock = clock
        self.types = types
        self.counts = CacheCounts(types)
        self._flights: dict[str, asyncio.Task[bytes | None]] = {}
        self._due: set[str] = set()

    async def put(
        self, content_id: ContentId, data: bytes, *, ttl: Seconds | None = None, cache_type: str = CONTENT
    ) -> bool:
        """Store `data` for `ttl` seconds, or for its type's lifetime; whether it was stored.

        It is not if it is too large, if `ttl` is 0, if no level takes it, or if the catalog has another content of
        this id. Raises `InvalidInputError` for an unknown type or a negative lifetime.
        """
        limits, counts = self._type(cache_type)
        lifetime = _lifetime(ttl, limits)
        if len(data) > limits.max_size:
            self._refuse(limits, counts, len(data))
            return False
        if lifetime <= 0:
            return False
        stored = None
        if cache_type == CONTENT:
            stored = await self._put_content(content_id, data, ttl=None if ttl is None else lifetime)
        if stored is None:
            key = value_key(cache_type, content_id)
            self._flights.pop(key, None)
            stored = await self._levels.put(key, self._entry(data, lifetime))
            self._flights.pop(key, None)  # what began meanwhile may know what is older
        return stored

    async def get(self, content_id: ContentId, *, cache_type: str = CONTENT) -> bytes | None:
        """Return the value, or None; also where no cache answers. Raises `InvalidInputError` for an unknown type."""
        _, counts = self._type(cache_type)
        found = await self._find_content(content_id) if cache_type == CONTENT else None
        if found is None:
            found = await self._find(value_key(cache_type, content_id))
            if found is not None and cache_type == CONTENT and await self._is_known(content_id):
                found = None
        if found is None:
            counts.misses += 1
            return None
        return _served(found, counts)

    async def fetch(
        self,
        content_id: ContentId,
        compute: Compute,
        *,
        ttl: Seconds | None = None,
        cache_type: str,
    ) -> bytes | None:
        """Return the value; if it is not cached, compute it, once for all who ask meanwhile in any process.

        Values read often are computed again before they end. Raises what `compute` raises, unless a value that ended
        a while ago can be served; `InvalidInputError` for an unknown type, for `content`, whose source is the store.
        """
        limits, counts = self._type(cache_type)
        if cache_type == CONTENT:
            raise InvalidInputError("contents are computed by nobody; give another cache type, or use retrieve_content")
        lifetime = _lifetime(ttl, limits)
        key = value_key(cache_type, content_id)
        found = await self._find(key)
        if found is not None:
            self._refresh_if_due(key, found, compute, lifetime, limits)
            return _served(found, counts)
        counts.misses += 1
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._compute(key, compute, lifetime, limits))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        try:
            # Shielded: one impatient caller must not cancel the computation that others wait for.
            return await asyncio.shield(flight)
        except Exception as exc:
            stale = await self._levels.stale(key)
            if stale is None:
                raise
            counts.stale += 1
            log.warning("stale_value_served", cache_type=cache_type, error=type(exc).__name__)
            return stale.entry.payload

    def part(self, pattern: str) -> None:
        """Let nobody join the computations under way of keys that match: they may know what is older."""
        matches = glob_matcher(pattern)
        for key in [key for key in self._flights if matches(key)]:
            del self._flights[key]

    def note_due(self, key: str, _: CacheEntry) -> None:
        """Take in that a value was met in memory when it was due for a refresh."""
        if len(self._due) >= MOST_DUE:
            self._due.clear()  # values that only `get` asks for are never refreshed
        self._due.add(key)

    async def _put_content(self, content_id: ContentId, data: bytes, *, ttl: Seconds | None) -> bool | None:
        """Cache the content's own bytes; False if they are others, None if there is no such content."""
        try:
            token = await self._contents.begin_fill(content_id)
            try:
                record = await self._records.find(content_id)
                if record is None or not record.is_alive(self._clock.now()):
                    return None
                if record.size != len(data) or hashlib.sha256(data).digest() != record.digest:
                    return False
                if token is None:
                    return (await self._find_content(content_id)) is not None
                filled, token = token, None
                entry = self._contents.entry_of(record, data, ttl=ttl)
                return await self._contents.offer(filled, record, entry, ttl=ttl)
            finally:
                if token is not None:
                    await self._contents.give_up_fill(content_id, token)
        except StorageError as exc:
            log.warning("cache_put_failed", error=type(exc).__name__, message=str(exc))
            return False

    async def _find_content(self, content_id: ContentId) -> Found | None:
        entry = self._contents.peek(content_id)
        if entry is not None:
            return Found(entry, Level.MEMORY)
        return await self._contents.find(content_id)

    async def _find(self, key: str) -> Found | None:
        entry = self._levels.memory.peek(key)
        if entry is not None:
            return Found(entry, Level.MEMORY)
        return await self._levels.look(key)

    async def _is_known(self, content_id: ContentId) -> bool:
        """Whether the catalog has such a content, or does not answer."""
        try:
            record = await self._records.find(content_id)
        except StorageError:
            return True
        return record is not None and record.is_alive(self._clock.now())

    def _refresh_if_due(self, key: str, found: Found, compute: Compute, lifetime: Seconds, limits: CacheType) -> None:
        if found.level is Level.MEMORY:
            if key not in self._due:
                return
            self._due.discard(key)
        elif not is_due(found.entry, self._clock):
            return
        self._background.spawn(self._refresh(key, compute, lifetime, limits))

    async def _refresh(self, key: str, compute: Compute, lifetime: Seconds, limits: CacheType) -> None:
        token = await self._levels.begin_refresh(key)
        if token is not None:
            await self._compute_under(key, token, compute, lifetime, limits, shared=self._levels.shared is not None)

    async def _compute(self, key: str, compute: Compute, lifetime: Seconds, limits: CacheType) -> bytes | None:
        levels = self._levels
        token = levels.new_token()
        await levels.lease_memory(key, token)
        turn: CacheEntry | bool = False
        try:
            if levels.shared is not None:
                turn = await levels.shared.take_turn(key, token)
        except BaseException:
            await levels.give_up_fill(key, token)
            raise
        if isinstance(turn, CacheEntry):
            await levels.keep(key, token, turn)
            return turn.payload
        return await self._compute_under(key, token, compute, lifetime, limits, shared=turn)

    async def _compute_under(
        self, key: str, token: str, compute: Compute, lifetime: Seconds, limits: CacheType, *, shared: bool
    ) -> bytes | None:
        """Compute under leases that were taken, and fill or give them back."""
        levels, began = self._levels, self._clock.monotonic()
        data = None
        try:
            if shared and levels.shared is not None:
                async with levels.shared.keeping(key, token):
                    data = await compute()
            else:
                data = await compute()
        finally:
            if data is None or lifetime <= 0 or len(data) > limits.max_size:
                await levels.give_up_fill(key, token, shared=shared)
        counts = self.counts.types[limits.name]
        if data is not None and len(data) > limits.max_size:
            self._refuse(limits, counts, len(data))
        elif data is not None and lifetime > 0:
            cost = Seconds(self._clock.monotonic() - began)
            await levels.fill(key, token, self._entry(data, lifetime, cost), shared=shared, by_miss=True)
        return data

    def _land(self, key: str, flight: "asyncio.Task[bytes | None]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # seen, also when every caller has left

    def _entry(self, data: bytes, lifetime: Seconds, fetch_cost: Seconds = Seconds(0.0)) -> CacheEntry:
        now = self._clock.now()
        return CacheEntry(
            payload=data,
            version=now,
            revision=0,
            visibility=Visibility.PRIVATE,
            expires_at=None,
            cached_at=now,
            modified_at=now,
            digest=_NO_DIGEST,
            headers=_HEADERS,
            tier=StorageTier.HOT.value,
            fetch_cost=fetch_cost,
            fresh_until=later(now, lifetime),
        )

    def _type(self, name: str) -> tuple[CacheType, TypeCounts]:
        limits = self.types.get(name)
        if limits is None:
            raise unknown_type(name, self.types)
        return limits, self.counts.types[name]

    def _refuse(self, limits: CacheType, counts: TypeCounts, size: int) -> None:
        counts.rejected += 1
        if not counts.was_told:
            counts.was_told = True
            log.warning("value_too_large", cache_type=limits.name, size=size, max_size=limits.max_size)


def _lifetime(ttl: Seconds | None, limits: CacheType) -> Seconds:
    if ttl is None:
        return limits.ttl
    if not 0 <= ttl <= LONGEST_TTL or math.isnan(ttl):
        raise InvalidInputError(f"a lifetime is between 0 and {LONGEST_TTL:.0f} seconds, not {ttl}")
    return Seconds(float(ttl))


def _served(found: Found, counts: TypeCounts) -> bytes:
    payload = found.entry.payload
    if found.level is Level.MEMORY:
        counts.memory_hits += 1
        counts.memory_bytes += len(payload)
    else:
        counts.shared_hits += 1
        counts.shared_bytes += len(payload)
    return payload
