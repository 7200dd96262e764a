"""The cache inside this process, bounded by bytes.

A key holds one of: value, lease, tombstone, the knowledge that there is no content; beside a value there may be a
token of who refreshes it. All but values are `marks`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from thermocline.adapters.cache.marks import Mark, Marks
from thermocline.adapters.cache.recency import LeastRecentlyUsed
from thermocline.domain.glob import glob_matcher
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.cache import AgingLevel, CacheEntry
from thermocline.ports.clock import Clock

OVERHEAD_BYTES: Final = 768
"""What an entry takes besides key and payload: objects, dictionary slots, stored headers (measured, rounded up)."""
LONGEST_ABSENCE: Final = Seconds(2.0)
"""How long at most it is believed that there is no content: nobody else's write is sure to be heard of sooner."""
LARGEST_EARLINESS: Final = 0.5
"""Of the time that a value is fresh, how much a refresh may come early."""
_MARKS_SHARE: Final = 8
_PAGE: Final = 1000


class _Value:
    __slots__ = ("cost", "dies_at", "entry", "expires_at", "fresh_until", "quiet_until", "refresh_at", "shown_until")

    def __init__(
        self, entry: CacheEntry, cost: int, dies_at: float, fresh_until: float, refresh_at: float, shown_until: float
    ) -> None:
        self.entry = entry
        self.cost = cost
        self.dies_at = dies_at
        self.fresh_until = fresh_until
        self.refresh_at = refresh_at
        self.expires_at = entry.expires_at
        self.show(shown_until)

    def show(self, until: float) -> None:
        """Let hits meet the value until then, if it is fresh so long."""
        self.shown_until = min(until, self.fresh_until)
        self.quieten()

    def quieten(self) -> None:
        """Note until when a hit has nothing to do but to return the value."""
        # The end of a content is a moment of the wall clock, to be compared at every hit.
        self.quiet_until = -inf if self.expires_at is not None else min(self.shown_until, self.refresh_at)


