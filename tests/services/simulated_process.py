"""One process of a simulated world: the real services over a shared cache, a catalog and a storage that are made up."""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from tests.services.simulated_facts import (
    FACT,
    KEEP_STALE,
    MAX_AGE,
    NEGATIVE_TTL,
    TYPE,
    TYPES,
    A,
    Facts,
    State,
    Teaching,
)
from thermocline.adapters.cache.marks import Mark
from thermocline.adapters.cache.memory import MemoryCache
from thermocline.domain.cache_types import CONTENT, content_key, value_key
from thermocline.domain.content import Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError, UnavailableError
from thermocline.domain.tiers import StorageTier, TierRules
from thermocline.domain.units import Bytes, Seconds, Timestamp, elapsed
from thermocline.ports.cache import CacheEntry, SharedLevel
from thermocline.services.background import Background
from thermocline.services.cache_levels import CacheLevels
from thermocline.services.caching import ContentCache
from thermocline.services.evicting import EvictionService
from thermocline.services.placements import Placements
from thermocline.services.reading import ReadingService
from thermocline.services.sharing import SharedCache
from thermocline.services.tracking import AccessTracker
from thermocline.services.turns import Turns
from thermocline.services.value_caches import ValueCaches
from thermocline.testing.shared_cache import SharedMemoryCache

T = TypeVar("T")


class WatchedLevel(SharedMemoryCache):
    """The shared cache, each call of which takes its time and may fail, before or after its effect."""

    def __init__(self, world: Facts) -> None:
        super().__init__(world.clock)
        self.world = world
        self._replica: dict[str, tuple[CacheEntry | None, Mark | None]] = {}

    def copy_to_replica(self) -> None:
        """Let the replica know what is here now."""
        now = self.world.clock.monotonic()
        self._replica = {
            key: (value.entry if (value := self._live_value(key, now)) else None, copy.copy(self._marks.live(key, now)))
            for key in (content_key(A), value_key(TYPE, FACT))
        }

    async def fail_over(self) -> None:
        """Forget what was taken in since it was last copied."""
        await SharedMemoryCache.clear(self)
        now = self.world.clock.now()
        for key, (entry, mark) in self._replica.items():
            if entry is not None and entry.fresh_until is not None:
                life = Seconds(elapsed(now, entry.fresh_until) + KEEP_STALE)
                if life > 0:
                    await SharedMemoryCache.put(self, key, entry, ttl=life)
            if mark is not None:
                left = Seconds(mark.dies_at - self.world.clock.monotonic())
                if left > 0 and entry is not None and mark.token is not None:
                    await SharedMemoryCache.refresh(self, key, mark.token, ttl=left)
                elif left > 0 and entry is None:
                    await SharedMemoryCache.tombstone(self, {key: mark.floor}, ttl=left)
                    if mark.token is not None:
                        await SharedMemoryCache.lease(self, key, mark.token, ttl=left)

    async def strike(self, effect: Callable[[], Awaitable[T]]) -> T:
        await self.world.drift()
        if self.world.dice.random() < self.world.failing:
            raise UnavailableError("before")
        result = await effect()
        await self.world.drift()
        if self.world.dice.random() < self.world.failing:
            raise UnavailableError("after")
        return result

    async def get(self, key: str) -> CacheEntry | None:
        return await self.strike(lambda: super(WatchedLevel, self).get(key))

    async def version_of(self, key: str) -> int | None:
        return await self.strike(lambda: super(WatchedLevel, self).version_of(key))

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        return await self.strike(lambda: super(WatchedLevel, self).lease(key, token, ttl=ttl))

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        return await self.strike(lambda: super(WatchedLevel, self).renew(key, token, ttl=ttl))

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        async def effect() -> bool:
            filled = await super(WatchedLevel, self).fill(key, token, entry, ttl=ttl)
            if filled and self.world.is_calm and key == content_key(A):
                newest = max(version for _, version in self.world.acknowledged)
                assert entry.version >= newest, "the shared cache gained what is old"
            return filled

        return await self.strike(effect)

    async def release(self, key: str, token: str) -> None:
        await self.strike(lambda: super(WatchedLevel, self).release(key, token))

    async def stale(self, key: str) -> CacheEntry | None:
        return await self.strike(lambda: super(WatchedLevel, self).stale(key))

    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        return await self.strike(lambda: super(WatchedLevel, self).refresh(key, token, ttl=ttl))

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        return await self.strike(lambda: super(WatchedLevel, self).put(key, entry, ttl=ttl))

    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        return await self.strike(lambda: super(WatchedLevel, self).evict(keys, ttl=ttl))

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        await self.strike(lambda: super(WatchedLevel, self).tombstone(versions, ttl=ttl))

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        async for page in super().match(pattern):
            yield page


