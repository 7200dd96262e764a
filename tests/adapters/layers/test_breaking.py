"""The circuit breaker: one failure opens a server's circuit, a probe in the background closes it."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest

from thermocline.adapters.layers.breaking import FIRST_PROBE, LONGEST_PAUSE, BreakingCache, BreakingCounts
from thermocline.domain.errors import OutOfSpaceError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.ports.cache import CacheEntry, Partitioned, Pressured, SharedCounts
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.shared_cache import SharedMemoryCache

CALLS: dict[str, Callable[[BreakingCache], Awaitable[object]]] = {
    "get": lambda cache: cache.get("a1"),
    "stale": lambda cache: cache.stale("a1"),
    "version_of": lambda cache: cache.version_of("a1"),
    "lease": lambda cache: cache.lease("a1", "t", ttl=TTL),
    "refresh": lambda cache: cache.refresh("a1", "t", ttl=TTL),
    "renew": lambda cache: cache.renew("a1", "t", ttl=TTL),
    "fill": lambda cache: cache.fill("a1", "t", entry(), ttl=TTL),
    "release": lambda cache: cache.release("a1", "t"),
    "tombstone": lambda cache: cache.tombstone({"a1": 1}, ttl=TTL),
    "put": lambda cache: cache.put("a1", entry(), ttl=TTL),
    "evict": lambda cache: cache.evict(["a1"], ttl=TTL),
}


class Servers(SharedMemoryCache, Partitioned):
    """Keys lie on the server that their first letter names; those in `down` fail."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.down: dict[str, StorageError] = {}
        self.asked: list[str] = []

    def part_of(self, key: str) -> str:
        return key[0]

    def _ask(self, *keys: str) -> None:
        self.asked += keys
        for key in keys:
            if key[0] in self.down:
                raise self.down[key[0]]

    async def get(self, key: str) -> CacheEntry | None:
        self._ask(key)
        return await super().get(key)

    async def version_of(self, key: str) -> int | None:
        self._ask(key)
        return await super().version_of(key)

    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        self._ask(key)
        return await super().lease(key, token, ttl=ttl)

    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        self._ask(key)
        return await super().renew(key, token, ttl=ttl)

    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        self._ask(key)
        return await super().fill(key, token, entry, ttl=ttl)

    async def release(self, key: str, token: str) -> None:
        self._ask(key)
        await super().release(key, token)

    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        self._ask(*versions)
        await super().tombstone(versions, ttl=ttl)

    async def stale(self, key: str) -> CacheEntry | None:
        self._ask(key)
        return await super().stale(key)

    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        self._ask(key)
        return await super().refresh(key, token, ttl=ttl)

    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        self._ask(key)
        return await super().put(key, entry, ttl=ttl)

    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        self._ask(*keys)
        return await super().evict(keys, ttl=ttl)

    async def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        async for page in super().match(pattern):
            yield page


class Counters(SharedCounts):
    """Counters on server "a"."""

    part = "a"

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._counts: Counter[str] = Counter()

    async def add(self, counts: Mapping[str, int]) -> None:
        self._servers._ask("a")
        self._counts.update(counts)

    async def totals(self) -> Mapping[str, int]:
        self._servers._ask("a")
        return self._counts


class Stage:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.servers = Servers(self.clock)
        self.cache = BreakingCache(self.servers, self.clock)


@pytest.mark.parametrize("call", CALLS)
def test_one_failure_opens_the_circuit_for_every_call(call: str) -> None:
    @in_event_loop
    async def scenario() -> None:
        stage = Stage()
        stage.servers.down["a"] = UnavailableError("down")
        with pytest.raises(UnavailableError, match="down"):
            await CALLS[call](stage.cache)
        stage.servers.asked.clear()
        for other in CALLS.values():
            with pytest.raises(UnavailableError, match="left alone"):
                await other(stage.cache)
        assert stage.servers.asked == [], "nobody waits twice"
        assert (stage.cache.opened, stage.cache.open_circuits, stage.cache.refused) == (1, 1, len(CALLS))
        await stage.cache.aclose()

    scenario()


