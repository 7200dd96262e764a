"""The cache inside this process, bounded by bytes.

A key holds one of: value, lease, tombstone. Leases and tombstones ("marks") are small but count too, and the
oldest are dropped when they take more than their share: a fill whose lease is gone is refused, so that is safe.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Final

from thermocline.adapters.cache.recency import LeastRecentlyUsed
from thermocline.domain.glob import glob_matcher
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.cache import AgingLevel, CacheEntry
from thermocline.ports.clock import Clock

OVERHEAD_BYTES: Final = 768
"""What an entry takes besides key and payload: objects, dictionary slots, stored headers (measured, rounded up)."""
MARK_BYTES: Final = 256
"""What a lease or a tombstone takes besides its key."""
_MARKS_SHARE: Final = 8
_PAGE: Final = 1000


class _Value:
    __slots__ = ("cost", "dies_at", "entry", "expires_at", "shown_until")

    def __init__(self, entry: CacheEntry, cost: int, dies_at: float, shown_until: float) -> None:
        self.entry = entry
        self.cost = cost
        self.dies_at = dies_at
        self.shown_until = shown_until
        self.expires_at = entry.expires_at


class _Mark:
    """A lease if it has a token, else a tombstone; fills older than `floor` are refused."""

    __slots__ = ("dies_at", "floor", "token")

    def __init__(self, token: str | None, floor: int, dies_at: float) -> None:
        self.token = token
        self.floor = floor
        self.dies_at = dies_at


class MemoryCache(AgingLevel):
    """Never holds more than `capacity` bytes; for one event loop, and never suspends except in `match`.

    Lifetimes run on the monotonic clock, so that no jump of the wall clock lengthens them; `expires_at` of the
    content is a moment of the wall clock and is checked against it. Entries that would take more than
    `largest_share` of the capacity are refused. With `max_age`, what was not confirmed for so long is not shown.
    """

    def __init__(
        self, clock: Clock, *, capacity: Bytes, largest_share: float = 0.125, max_age: Seconds | None = None
    ) -> None:
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self.sets = 0
        self.evictions = 0
        """Live values given up for room."""
        self.expirations = 0
        self.rejected = 0
        """Values refused for their size."""
        self.bytes = 0
        """Bytes held now, marks included."""
        self._max_age = inf if max_age is None else max_age
        self._largest = int(capacity * largest_share)
        self._clock = clock
        self._monotonic = clock.monotonic
        self._now = clock.now
        self._values: dict[str, _Value] = {}
        self._order = LeastRecentlyUsed()
        self._marks: dict[str, _Mark] = {}
        self._mark_bytes = 0

    @property
    def count(self) -> int:
        """How many values are held, those that expired unnoticed included."""
        return len(self._values)

    def peek(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, a lease or a tombstone."""
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        if self._monotonic() >= value.shown_until or (value.expires_at is not None and self._now() >= value.expires_at):
            self._live_value(key, self._monotonic())  # gone for good, or only to be confirmed
            self.misses += 1
            return None
        self._order.touch(key)
        self.hits += 1
        return value.entry

    async def get(self, key: str) -> CacheEntry | None:
        """Return what `peek` does."""
        return self.peek(key)

    def held(self, key: str) -> CacheEntry | None:
        """Return the value, confirmed or not; counted neither as a hit nor as a miss."""
        value = self._live_value(key, self._monotonic())
        return None if value is None else value.entry

    def confirm(self, key: str, entry: CacheEntry) -> bool:
        """Show this very value again for `max_age`, never beyond its life; whether it is still held."""
        value = self._live_value(key, now := self._monotonic())
        if value is None or value.entry is not entry:
            return False
        value.shown_until = min(value.dies_at, now + self._max_age)
        return True

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or extend one's own; False over a value or another's lease."""
        _check_ttl(ttl)
        now = self._monotonic()
        if self._live_value(key, now) is not None:
            return False
        mark = self._live_mark(key, now)
        if mark is not None and mark.token not in {None, token}:
            return False
        self._set_mark(key, _Mark(token, mark.floor if mark is not None else 0, now + ttl), now)
        return True

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so."""
        _check_ttl(ttl)
        now = self._monotonic()
        mark = self._live_mark(key, now)
        if mark is None or mark.token != token:
            return False
        self._drop_mark(key)
        if entry.version < mark.floor or (entry.expires_at is not None and self._now() >= entry.expires_at):
            return False
        cost = OVERHEAD_BYTES + len(key) + len(entry.payload)
        if cost > self._largest:
            self.rejected += 1
            return False
        self._values[key] = _Value(entry, cost, now + ttl, now + min(ttl, self._max_age))
        self._order.add(key)
        self.bytes += cost
        self.sets += 1
        self._make_room()
        return True

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease."""
        mark = self._marks.get(key)
        if mark is not None and mark.token == token:
            self._drop_mark(key)

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays."""
        _check_ttl(ttl)
        now = self._monotonic()
        for key, version in versions.items():
            value = self._live_value(key, now)
            if value is not None:
                if value.entry.version > version:
                    continue
                self._drop_value(key)
            mark = self._live_mark(key, now)
            if mark is not None and mark.token is None and mark.floor >= version and mark.dies_at >= now + ttl / 2:
                continue  # told again: each own commit is, by the change feed
            floor = max(version, mark.floor) if mark is not None else version
            self._set_mark(key, _Mark(None, floor, now + ttl), now)

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of values and leases; other tasks run between two pages."""
        matches = glob_matcher(pattern)
        keys = [*self._values, *(key for key, mark in self._marks.items() if mark.token is not None)]
        for first in range(0, len(keys), _PAGE):
            page = [key for key in keys[first : first + _PAGE] if matches(key)]
            if page:
                yield page
            await asyncio.sleep(0)

    async def clear(self) -> None:
        """Forget values, leases and tombstones; the counters go on."""
        self._values.clear()
        self._order.clear()
        self._marks.clear()
        self.bytes = self._mark_bytes = 0

    def _live_value(self, key: str, now: float) -> _Value | None:
        value = self._values.get(key)
        if value is None:
            return None
        if now >= value.dies_at or (value.expires_at is not None and self._now() >= value.expires_at):
            self._drop_value(key)
            self.expirations += 1
            return None
        return value

    def _live_mark(self, key: str, now: float) -> _Mark | None:
        mark = self._marks.get(key)
        if mark is not None and now >= mark.dies_at:
            self._drop_mark(key)
            return None
        return mark

    def _set_mark(self, key: str, mark: _Mark, now: float) -> None:
        if key in self._marks:
            self._drop_mark(key)
        self._marks[key] = mark
        self._mark_bytes += MARK_BYTES + len(key)
        self.bytes += MARK_BYTES + len(key)
        # Dead ones pile up at the front; two looked at for each one added keeps them few.
        for oldest in tuple(islice(self._marks, 2)):
            self._live_mark(oldest, now)
        self._make_room()

    def _make_room(self) -> None:
        while self._mark_bytes * _MARKS_SHARE > self.capacity and len(self._marks) > 1:
            self._drop_mark(next(iter(self._marks)))
        while self.bytes > self.capacity:
            if self._values:
                self._drop_value(self._order.victim())
                self.evictions += 1
            else:
                self._drop_mark(next(iter(self._marks)))

    def _drop_value(self, key: str) -> None:
        self.bytes -= self._values.pop(key).cost
        self._order.remove(key)

    def _drop_mark(self, key: str) -> None:
        del self._marks[key]
        self._mark_bytes -= MARK_BYTES + len(key)
        self.bytes -= MARK_BYTES + len(key)


def _check_ttl(ttl: Seconds) -> None:
    if not ttl > 0:
        raise ValueError(f"a lifetime must be positive, not {ttl}")
