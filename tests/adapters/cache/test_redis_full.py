"""Redis is full, and evicts what it likes or takes nothing: nothing stale is gained, and what must go goes."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.adapters.cache.opening import redis_cache
from tests.counts import SOAK
from thermocline.adapters.cache.redis import RedisCache
from thermocline.domain.errors import OutOfSpaceError
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.cache import CacheEntry
from thermocline.testing.clock import ManualClock
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.server

STEPS = 200_000 if SOAK else 6_000
ROOM = Bytes(2**20)
"""What each master has beyond what it takes empty."""
NOISE = 20_000
FRESH = Seconds(10.0)
OTHERS = 2
"""Fillers of one content that are under way."""


@pytest.fixture
def full(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", "--maxmemory-policy", "noeviction")
    server.start()
    yield server
    server.stop()


def test_every_step_on_a_server_that_takes_nothing(full: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(full.url) as cache:
            clock = cache._clock
            assert isinstance(clock, ManualClock)
            ageing = entry(3)._replace(fresh_until=later(clock.now(), FRESH))
            for key in ("stale", "refreshed", "released", "put", "evicted", "buried"):
                assert await stored(cache, key, ageing)
            for key in ("refreshed", "released", "evicted", "buried"):
                assert await cache.refresh(key, "t", ttl=TTL)
            assert await cache.lease("leased", "t", ttl=TTL)
            clock.advance(FRESH)
            full.cli("CONFIG", "SET", "maxmemory", "1")
            assert await cache.stale("stale") == ageing, "what is there is there for when storage fails"
            for call in (
                cache.lease("stale", "u", ttl=TTL),
                cache.refresh("stale", "u", ttl=TTL),
                cache.fill("refreshed", "t", entry(4), ttl=TTL),
                cache.put("put", entry(9), ttl=TTL),
                cache.counts.add({"hits": 1}),
            ):
                with pytest.raises(OutOfSpaceError):
                    await call
            assert await cache.evict(["evicted", "leased", "none"], ttl=TTL) == 1
            await cache.tombstone({"buried": 3}, ttl=TTL)
            await cache.release("released", "t")
            full.cli("CONFIG", "SET", "maxmemory", "0")
            assert await cache.stale("put") is None, "what was to be replaced is old"
            for key in ("evicted", "leased", "buried"):
                assert await cache.stale(key) is None
                assert not await cache.fill(key, "t", entry(9), ttl=TTL), "and so is what was read before"
            assert await cache.stale("refreshed") == ageing
            assert await cache.fill("refreshed", "t", entry(4), ttl=TTL), "the fill was never tried"

    scenario()


@dataclass
class Story:
    """One content as a model knows it."""

    committed: int = 1
    acknowledged: int = 1
    unannounced: list[int] = field(default_factory=list)
    tokens: dict[str, tuple[int, bool] | None] = field(default_factory=dict)
    """By token: the version that was read, and whether an eviction came since."""


@pytest.mark.timeout(3600 if SOAK else 120)
def test_masters_that_evict_tombstones_and_leases(tmp_path: Path) -> None:
    """Whatever vanishes, at whatever moment: an absent key takes no fill."""
    options = ("--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "1")
    cluster = RedisCluster(tmp_path / "cluster", *options, replicas=0)
    cluster.start()
    for node in cluster.nodes:
        used = int(node.cli("INFO", "memory").partition("used_memory:")[2].split()[0])
        node.cli("CONFIG", "SET", "maxmemory", str(used + ROOM))
    seed = random.randrange(2**32)

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(10.0)) as cache:
            evictions = _evictions(cluster)
            try:
                await _live(cache, random.Random(seed))
            except AssertionError as exc:
                exc.add_note(f"seed {seed}")
                raise
            assert _evictions(cluster) - evictions > STEPS / 50, "else nothing was tried"

    try:
        scenario()
    finally:
        cluster.stop()


async def _live(cache: RedisCache, dice: random.Random) -> None:
    stories = {f"k{number}": Story() for number in range(12)}
    gained = lost = 0
    for number in range(STEPS):
        key = dice.choice(list(stories))
        story, token = stories[key], f"t{number}"
        mine = dice.choice(list(story.tokens)) if story.tokens else None
        step = dice.choice(
            ("miss", "refresh", "read", "read", "fill", "fill", "commit", "bury", "evict", "age", "noise", "noise")
        )
        if step in {"miss", "refresh"}:
            take = cache.lease if step == "miss" else cache.refresh
            if await take(key, token, ttl=TTL):
                story.tokens[token] = None
                while len(story.tokens) > OTHERS:  # gave up without a word
                    del story.tokens[next(iter(story.tokens))]
        elif step == "read" and mine is not None:
            story.tokens[mine] = (story.committed, False)
        elif step == "fill" and mine is not None and (read := story.tokens[mine]) is not None:
            del story.tokens[mine]
            if await cache.fill(key, mine, _entry(cache, read[0], dice), ttl=TTL):
                gained += 1
                assert read[0] >= story.acknowledged, f"{key} gained what is stale"
                assert not read[1], f"{key} gained what was read before it was evicted"
            else:
                lost += 1
        elif step == "commit":
            story.committed += 1
            story.unannounced.append(story.committed)
        elif step == "bury" and story.unannounced:
            version = story.unannounced.pop(dice.randrange(len(story.unannounced)))
            await cache.tombstone({key: version}, ttl=TTL)
            story.acknowledged = max(story.acknowledged, version)
        elif step == "evict":
            await cache.evict([key], ttl=TTL)
            story.tokens = {name: read and (read[0], True) for name, read in story.tokens.items()}
        elif step == "age":
            assert isinstance(cache._clock, ManualClock)
            cache._clock.advance(FRESH / 50)
        elif step == "noise":
            await asyncio.gather(*(_noise(cache, dice) for _ in range(3)))
        found = await cache.stale(key)
        assert found is None or found.version >= story.acknowledged, f"{key} shows what is stale"
    assert gained > STEPS / 300, "else nothing was tried"
    assert lost > STEPS / 1000, "else nothing was lost"


async def _noise(cache: RedisCache, dice: random.Random) -> None:
    """Put a value that nobody reads: Redis makes room for it."""
    await cache.put(f"noise{dice.randrange(2000)}", entry(1, dice.randbytes(NOISE)), ttl=TTL)


def _entry(cache: RedisCache, version: int, dice: random.Random) -> CacheEntry:
    return entry(version, dice.randbytes(500))._replace(fresh_until=later(cache._clock.now(), FRESH))


def _evictions(cluster: RedisCluster) -> int:
    told = (node.cli("INFO", "stats") for node in cluster.masters())
    return sum(int(text.partition("evicted_keys:")[2].split()[0]) for text in told)
