"""Very many keys on three masters are invalidated by a pattern: all that match, nothing else, and memory stays flat."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.adapters.cache.opening import redis_cache
from tests.counts import SOAK
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.cache.redis_frame import pack_value
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.cache import TTL, entry
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster

pytestmark = pytest.mark.server

KEYS = 1_000_000 if SOAK else 20_000
OTHERS = KEYS // 10
AT_ONCE = 2_000
LIFE = Seconds(3600.0)
FLAT = 24 * 2**20
"""Bytes; the keys' names alone take three times as much in the soak."""
PAGE_SIZE = 4096
PATTERN = "content:users/7/*"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path / "cluster", replicas=0)
    cluster.start()
    yield cluster
    cluster.stop()


def matching(number: int) -> str:
    return f"content:users/7/{number:032x}.json"


def other(number: int) -> str:
    return f"content:users/70/{number:032x}.json"


async def store(cache: RedisCache, keys: Sequence[str]) -> None:
    names = [cache._name(key) for key in keys]
    what = entry(7, b"x" * 60)
    commands = [(name, ("SET", name, pack_value(name, what), "PX", int(LIFE * 1000))) for name in names]
    answers = await cache._calls.commands(commands)
    assert all(answer == b"OK" for answer in answers)


def resident() -> int:
    """Return this process' memory in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_SIZE


@pytest.mark.timeout(3600 if SOAK else 120)
def test_a_pattern_evicts_all_that_match_and_nothing_else(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(10.0)) as cache:
            await cache._route.servers()
            for first in range(0, KEYS, AT_ONCE):
                await store(cache, [matching(number) for number in range(first, min(first + AT_ONCE, KEYS))])
            for first in range(0, OTHERS, AT_ONCE):
                await store(cache, [other(number) for number in range(first, min(first + AT_ONCE, OTHERS))])
            assert await cache.lease(matching(KEYS), "under way", ttl=LIFE)

            began, highest, evicted, pages = resident(), 0, 0, 0
            async for page in cache.match(PATTERN):
                evicted += await cache.evict(page, ttl=LIFE)
                pages += 1
                if pages % 20 == 0:
                    highest = max(highest, resident())
            assert evicted == KEYS
            assert highest - began < FLAT, f"{(highest - began) / 2**20:.1f} MiB for {KEYS} keys"

            dice = random.Random(1)
            for number in dice.sample(range(KEYS), 300):
                assert await cache.get(matching(number)) is None
            for number in dice.sample(range(OTHERS), 300):
                assert await cache.get(other(number)) == entry(7, b"x" * 60)
            assert not await cache.fill(matching(KEYS), "under way", entry(9), ttl=TTL), "its lease went, too"
            # What is evicted is taken again in its version, under a lease from now on.
            assert await cache.lease(matching(1), "t", ttl=TTL)
            assert await cache.fill(matching(1), "t", entry(7), ttl=TTL)

    scenario()


def test_an_eviction_that_is_given_up_leaves_everything_usable(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(10.0)) as cache:
            await cache._route.servers()
            await store(cache, [matching(number) for number in range(6_000)])
            evicted: list[str] = []

            async def evict() -> None:
                async for page in cache.match(PATTERN):
                    await cache.evict(page, ttl=LIFE)
                    evicted.extend(page)

            for pages in (1, 3):
                task = asyncio.create_task(evict())
                evicted.clear()
                while len(evicted) < pages * 100:  # noqa: ASYNC110 - a turn of the loop, no time
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert [key for key in evicted if await cache.get(key) is not None] == []
            await evict()
            assert await cache.get(matching(5_999)) is None

    scenario()
