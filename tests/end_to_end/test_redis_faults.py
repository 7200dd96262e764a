"""Redis fails in every way that it can: reads and writes go on, nobody waits twice, nothing old is read at home."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.domain.cache_types import content_key
from thermocline.domain.errors import ConfigurationError
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services.tracking import ReadKind
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.servers.redis import RedisCluster, RedisServer
from thermocline.testing.servers.tcp_proxy import TcpProxy, Weather

pytestmark = pytest.mark.server

TIMEOUT = 0.4
MENDED_WITHIN = 20.0


@dataclass
class Stage:
    server: RedisServer
    proxy: TcpProxy
    here: StorageOrchestrator
    there: StorageOrchestrator


Change = Callable[[Stage], None]


def _weather(weather: Weather, delay: float = 0.0) -> Change:
    def change(stage: Stage) -> None:
        stage.proxy.delay(Seconds(delay))
        stage.proxy.weather = weather

    return change


FAULTS: dict[str, tuple[Change, Change]] = {
    "stopped": (lambda stage: stage.server.stop(), lambda stage: stage.server.start()),
    "killed": (lambda stage: stage.server.kill(), lambda stage: stage.server.start()),
    "paused": (lambda stage: stage.server.pause(), lambda stage: stage.server.resume()),
    "slow": (_weather(Weather.FAIR, 2.0), _weather(Weather.FAIR)),
    "swallowed": (_weather(Weather.SWALLOWED), _weather(Weather.FAIR)),
    "reset": (_weather(Weather.RESET), _weather(Weather.FAIR)),
    "cut": (_weather(Weather.CUT), _weather(Weather.FAIR)),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", "--maxmemory-policy", "noeviction")
    server.start()
    yield server
    server.stop()


def settings_for(data: Path, url: str, **cache: object) -> Settings:
    return Settings.model_validate({"data": str(data), "cache": {"url": url, "timeout": TIMEOUT, **cache}})


@asynccontextmanager
async def staged(tmp_path: Path, server: RedisServer) -> AsyncIterator[Stage]:
    with TcpProxy(f"tcp://127.0.0.1:{server.port}").running() as proxy:
        settings = settings_for(tmp_path / "data", f"redis://127.0.0.1:{proxy.port}")
        async with StorageOrchestrator.open(settings) as here, StorageOrchestrator.open(settings) as there:
            yield Stage(server, proxy, here, there)


async def forgetful(store: StorageOrchestrator, content_id: str) -> bytes:
    """Read past this process's memory."""
    await store.services.background.drain()
    await store.services.cache.clear()
    return await store.retrieve_content(content_id)


def redis_hits(store: StorageOrchestrator) -> int:
    return store.services.tracker.totals[ReadKind.REDIS]


def waits(store: StorageOrchestrator) -> int:
    """How many calls were made to Redis in vain."""
    breaker = store.services.adapters.shared
    assert isinstance(breaker, BreakingCache)
    return store.services.cache.failures - breaker.refused


async def mended(store: StorageOrchestrator, content_id: str) -> None:
    """Return once reads are served by Redis again."""
    async with asyncio.timeout(MENDED_WITHIN):
        while True:
            before = redis_hits(store)
            await forgetful(store, content_id)
            if redis_hits(store) > before:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", FAULTS)
def test_reads_and_writes_go_on(tmp_path: Path, server: RedisServer, fault: str) -> None:
    inflict, mend = FAULTS[fault]

    @in_event_loop
    async def scenario() -> None:
        async with staged(tmp_path, server) as stage:
            here, there = stage.here, stage.there
            for name in ("a", "b", "kept"):
                await here.store_content(name, b"old")
                await mended(there, name)
            inflict(stage)
            before = waits(here)
            assert await forgetful(here, "a") == b"old"
            assert waits(here) - before == 1, "it waits once"
            before = waits(here)
            for number in range(30):
                assert await forgetful(here, "a") == b"old"
                await here.store_content(f"new{number}", b"x")
            await here.store_content("a", b"new")
            await here.update_metadata("b", visibility="public")
            await here.delete_content("kept")
            assert await forgetful(here, "a") == b"new"
            assert waits(here) - before <= 1, "later ones don't"
            mend(stage)
            # What Redis still holds is old; this process knows.
            assert await forgetful(here, "a") == b"new"
            await mended(here, "a")
            assert await forgetful(here, "a") == b"new"
            # The others are told by the outbox, whose row waits for Redis.
            async with asyncio.timeout(MENDED_WITHIN):
                while await forgetful(there, "a") != b"new":
                    await here.services.outbox.deliver(OutboxKind.INVALIDATE)
                    await asyncio.sleep(0.1)
            shared = here.services.cache.shared
            assert shared is not None
            assert await shared.invalidate(content_key("b"), 10**18)

    scenario()


