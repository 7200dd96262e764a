"""Under load: slots move, masters swap with their replicas, a master dies. No error to readers, no wrong value."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.adapters.cache.opening import redis_cache
from thermocline.adapters.cache.redis import RedisCache
from thermocline.adapters.clock import SystemClock
from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.cache import TTL, entry, stored
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisSentinels

pytestmark = pytest.mark.server

KEYS = [f"k{number}" for number in range(60)]
READERS = 16


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path / "cluster", "--cluster-require-full-coverage", "no")
    cluster.start()
    yield cluster
    cluster.stop()


class Load:
    """Readers that check what they read, and writers of newer versions."""

    def __init__(self, cache: RedisCache) -> None:
        self.cache = cache
        self.reads = 0
        self.hits = 0
        self.errors: list[StorageError] = []
        self.wrong: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        assert all(await asyncio.gather(*(stored(self.cache, key, entry(payload=key.encode())) for key in KEYS)))
        tasks = [asyncio.create_task(self._read(seed)) for seed in range(READERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(what, asyncio.CancelledError) for what in done), done

    async def _read(self, seed: int) -> None:
        dice = random.Random(seed)
        while True:
            key = dice.choice(KEYS)
            try:
                found = await self.cache.get(key)
            except StorageError as exc:
                self.errors.append(exc)
                await asyncio.sleep(0.01)
                continue
            self.reads += 1
            if found is not None:
                self.hits += 1
                if found.payload != key.encode():
                    self.wrong.append(key)
            await asyncio.sleep(0)

    async def go_on(self, reads: int) -> None:
        """Return after so many more reads."""
        wanted = self.reads + reads
        async with asyncio.timeout(30):
            while self.reads < wanted:  # noqa: ASYNC110 - of real time
                await asyncio.sleep(0.005)


async def in_thread(change: Callable[[], object]) -> None:
    await asyncio.to_thread(change)


def test_slots_move_under_load(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(5.0)) as cache:
            load = Load(cache)
            async with load.running():
                await load.go_on(500)
                for key in KEYS[:25]:
                    name = cache._name(key).decode()
                    slot = int(cluster.nodes[0].cli("CLUSTER", "KEYSLOT", name))
                    source = cluster.master_of_slot(slot)
                    target = next(node for node in cluster.masters() if node is not source)
                    await in_thread(lambda slot=slot, target=target: cluster.move_slot(slot, target))  # type: ignore[misc]
                await load.go_on(500)
            assert load.errors == []
            assert load.wrong == []
            assert load.hits == load.reads, "nothing was lost on the way"

    scenario()


def test_a_slot_stays_half_moved(cluster: RedisCluster) -> None:
    """Keys that have gone already are asked for where they went, also by scripts."""

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(5.0)) as cache:
            assert await stored(cache, "{x}one", entry())
            assert await stored(cache, "{x}two", entry())
            name = cache._name("{x}one").decode()
            slot = cluster.nodes[0].cli("CLUSTER", "KEYSLOT", name)
            source = cluster.master_of_slot(int(slot))
            target = next(node for node in cluster.masters() if node is not source)
            target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.cli("CLUSTER", "MYID"))
            source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", target.cli("CLUSTER", "MYID"))
            source.cli("MIGRATE", "127.0.0.1", str(target.port), name, "0", "5000")
            assert await cache.get("{x}one") == entry()
            assert await cache.get("{x}two") == entry()
            assert await stored(cache, "{x}three", entry())
            await cache.tombstone({"{x}one": 1, "{x}two": 1}, ttl=TTL)
            assert await cache.get("{x}one") is None
            assert await cache.get("{x}two") is None

    scenario()


def test_masters_swap_with_their_replicas_under_load(cluster: RedisCluster) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(5.0)) as cache:
            load = Load(cache)
            async with load.running():
                await load.go_on(500)
                for master in cluster.masters():
                    await in_thread(lambda master=master: cluster.fail_over(master))  # type: ignore[misc]
                    await load.go_on(500)
            assert load.errors == []
            assert load.wrong == []

    scenario()


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_a_master_is_lost_under_load(cluster: RedisCluster, fault: str) -> None:
    """Reads of its keys fail for a bounded time, each waiting once; those of the others go on; then all is well."""

    @in_event_loop
    async def scenario() -> None:
        clock = SystemClock()
        async with redis_cache(cluster.url, timeout=Seconds(2.0)) as below:
            cache = BreakingCache(below, clock)
            load = Load(below)
            load.cache = cache  # type: ignore[assignment]
            victim = cluster.master_of(below._name(KEYS[0]).decode())
            theirs = [key for key in KEYS if cluster.master_of(below._name(key).decode()) is not victim]
            try:
                async with load.running():
                    await load.go_on(500)
                    (victim.kill if fault == "killed" else victim.pause)()
                    for _ in range(20):
                        await asyncio.gather(*(cache.get(key) for key in theirs))
                        await asyncio.sleep(0.05)
                    await _over(cache, load)
                    if fault == "paused":
                        victim.resume()
                        await load.go_on(1000)
                    assert await cache.lease("new", "t", ttl=TTL)
                assert load.wrong == []
                assert all(isinstance(exc, UnavailableError) for exc in load.errors)
            finally:
                victim.resume() if fault == "paused" else None
                await cache.aclose()

    scenario()


async def _over(cache: BreakingCache, load: Load) -> None:
    """Return once a thousand reads did not fail any more: on a busy machine the cluster may take several attempts."""
    errors = -1
    async with asyncio.timeout(60):
        while len(load.errors) != errors:
            while cache.open_circuits or await _fails(cache):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
            errors = len(load.errors)
            await load.go_on(1000)


async def _fails(cache: BreakingCache) -> bool:
    try:
        await cache.get(KEYS[0])
    except StorageError:
        return True
    return False


def test_a_master_without_a_replica_is_lost_for_good(tmp_path: Path) -> None:
    """A third of the keys is out of reach; the others never notice; with the node back, all are."""
    cluster = RedisCluster(tmp_path / "cluster", "--cluster-require-full-coverage", "no", replicas=0)
    cluster.start()

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(cluster.url, timeout=Seconds(1.0)) as below:
            cache = BreakingCache(below, SystemClock())
            assert all(await asyncio.gather(*(stored(cache, key, entry()) for key in KEYS)))
            victim = cluster.master_of(below._name(KEYS[0]).decode())
            theirs = [key for key in KEYS if cluster.master_of(below._name(key).decode()) is not victim]
            victim.kill()
            with pytest.raises(UnavailableError):
                await cache.get(KEYS[0])
            for _ in range(40):
                refused = cache.refused
                found = await asyncio.gather(*(cache.get(key) for key in theirs))
                assert None not in found
                with pytest.raises(UnavailableError):
                    await cache.get(KEYS[0])
                assert cache.refused == refused + 1, "nobody waits again"
                await asyncio.sleep(0.02)
            victim.start()
            async with asyncio.timeout(20):
                while await _fails(cache):  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.05)
            assert await cache.get(KEYS[0]) is None
            await cache.aclose()

    try:
        scenario()
    finally:
        cluster.stop()


def test_sentinels_choose_another_master(tmp_path: Path) -> None:
    sentinels = RedisSentinels(tmp_path / "sentinels")
    sentinels.start()

    @in_event_loop
    async def scenario() -> None:
        async with redis_cache(sentinels.url, timeout=Seconds(1.0)) as cache:
            assert await stored(cache, KEYS[0], entry())
            sentinels.master().kill()
            async with asyncio.timeout(30):
                while True:
                    try:
                        found = await cache.get(KEYS[0])
                        assert await stored(cache, "new", entry())
                        break
                    except StorageError:
                        await asyncio.sleep(0.1)
            assert found in {None, entry()}

    try:
        scenario()
    finally:
        sentinels.stop()


def test_sentinels_that_are_silent_take_no_longer_than_a_call_may() -> None:
    """Each accepts connections and never answers; one after the other they would take eight times the timeout."""
    timeout = Seconds(0.5)

    @in_event_loop
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            hosts = []
            for _ in range(16):
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                hosts.append(f"127.0.0.1:{listener.getsockname()[1]}")
            url = f"redis+sentinel://{','.join(hosts)}/mymaster"
            cache = await stack.enter_async_context(redis_cache(url, timeout=timeout))
            for _ in range(2):
                began = asyncio.get_running_loop().time()
                with pytest.raises(UnavailableError):
                    await cache.get("a")
                # Some slack for a busy machine.
                assert asyncio.get_running_loop().time() - began < 3 * timeout

    scenario()