class MemoryCache(AgingLevel):
    """Never holds more than `capacity` bytes; for one event loop, and never suspends except in `match`.

    Lifetimes run on the monotonic clock, so that no jump of the wall clock lengthens them; `expires_at` of the
    content is a moment of the wall clock and is checked against it. Entries that would take more than
    `largest_share` of the capacity are refused. With `max_age`, what was not confirmed for so long is not shown.

    `on_refresh_due`, once for each value: the first hit that comes near the value's `fresh_until` calls it. How near is
    drawn at the fill, the nearer the sooner it was read (XFetch: Vattani, Chierichetti and Lowenstein, "Optimal
    Probabilistic Cache Stampede Prevention", VLDB 2015, with beta = 1), so that processes do not refresh all at once.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        capacity: Bytes,
        largest_share: float = 0.125,
        max_age: Seconds | None = None,
        draw: Callable[[], float] = lambda: random.expovariate(1.0),
    ) -> None:
        self.capacity = capacity
        self.on_refresh_due: Callable[[str, CacheEntry], None] | None = None
        """Must not raise."""
        self.hits = 0
        self.misses = 0
        self.sets = 0
        self.evictions = 0
        """Live values given up for room."""
        self.expirations = 0
        self.rejected = 0
        """Values refused for their size."""
        self._max_age = inf if max_age is None else max_age
        self._largest = int(capacity * largest_share)
        self._clock = clock
        self._monotonic = clock.monotonic
        self._now = clock.now
        self._draw = draw
        self._values: dict[str, _Value] = {}
        self._value_bytes = 0
        self._order = LeastRecentlyUsed()
        self._marks = Marks()

    @property
    def count(self) -> int:
        """How many values are held, those that expired unnoticed included."""
        return len(self._values)

    @property
    def bytes(self) -> int:
        """Bytes held now, marks included."""
        return self._value_bytes + self._marks.bytes

    def peek(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, no longer fresh, a lease or a tombstone."""
        value = self._values.get(key)
        if value is not None and (self._monotonic() < value.quiet_until or (value := self._met(key)) is not None):
            self._order.touch(key)
            self.hits += 1
            return value.entry
        self.misses += 1
        return None

    async def get(self, key: str) -> CacheEntry | None:
        """Return what `peek` does."""
        return self.peek(key)

    async def stale(self, key: str) -> CacheEntry | None:
        """Return the value, fresh or not, confirmed or not; counted neither as a hit nor as a miss."""
        value = self._live_value(key, self._monotonic())
        return None if value is None else value.entry

    def held(self, key: str) -> CacheEntry | None:
        """Return the fresh value, confirmed or not; counted neither as a hit nor as a miss."""
        value = self._fresh_value(key, self._monotonic())
        return None if value is None else value.entry

    def confirm(self, key: str, entry: CacheEntry) -> bool:
        """Show this very value again for `max_age`, never beyond its life; whether it is still held."""
        value = self._fresh_value(key, now := self._monotonic())
        if value is None or value.entry is not entry:
            return False
        value.show(now + self._max_age)
        return True

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease, or extend one's own; False over a fresh value or another's lease."""
        _check_ttl(ttl)
        now = self._monotonic()
        value = self._live_value(key, now)
        if value is not None and now < value.fresh_until:
            return False
        return self._mark_token(key, token, now + ttl, 0 if value is None else value.entry.version)

    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Put a token beside a value, fresh or not, or extend one's own; False beside another's, or without value."""
        _check_ttl(ttl)
        value = self._live_value(key, now := self._monotonic())
        return value is not None and self._mark_token(key, token, now + ttl, value.entry.version)

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than its floor; whether so.

        What is too large is refused, and what it would have replaced goes.
        """
        _check_ttl(ttl)
        now = self._monotonic()
        mark = self._marks.live(key, now)
        if mark is None or mark.token != token:
            return False
        self._marks.drop(key)
        if entry.version < mark.floor or (entry.expires_at is not None and self._now() >= entry.expires_at):
            return False
        return self._store(key, entry, now, ttl)

    async def release(self, key: str, token: str) -> None:
        """Give up one's own lease; the floor that it had stays as long as it would have."""
        now = self._monotonic()
        mark = self._marks.live(key, now)
        if mark is None or mark.token != token:
            return
        self._marks.drop(key)
        if mark.floor and key not in self._values:
            self._mark(key, Mark(None, mark.floor, mark.dies_at), now)

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
            mark = self._marks.live(key, now)
            if (
                mark is not None
                and mark.token is None
                and not mark.absent
                and mark.floor >= version
                and mark.dies_at >= now + ttl / 2
            ):
                continue  # told again: each own commit is, by the change feed
            floor = max(version, mark.floor) if mark is not None else version
            self._mark(key, Mark(None, floor, now + ttl), now)

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        """Store `entry` over whatever is there; return the version that it was given, 0 if it was refused.

        What is too large is refused, and what it would have replaced goes.
        """
        _check_ttl(ttl)
        now = self._monotonic()
        floor = self._floor(key, now)
        self._marks.drop(key)
        if entry.version <= floor:
            entry = replace(entry, version=floor + 1)
        if self._store(key, entry, now, ttl):
            return entry.version
        if floor:
            self._mark(key, Mark(None, floor, now + ttl), now)
        return 0

    async def fill_absent(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Note that there is no content, if the key still holds `token`; at most for `LONGEST_ABSENCE`. Whether so."""
        _check_ttl(ttl)
        now = self._monotonic()
        mark = self._marks.live(key, now)
        if mark is None or mark.token != token:
            return False
        self._discard_value(key)
        self._mark(key, Mark(None, mark.floor, now + min(ttl, LONGEST_ABSENCE), absent=True), now)
        return True

    def is_absent(self, key: str) -> bool:
        """Whether a fill told a moment ago that there is no content, and nothing has happened to the key since."""
        mark = self._marks.live(key, self._monotonic())
        return mark is not None and mark.absent

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of values and leases; other tasks run between two pages."""
        matches = glob_matcher(pattern)
        keys = [*self._values, *(key for key in self._marks.leased() if key not in self._values)]
        for first in range(0, len(keys), _PAGE):
            page = [key for key in keys[first : first + _PAGE] if matches(key)]
            if page:
                yield page
            await asyncio.sleep(0)

    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        """Replace the value or lease of each key by a tombstone of the version that it had; return how many values."""
        _check_ttl(ttl)
        now = self._monotonic()
        values = 0
        for key in keys:
            floor = self._floor(key, now)
            mark = self._marks.live(key, now)
            if key in self._values:
                self._drop_value(key)
                values += 1
            elif mark is None or mark.token is None:
                if mark is not None:
                    mark.absent = False
                continue
            self._mark(key, Mark(None, floor, now + ttl), now)
        return values

    async def clear(self) -> None:
        """Forget values, leases and tombstones; the counters go on."""
        self._values.clear()
        self._order.clear()
        self._marks.clear()
        self._value_bytes = 0

    def _met(self, key: str) -> _Value | None:
        """Return the value if it may be shown now, and see to what is due: the way of hits that are not quiet."""
        now = self._monotonic()
        value = self._live_value(key, now)
        if value is None or now >= value.shown_until:
            return None
        if now >= value.refresh_at:
            value.refresh_at = inf
            value.quieten()
            if self.on_refresh_due is not None:
                self.on_refresh_due(key, value.entry)
        return value

    def _store(self, key: str, entry: CacheEntry, now: float, ttl: Seconds) -> bool:
        self._discard_value(key)
        cost = OVERHEAD_BYTES + len(key) + len(entry.payload)
        if cost > self._largest:
            self.rejected += 1
            return False
        fresh_for, refresh_after = self._freshness(entry, ttl)
        self._values[key] = _Value(entry, cost, now + ttl, now + fresh_for, now + refresh_after, now + self._max_age)
        self._order.add(key)
        self._value_bytes += cost
        self.sets += 1
        self._make_room()
        return True

    def _freshness(self, entry: CacheEntry, ttl: Seconds) -> tuple[float, float]:
        """Return for how long from now the entry is fresh, and after how long it is to be refreshed."""
        if entry.fresh_until is None:
            return ttl, inf
        wall = self._now()
        fresh_for = min(ttl, elapsed(wall, entry.fresh_until))
        if entry.expires_at is not None and elapsed(wall, entry.expires_at) <= fresh_for:
            return fresh_for, inf  # the content ends: there will be nothing to refresh
        return fresh_for, fresh_for - min(entry.fetch_cost * self._draw(), fresh_for * LARGEST_EARLINESS)

    def _mark_token(self, key: str, token: str, dies_at: float, floor: int) -> bool:
        now = self._monotonic()
        mark = self._marks.live(key, now)
        if mark is not None:
            if mark.token not in {None, token}:
                return False
            floor = max(floor, mark.floor)
        self._mark(key, Mark(token, floor, dies_at), now)
        return True

    def _floor(self, key: str, now: float) -> int:
        """Return the highest version that the key remembers, or 0."""
        value, mark = self._live_value(key, now), self._marks.live(key, now)
        return max(0 if value is None else value.entry.version, 0 if mark is None else mark.floor)

    def _fresh_value(self, key: str, now: float) -> _Value | None:
        value = self._live_value(key, now)
        return value if value is not None and now < value.fresh_until else None

    def _live_value(self, key: str, now: float) -> _Value | None:
        value = self._values.get(key)
        if value is None:
            return None
        if now >= value.dies_at or (value.expires_at is not None and self._now() >= value.expires_at):
            self._drop_value(key)
            self.expirations += 1
            return None
        return value

    def _mark(self, key: str, mark: Mark, now: float) -> None:
        self._marks.put(key, mark, now)
        self._make_room()

    def _make_room(self) -> None:
        while self._marks.bytes * _MARKS_SHARE > self.capacity and len(self._marks) > 1:
            self._marks.drop_oldest()
        while self.bytes > self.capacity:
            if self._values:
                self._drop_value(self._order.victim())
                self.evictions += 1
            else:
                self._marks.drop_oldest()

    def _discard_value(self, key: str) -> None:
        if key in self._values:
            self._drop_value(key)

    def _drop_value(self, key: str) -> None:
        self._value_bytes -= self._values.pop(key).cost
        self._order.remove(key)


def _check_ttl(ttl: Seconds) -> None:
    if not ttl > 0:
        raise ValueError(f"a lifetime must be positive, not {ttl}")