class Process:
    """One process: memory over the shared cache, a reader of a made-up storage."""

    def __init__(self, world: Facts, shared: WatchedLevel) -> None:
        self.world = world
        self.known = 1
        """The newest version that was acknowledged or heard of here."""
        placements = Placements(
            "test", {}, {tier: TierRules("standard", world.ttl, prefetch=False) for tier in StorageTier}
        )
        self.levels = CacheLevels(
            WatchedMemory(self),
            world.clock,
            entropy=world.dice.randbytes,
            shared=SharedCache(cast("SharedLevel", shared), world.clock),
            memory_max_size=Bytes(1000),
            keep_stale=KEEP_STALE,
        )
        self.cache = ContentCache(
            self.levels,
            placements,
            world.clock,
            max_size=Bytes(1000),
            negative_ttl=NEGATIVE_TTL,
        )
        self.reading = Reading(self, placements)
        self.background = Background(10)
        none = cast("Any", None)
        self.values = ValueCaches(self.levels, self.cache, none, self.background, world.clock, TYPES)
        self.evicting = EvictionService(
            self.cache,
            self.values,
            cast("SharedLevel", shared),
            cast("Any", Feed(world)),
            world.clock,
            entropy=world.dice.randbytes,
        )

    async def hear(self, what: int | tuple[str, int]) -> None:
        """Take in what the change feed tells: a version of the content, or a pattern and its token."""
        if isinstance(what, tuple):
            await self.evicting.hear(*what)
            return
        await self.cache.hear(A, what)
        self.known = max(self.known, what)

    async def read(self) -> int | None:
        began = self.world.clock.monotonic()
        known = self.known
        try:
            entry = await self.reading.retrieve(A)
        except ContentNotFoundError:
            self._check_absence(began, known, lambda state: not state.exists)
            return None
        self._check(entry, began, known)
        return entry.version

    async def look(self) -> int | None:
        """Read as anybody, as the service does: what they may not see is looked for further on."""
        began = self.world.clock.monotonic()
        known = self.known
        entry = await self._look()
        if entry is None:
            self._check_absence(began, known, lambda state: not (state.exists and state.public))
            return None
        self._check(entry, began, known)
        assert self.world.states[entry.version].public, "shown though it was private"
        return entry.version

    async def _look(self) -> CacheEntry | None:
        entry = self.cache.peek(A)
        if entry is not None and entry.visibility is Visibility.PUBLIC:
            return entry
        found = await self.cache.find(A)
        if found is not None and found.entry.visibility is Visibility.PUBLIC:
            return found.entry
        try:
            record = await self.reading.find(A)
            if record.visibility is not Visibility.PUBLIC:
                return None
            entry = (await self.reading.load(A, known=record)).entry
        except ContentNotFoundError:
            return None
        return entry if entry.visibility is Visibility.PUBLIC else None

    def _check(self, entry: CacheEntry, began: float, known: int) -> None:
        floor = self._floor(began, known)
        assert entry.version >= floor, f"read {entry.version}, though {floor} was acknowledged"
        state = self.world.states[entry.version]
        assert state.exists, "deleted, and read"
        assert entry.payload == b"%d" % state.revision

    def _check_absence(self, began: float, known: int, allows: Callable[[State], bool]) -> None:
        floor = self._floor(began, known)
        possible = [version for version, state in self.world.states.items() if version >= floor and allows(state)]
        assert possible, f"nothing was read, though {floor} was acknowledged"

    def _floor(self, began: float, known: int) -> int:
        if not self.world.is_calm:
            return known
        return max(known, self.world.acknowledged_before(began - self.world.bound))

    async def refresh(self) -> None:
        """Do what the background does with a value that is due, whether it is or not."""
        token = await self.cache.begin_refresh(A)
        if token is None:
            return
        try:
            record = await self.reading.stat(A)
        except ContentNotFoundError:
            await self.cache.give_up_fill(A, token)
            return
        await self.world.drift()
        await self.cache.fill(token, record, b"%d" % record.revision)

    async def evict(self) -> None:
        with suppress(UnavailableError):
            await self.evicting.run("[a]", CONTENT)

    async def write(self) -> None:
        public = self.world.dice.random() < 0.5
        await self._commit(lambda version, _: State(version, public=public))

    async def show(self) -> None:
        public = self.world.dice.random() < 0.5
        await self._commit(lambda _, state: replace(state, public=public) if state.exists else None)

    async def delete(self) -> None:
        await self._commit(lambda version, state: State(version, exists=False) if state.exists else None)

    async def _commit(self, change: Callable[[int, State], State | None]) -> None:
        world = self.world
        await world.drift()
        mine = world.committed + 1
        state = change(mine, world.states[world.committed])
        if state is None:
            return
        world.states[mine] = state
        world.committed = mine
        world.heard += [(process, mine) for process in world.processes]
        await world.drift()
        await self.cache.invalidate(A, mine)
        self.known = max(self.known, mine)
        world.acknowledged.append((world.clock.monotonic(), mine))

    async def learn(self) -> None:
        """Change the fact, and evict what tells the old one."""
        teaching = self._teach(is_put=False)
        with suppress(UnavailableError):
            await self.evicting.run("fac[t]", TYPE)
            teaching.acknowledged_at = self.world.clock.monotonic()
        teaching.end = self.world.turn()

    async def put(self) -> None:
        """Change the fact, and put the new one over what tells the old one."""
        teaching = self._teach(is_put=True)
        if await self.values.put(FACT, b"%d" % teaching.fact, cache_type=TYPE):
            teaching.acknowledged_at = self.world.clock.monotonic()
        teaching.end = self.world.turn()

    def _teach(self, *, is_put: bool) -> Teaching:
        self.world.fact += 1
        teaching = Teaching(self, self.world.fact, self.world.turn(), is_put)
        self.world.teachings.append(teaching)
        return teaching

    async def fetch(self) -> None:
        async def compute() -> bytes:
            await self.world.drift()
            fact = self.world.fact
            await self.world.drift()
            return b"%d" % fact

        began, turn = self.world.clock.monotonic(), self.world.turn()
        self._check_fact(await self.values.fetch(FACT, compute, cache_type=TYPE), began, turn)

    async def get(self) -> None:
        began, turn = self.world.clock.monotonic(), self.world.turn()
        self._check_fact(await self.values.get(FACT, cache_type=TYPE), began, turn)

    def _check_fact(self, told: bytes | None, began: float, turn: int) -> None:
        if told is None or self.world.losing:
            return
        fact = int(told)
        by_put = next((each for each in self.world.teachings if each.fact == fact and each.is_put), None)
        for newer in self.world.teachings:
            if newer.fact <= fact or newer.acknowledged_at is None or newer.end is None or newer.end > turn:
                continue
            if by_put is not None and (by_put.end is None or by_put.end > newer.begin):
                continue  # they were put at once, and either may stand
            if newer.process is self:
                raise AssertionError(f"told {fact}, though {newer.fact} was acknowledged here")
            if self.world.is_calm and newer.acknowledged_at < began - self.world.bound:
                raise AssertionError(f"told {fact}, though {newer.fact} was acknowledged long ago")