@in_event_loop
async def test_what_is_on_other_servers_goes_on() -> None:
    stage = Stage()
    assert await stored(stage.cache, "b1", entry())
    stage.servers.down["a"] = UnavailableError("down")
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await stage.cache.tombstone({"a1": 1, "b1": 1, "c1": 1}, ttl=TTL)
        assert await stage.cache.get("b1") is None
    assert await stage.servers.lease("c1", "t", ttl=TTL)
    assert not await stage.servers.fill("c1", "t", entry(0), ttl=TTL), "its tombstone arrived"
    await stage.cache.aclose()


@in_event_loop
async def test_evictions_on_other_servers_go_on() -> None:
    stage = Stage()
    for key in ("a1", "b1", "c1"):
        assert await stored(stage.cache, key, entry())
    assert await stage.cache.evict(["a1", "none"], ttl=TTL) == 1
    stage.servers.down["a"] = UnavailableError("down")
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await stage.cache.evict(["a1", "b1", "c1"], ttl=TTL)
        assert await stage.cache.get("b1") is None
        assert await stage.cache.get("c1") is None
    await stage.cache.aclose()


@in_event_loop
async def test_counters_share_the_circuit_of_their_server() -> None:
    stage = Stage()
    counts = BreakingCounts(Counters(stage.servers), stage.cache)
    await counts.add({"hits": 2})
    await counts.add({"hits": 3, "misses": 1})
    assert await counts.totals() == {"hits": 5, "misses": 1}
    stage.servers.down["a"] = UnavailableError("down")
    with pytest.raises(UnavailableError, match="down"):
        await counts.add({"hits": 1})
    stage.servers.asked.clear()
    for call in (counts.add({"hits": 1}), counts.totals(), stage.cache.get("a1")):
        with pytest.raises(UnavailableError, match="left alone"):
            await call
    assert stage.servers.asked == [], "nobody waits twice"
    stage.servers.down.clear()
    await stage.clock.run_for(LONGEST_PAUSE)
    assert await counts.totals() == {"hits": 5, "misses": 1}


@in_event_loop
async def test_pressure_is_what_the_cache_below_knows() -> None:
    class Full(Servers, Pressured):
        def pressure(self) -> float:
            return 0.75

    clock = ManualClock()
    assert BreakingCache(Full(clock), clock).pressure() == 0.75
    assert BreakingCache(Servers(clock), clock).pressure() == 0.0


@in_event_loop
async def test_it_closes_by_itself_and_asks_less_and_less_often() -> None:
    stage = Stage()
    assert await stored(stage.cache, "a1", entry(), ttl=Seconds(600.0))
    stage.servers.down["a"] = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await stage.cache.get("a1")
    stage.servers.asked.clear()
    await stage.clock.run_for(FIRST_PROBE * 0.9)
    assert stage.servers.asked == []
    await stage.clock.run_for(60)
    early = len(stage.servers.asked)
    assert 60 / LONGEST_PAUSE <= early <= 60 / LONGEST_PAUSE + 8
    stage.servers.down.clear()
    await stage.clock.run_for(LONGEST_PAUSE)
    assert stage.cache.open_circuits == 0
    assert await stage.cache.get("a1") == entry()
    await stage.clock.run_for(60)
    assert len(stage.servers.asked) == early + 2, "one probe, one read: probing has ended"


@in_event_loop
async def test_a_full_server_is_well() -> None:
    stage = Stage()
    stage.servers.down["a"] = OutOfSpaceError("full")
    for _ in range(2):
        with pytest.raises(OutOfSpaceError):
            await stage.cache.lease("a1", "t", ttl=TTL)
    assert stage.cache.opened == 0
    stage.servers.down["a"] = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await stage.cache.get("a1")
    stage.servers.down["a"] = OutOfSpaceError("full")
    await stage.clock.run_for(FIRST_PROBE)
    assert stage.cache.open_circuits == 0


@in_event_loop
async def test_a_probe_survives_what_nobody_foresaw() -> None:
    stage = Stage()
    stage.servers.down["a"] = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await stage.cache.get("a1")
    stage.servers.down["a"] = RuntimeError("odd")  # type: ignore[assignment]
    await stage.clock.run_for(10)
    assert stage.cache.open_circuits == 1
    stage.servers.down.clear()
    await stage.clock.run_for(LONGEST_PAUSE)
    assert stage.cache.open_circuits == 0


@in_event_loop
async def test_a_bug_opens_nothing() -> None:
    stage = Stage()
    stage.servers.down["a"] = ValueError("a bug")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="a bug"):
        await stage.cache.get("a1")
    assert stage.cache.opened == 0