def test_a_full_redis(tmp_path: Path, server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with staged(tmp_path, server) as stage:
            here, there = stage.here, stage.there
            await here.store_content("a", b"old")
            await mended(there, "a")
            server.cli("CONFIG", "SET", "maxmemory", "1")
            before = redis_hits(here)
            assert await forgetful(here, "a") == b"old"
            assert redis_hits(here) == before + 1, "what is there is served"
            await here.store_content("a", b"new")
            assert await forgetful(here, "a") == b"new"
            assert await forgetful(there, "a") == b"new", "the eviction arrived"
            assert here.services.adapters.shared.open_circuits == 0  # type: ignore[union-attr]
            server.cli("CONFIG", "SET", "maxmemory", "0")
            await mended(here, "a")

    scenario()


def test_a_flushed_redis(tmp_path: Path, server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with staged(tmp_path, server) as stage:
            for number in range(10):
                await stage.here.store_content("a", b"%d" % number)
                server.flush()
                assert await forgetful(stage.here, "a") == b"%d" % number
                assert await forgetful(stage.there, "a") == b"%d" % number

    scenario()


def test_two_hundred_readers_of_two_stores_are_one_storage_read(tmp_path: Path, server: RedisServer) -> None:
    @in_event_loop
    async def scenario() -> None:
        async with staged(tmp_path, server) as stage:
            stores = (stage.here, stage.there)
            for number in range(10):
                name = f"c{number}"
                await stage.here.store_content(name, b"x" * 1000, initial_tier="warm")
                before = [store.services.tracker.totals[ReadKind.STORAGE] for store in stores]
                found = await asyncio.gather(*(store.retrieve_content(name) for store in stores for _ in range(100)))
                assert set(found) == {b"x" * 1000}
                after = [store.services.tracker.totals[ReadKind.STORAGE] for store in stores]
                assert sum(after) - sum(before) == 1

    scenario()


def test_redis_is_down_at_the_start(tmp_path: Path, server: RedisServer) -> None:
    server.stop()

    @in_event_loop
    async def scenario() -> None:
        settings = settings_for(tmp_path / "data", server.url)
        async with StorageOrchestrator.open(settings) as store:
            await store.store_content("a", b"x")
            assert await forgetful(store, "a") == b"x"
            server.start()
            await mended(store, "a")

    scenario()


def test_a_cluster_loses_a_master_and_reads_go_on(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path / "cluster")
    cluster.start()

    @in_event_loop
    async def scenario() -> None:
        settings = settings_for(tmp_path / "data", cluster.url)
        async with StorageOrchestrator.open(settings) as here, StorageOrchestrator.open(settings) as there:
            names = [f"c{number}" for number in range(12)]
            for name in names:
                await here.store_content(name, b"0")
                await forgetful(there, name)
            for round_number, fault in enumerate(("pause", "kill"), 1):
                victim = cluster.masters()[0]
                (victim.pause if fault == "pause" else victim.kill)()
                for number in range(20):
                    value = b"%d.%d" % (round_number, number)
                    for name in names:
                        await here.store_content(name, value)
                        assert await forgetful(here, name) == value
                if fault == "pause":
                    victim.resume()
                for name in names:
                    await mended(here, name)
                async with asyncio.timeout(MENDED_WITHIN):
                    while [await forgetful(there, name) for name in names] != [value] * len(names):
                        await here.services.outbox.deliver(OutboxKind.INVALIDATE)
                        await asyncio.sleep(0.1)

    try:
        scenario()
    finally:
        cluster.stop()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("a single server behind a cluster URL", r"is not in cluster mode; write redis://"),
        ("a cluster's node behind the URL of one server", r"write redis\+cluster://"),
        ("a wrong password", r"refuses us .*\[cache\] password"),
        ("no password", r"refuses us .*\[cache\] password"),
        ("TLS to a server without", r"does not speak TLS"),
        ("no TLS to a server with a certificate", r"speaks TLS only"),
        ("a certificate that nobody trusts", r"is not trusted .*ca_file"),
        ("a file of authorities that is not there", r"ca_file: there is no file"),
    ],
)
def test_settings_that_do_not_fit_stop_the_start(tmp_path: Path, case: str, message: str) -> None:
    options = ("--cluster-enabled", "yes") if "node" in case else ()
    guarded = RedisServer(
        tmp_path / "redis",
        *options,
        password="hunter2" if "password" in case else "",
        tls="cert" in case or "file" in case,
    )
    guarded.start()
    url = guarded.url
    extra: dict[str, object] = {}
    match case:
        case "a single server behind a cluster URL":
            url = url.replace("redis://", "redis+cluster://")
        case "a wrong password":
            extra["password"] = "wr0ng"  # noqa: S105 - that is the case
        case "TLS to a server without":
            url = url.replace("redis://", "rediss://")
        case "no TLS to a server with a certificate":
            url = url.replace("rediss://", "redis://")
        case "a file of authorities that is not there":
            extra["ca_file"] = str(tmp_path / "none.crt")
        case _:
            pass

    @in_event_loop
    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match=message) as caught:
            async with StorageOrchestrator.open(settings_for(tmp_path / "data", url, **extra)):
                pass
        assert "hunter2" not in str(caught.value)
        assert "wr0ng" not in str(caught.value)
        assert "\n" not in str(caught.value)

    try:
        scenario()
    finally:
        guarded.stop()