class Feed:
    """What others hear of evictions by pattern."""

    def __init__(self, world: Facts) -> None:
        self._world = world

    async def announce_eviction(self, pattern: str, token: int, **_when: Timestamp) -> None:
        await self._world.drift()
        self._world.heard += [(process, (pattern, token)) for process in self._world.processes]


class WatchedMemory(MemoryCache):
    def __init__(self, process: Process) -> None:
        super().__init__(process.world.clock, capacity=Bytes(100_000), max_age=MAX_AGE)
        self._process = process

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        filled = await super().fill(key, token, entry, ttl=ttl)
        if filled and key == content_key(A):
            assert entry.version >= self._process.known, "memory gained what is old"
        return filled


class Records:
    """The catalog, as readers ask it."""

    def __init__(self, world: Facts) -> None:
        self._world = world

    async def find(self, _content_id: ContentId) -> Record | None:
        await self._world.drift()
        version = self._world.committed
        await self._world.drift()
        state = self._world.states[version]
        return record_of(version, state) if state.exists else None


class Reading(ReadingService):
    def __init__(self, process: Process, placements: Placements) -> None:
        none = cast("Any", None)
        super().__init__(
            *(cast("Any", Records(process.world)), placements, process.cache, none, AccessTracker(10), none),
            process.world.clock,
            max_buffered=Bytes(1000),
        )
        self._process = process

    async def _fetch(self, record: Record, turns: Turns) -> bytes:  # noqa: ARG002 - it never warms
        self._process.world.storage_reads += 1
        await self._process.world.drift()
        return b"%d" % record.revision


def record_of(version: int, state: State) -> Record:
    return Record(
        content_id=A,
        revision=state.revision,
        version=version,
        placement="standard",
        object_key="k",
        digest=state.revision.to_bytes(32),
        chunk_digests=None,
        size=Bytes(10),
        headers=StoredHeaders(),
        metadata={},
        tier=StorageTier.WARM,
        tier_since=Timestamp(0),
        visibility=Visibility.PUBLIC if state.public else Visibility.PRIVATE,
        created_at=Timestamp(0),
        modified_at=Timestamp(0),
        expires_at=None,
        held=False,
    )
