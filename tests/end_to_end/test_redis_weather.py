"""Bad weather at Redis, measured: how long a request waits for it, and what is read while it evicts what it likes."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.counts import SOAK
from tests.end_to_end.test_redis_faults import forgetful, mended, settings_for
from thermocline import StorageOrchestrator
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisServer
from thermocline.testing.servers.tcp_proxy import TcpProxy, Weather

pytestmark = pytest.mark.server

TIMEOUT = 3.0
ONCE = TIMEOUT + 2.5
"""One wait and the storage, on a busy machine; less than two waits."""
READERS = 20
STEPS = 1500 if SOAK else 250


@pytest.mark.parametrize("weather", [Weather.FAIR, Weather.SWALLOWED], ids=["slow", "silent"])
def test_no_request_waits_for_redis_twice(tmp_path: Path, weather: Weather) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()

    @in_event_loop
    async def scenario() -> None:
        with TcpProxy(f"tcp://127.0.0.1:{server.port}").running() as proxy:
            settings = settings_for(tmp_path / "data", f"redis://127.0.0.1:{proxy.port}", timeout=TIMEOUT)
            async with StorageOrchestrator.open(settings) as store:
                names = [f"c{number}" for number in range(READERS)]
                for name in names:
                    await store.store_content(name, name.encode())
                await mended(store, names[0])
                await store.services.cache.clear()
                # Every answer is later than any call may take.
                proxy.delay(Seconds(TIMEOUT + 1.0))
                proxy.weather = weather
                times = await asyncio.gather(*(_timed(partial(store.retrieve_content, name)) for name in names))
                assert max(times) < ONCE, times
                # From now on nobody waits at all.
                times = [await _timed(partial(forgetful, store, name)) for name in names]
                times += [await _timed(partial(store.store_content, name, b"new")) for name in names]
                assert max(times) < TIMEOUT, times
                print(f"{weather}: at most {max(times):.3f} s once it is left alone")  # noqa: T201
                proxy.weather = Weather.FAIR
                proxy.delay(Seconds(0.0))
                await mended(store, names[0])
                assert await forgetful(store, names[1]) == b"new"

    try:
        scenario()
    finally:
        server.stop()


def test_the_first_writer_waits_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()

    @in_event_loop
    async def scenario() -> None:
        settings = settings_for(tmp_path / "data", server.url, timeout=TIMEOUT)
        async with StorageOrchestrator.open(settings) as store:
            await store.store_content("a", b"old")
            await mended(store, "a")
            server.pause()
            changes: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: store.store_content("a", b"new"),
                lambda: store.update_metadata("a", visibility="public"),
                lambda: store.set_tier("a", "warm"),
                lambda: store.delete_content("a"),
            )
            first, *later = [await _timed(change) for change in changes]
            assert first < ONCE
            assert max(later) < TIMEOUT
            server.resume()
            await store.store_content("a", b"newest")
            await mended(store, "a")
            assert await forgetful(store, "a") == b"newest"

    try:
        scenario()
    finally:
        server.resume()
        server.stop()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_redis_that_evicts_leases_and_tombstones(tmp_path: Path, policy: str) -> None:
    """What it forgets, it forgets: an absent key takes no fill, so nothing older than what was acknowledged is read."""
    server = RedisServer(tmp_path / "redis", "--maxmemory-policy", policy, "--maxmemory-samples", "1")
    server.start()
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201

    @in_event_loop
    async def scenario() -> None:
        settings = settings_for(tmp_path / "data", server.url, timeout=5.0)
        async with StorageOrchestrator.open(settings) as here, StorageOrchestrator.open(settings) as there:
            names = [f"c{number}" for number in range(12)]
            acknowledged = dict.fromkeys(names, 0)
            for name in names:
                await here.store_content(name, _body(0), initial_tier="warm")
            server.cli("CONFIG", "SET", "maxmemory", str(_used(server) + 20_000))

            async def write(chance: random.Random, mine: list[str]) -> None:
                for number in range(1, STEPS // 4):
                    name = chance.choice(mine)
                    store = chance.choice((here, there))
                    await store.store_content(name, _body(number), initial_tier="warm")
                    acknowledged[name] = number
                    await asyncio.sleep(0)

            async def read(chance: random.Random, store: StorageOrchestrator) -> None:
                for _ in range(STEPS):
                    name = chance.choice(names)
                    floor = acknowledged[name]
                    await store.services.cache.clear()
                    number = int((await store.retrieve_content(name)).split()[0])
                    assert number >= floor, f"seed {seed}: {name} was {number}, though {floor} was acknowledged"

            await asyncio.gather(
                *(write(random.Random(seed + n), names[n::2]) for n in range(2)),
                *(read(random.Random(seed + 10 + n), store) for n, store in enumerate((here, there))),
            )

    try:
        scenario()
        evicted = int(server.cli("INFO", "stats").partition("evicted_keys:")[2].split()[0])
        print(f"{evicted} keys were evicted")  # noqa: T201
        assert evicted
    finally:
        server.stop()


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    begin = time.monotonic()
    await call()
    return time.monotonic() - begin


def _body(number: int) -> bytes:
    return b"%d " % number + random.Random(number).randbytes(8000)


def _used(server: RedisServer) -> int:
    return int(server.cli("INFO", "memory").partition("used_memory:")[2].split()[0])
