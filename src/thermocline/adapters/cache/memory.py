"""The cache inside this process, bounded by bytes.

A key holds one of: value, lease, tombstone; beside a value there may be a token of who refreshes it. All but values are
`marks`. Values lie on a `shelf` for each cache type; which of them a full cache gives up, whatever their type, is the
`eviction`'s to say.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from math import inf
from typing import Final, cast

from thermocline.adapters.cache.eviction import Eviction, TrialAndMain
from thermocline.adapters.cache.marks import Mark, Marks
from thermocline.adapters.cache.shelf import Shelf, Value
from thermocline.domain.glob import glob_matcher
from thermocline.domain.units import Bytes, Seconds, elapsed
from thermocline.ports.cache import AgingLevel, CacheEntry, LevelCounts
from thermocline.ports.clock import Clock
from thermocline.ports.held import HotLevel

OVERHEAD_BYTES: Final = 1280
"""What an entry takes besides key and payload: objects, dictionary slots, stored headers, and that it is remembered
for a while when it was given up (measured: 990 and 230, rounded up)."""
LARGEST_EARLINESS: Final = 0.5
"""Of the time that a value is fresh, how much a refresh may come early."""
MOST_TYPES: Final = 64
"""Cache types that have a shelf of their own; the others share one."""
LARGEST_SHARE: Final = 0.1
"""What takes more of the capacity is refused, as S3-FIFO does: measured, larger ones cost more hits than they bring."""
_MARKS_SHARE: Final = 8
_PAGE: Final = 1000


class MemoryCache(AgingLevel, HotLevel):
    """Never holds more than `capacity` bytes; for one event loop, and never suspends except in `match`.

    Lifetimes run on the monotonic clock, so that no jump of the wall clock lengthens them; `expires_at` of the
    content is a moment of the wall clock and is checked against it. Entries that would take more than
    `largest_share` of the capacity are refused. With `max_age`, what was not confirmed for so long is not shown.

    `on_refresh_due`, once for each value: the first hit that comes near the value's `fresh_until` calls it. How near is
    drawn at the fill, the nearer the sooner it was read (after XFetch: Vattani, Chierichetti and Lowenstein, "Optimal
    Probabilistic Cache Stampede Prevention", VLDB 2015), so that processes do not refresh all at once. Their readers
    each draw, and the first of many is early enough; here one draw stands for all, so one fetch is added to it: else
    two of three refreshes would still be under way when the value ends.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        capacity: Bytes,
        largest_share: float = LARGEST_SHARE,
        max_age: Seconds | None = None,
        draw: Callable[[], float] = lambda: random.expovariate(1.0),
    ) -> None:
        self.capacity = capacity
        self.on_refresh_due: Callable[[str, CacheEntry], None] | None = None
        """Must not raise."""
        self._max_age = inf if max_age is None else max_age
        self._largest = int(capacity * largest_share)
        self._clock = clock
        self._monotonic = clock.monotonic
        self._now = clock.now
        self._draw = draw
        self._eviction: Eviction = TrialAndMain(capacity)
        self._marks = Marks()
        self._rest = Shelf("", self._see_to)
        self._shelves: dict[str, Shelf] = {}
        self._value_bytes = 0

    @property
    def count(self) -> int:
        """How many values are held, those that expired unnoticed included."""
        return sum(len(shelf.values) for shelf in self._all_shelves())

    @property
    def bytes(self) -> int:
        """Bytes held now, marks included."""
        return self._value_bytes + self._marks.bytes

    @property
    def sets(self) -> int:
        """Values taken in."""
        return sum(shelf.sets for shelf in self._all_shelves())

    @property
    def evictions(self) -> int:
        """Live values given up for room."""
        return sum(shelf.evictions for shelf in self._all_shelves())

    def counts(self) -> Mapping[str, LevelCounts]:
        """Return the counts by cache type; "" is of keys without one, and of types beyond `MOST_TYPES`."""
        return {shelf.prefix.removesuffix(":"): shelf.counts() for shelf in self._all_shelves()}

    def held_values(self, cache_type: str) -> Shelf:
        """Return the values of one cache type, for hits that cost nothing but themselves."""
        return self._shelves.setdefault(cache_type, Shelf(f"{cache_type}:", self._see_to))

    def peek(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, no longer fresh, a lease or a tombstone."""
        shelf, name = self._place(key)
        value = shelf.values.get(name)
        if value is not None and (self._monotonic() < value.quiet_until or (value := self._see_to(value)) is not None):
            value.hits += 1
            return value.entry
        shelf.misses += 1
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
        # Most often there is none: whoever asks comes after a miss.
        if self._value(key) is None:
            return None
        value = self._fresh_value(key, self._monotonic())
        return None if value is None else value.entry

    def confirm(self, key: str, entry: CacheEntry) -> bool:
        """Show this very value again for `max_age`, never beyond its life; whether it is still held."""
        value = self._fresh_value(key, now := self._monotonic())
        if value is None or value.entry is not entry:
            return False
        value.shown_until = min(now + self._max_age, value.fresh_until)
        value.quieten()
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
        if mark.floor and self._value(key) is None:
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
                self._drop(value)
            mark = self._marks.live(key, now)
            if mark is not None and mark.token is None and mark.floor >= version and mark.dies_at >= now + ttl / 2:
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
            entry = entry._replace(version=floor + 1)
        if self._store(key, entry, now, ttl):
            return entry.version
        if floor:
            self._mark(key, Mark(None, floor, now + ttl), now)
        return 0

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of values and leases; other tasks run between two pages."""
        matches = glob_matcher(pattern)
        keys = [shelf.prefix + name for shelf in self._all_shelves() for name in shelf.values]
        keys += [key for key in self._marks.leased() if self._value(key) is None]
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
            if (value := self._value(key)) is not None:
                self._drop(value)
                values += 1
            elif mark is None or mark.token is None:
                continue
            self._mark(key, Mark(None, floor, now + ttl), now)
        return values

    async def clear(self) -> None:
        """Forget values, leases and tombstones; the counters go on."""
        for shelf in self._all_shelves():
            shelf.clear()
        self._eviction.clear()
        self._marks.clear()
        self._value_bytes = 0

    def _see_to(self, value: Value) -> Value | None:
        """Return the value if it may be shown now, and do what is due: the way of hits that are not quiet."""
        now = self._monotonic()
        if self._is_over(value, now) or now >= value.shown_until:
            return None
        is_due = now >= value.refresh_at
        if is_due:
            value.refresh_at = inf
            value.quieten()
        value.shelf.list_hit(value)
        if is_due and self.on_refresh_due is not None:
            self.on_refresh_due(value.shelf.prefix + value.name, value.entry)
        return value

    def _store(self, key: str, entry: CacheEntry, now: float, ttl: Seconds) -> bool:
        shelf, name = self._place(key)
        old = shelf.values.get(name)
        cost = OVERHEAD_BYTES + len(key) + len(entry.payload)
        if cost > self._largest:
            shelf.rejected += 1
            if old is not None:
                self._drop(old)
            return False
        fresh_for, refresh_after = self._freshness(entry, ttl)
        value = Value(
            shelf,
            name,
            entry,
            cost=cost,
            dies_at=now + ttl,
            fresh_until=now + fresh_for,
            refresh_at=now + refresh_after,
            shown_until=now + self._max_age,
        )
        if old is None:
            self._eviction.add(value)
        else:
            self._eviction.replace(old, value)
            self._value_bytes -= old.cost
            shelf.take(old)
        shelf.put(value)
        self._value_bytes += cost
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
        earliness = entry.fetch_cost * (1.0 + self._draw())
        return fresh_for, fresh_for - min(earliness, fresh_for * LARGEST_EARLINESS)

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

    def _fresh_value(self, key: str, now: float) -> Value | None:
        value = self._live_value(key, now)
        return value if value is not None and now < value.fresh_until else None

    def _live_value(self, key: str, now: float) -> Value | None:
        value = self._value(key)
        return None if value is None or self._is_over(value, now) else value

    def _is_over(self, value: Value, now: float) -> bool:
        """Whether the life of the value has ended; then it is gone."""
        if now < value.dies_at and (value.expires_at is None or self._now() < value.expires_at):
            return False
        value.shelf.expirations += 1
        self._drop(value)
        return True

    def _value(self, key: str) -> Value | None:
        shelf, name = self._place(key)
        return shelf.values.get(name)

    def _place(self, key: str) -> tuple[Shelf, str]:
        """Return the shelf of the key's type, and the key's name on it."""
        cache_type, colon, name = key.partition(":")
        if not colon:
            return self._rest, key
        shelf = self._shelves.get(cache_type)
        if shelf is None:
            if len(self._shelves) >= MOST_TYPES:
                return self._rest, key
            shelf = self._shelves[cache_type] = Shelf(f"{cache_type}:", self._see_to)
        return shelf, name

    def _all_shelves(self) -> list[Shelf]:
        return [*self._shelves.values(), self._rest]

    def _mark(self, key: str, mark: Mark, now: float) -> None:
        self._marks.put(key, mark, now)
        self._make_room()

    def _make_room(self) -> None:
        while self._marks.bytes * _MARKS_SHARE > self.capacity and len(self._marks) > 1:
            self._marks.drop_oldest()
        while self.bytes > self.capacity:
            if self._value_bytes:
                value = cast("Value", self._eviction.give_up())
                if self._monotonic() < value.dies_at:
                    value.shelf.evictions += 1
                else:
                    value.shelf.expirations += 1
                value.shelf.take(value)
                self._value_bytes -= value.cost
            else:
                self._marks.drop_oldest()

    def _drop(self, value: Value) -> None:
        self._eviction.remove(value)
        value.shelf.take(value)
        self._value_bytes -= value.cost


def _check_ttl(ttl: Seconds) -> None:
    if not ttl > 0:
        raise ValueError(f"a lifetime must be positive, not {ttl}")
