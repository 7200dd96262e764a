"""Values by cache type: put, get, fetch once for all, evict by pattern; over memory alone and over two levels."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine
from tests.services.two_levels import on_both, on_two_levels
from thermocline import InvalidInputError, Settings, StorageOrchestrator
from thermocline.domain.cache_types import value_key
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Bytes, Seconds
from thermocline.services.sharing import LEASE_SECONDS
from thermocline.services.tracking import ReadKind
from thermocline.testing.shared_cache import SharedMemoryCache
from thermocline.wiring.sections import CacheTypeSettings

TYPES = ("content", "metadata", "user_preferences", "recommendations")
LIMITS = {"content": 50 * 2**20, "metadata": 2**20, "user_preferences": 100 * 1024, "recommendations": 500 * 1024}
TTLS = {"content": 3600, "metadata": 86_400, "user_preferences": 3600, "recommendations": 1800}


@pytest.mark.parametrize("cache_type", TYPES)
def test_the_seeds_types_have_the_seeds_limits(cache_type: str) -> None:
    limits = Settings().cache.types[cache_type]
    assert limits == CacheTypeSettings(ttl=Seconds(TTLS[cache_type]), max_size=Bytes(LIMITS[cache_type]))


@pytest.mark.parametrize("cache_type", TYPES)
def test_what_was_put_is_got_until_its_life_ends(tmp_path: Path, cache_type: str) -> None:
    @on_both
    async def test(machine: Machine) -> None:
        async with machine.process() as store:
            assert await store.cache.get_cached_content("a", cache_type) is None
            assert await store.cache.cache_content("a", b"1", cache_type=cache_type)
            assert await store.cache.get_cached_content("a", cache_type) == b"1"
            assert await store.cache.cache_content("a", b"2", 10, cache_type)
            machine.clock.advance(9.9)
            assert await store.cache.get_cached_content("a", cache_type) == b"2"
            machine.clock.advance(0.2)
            assert await store.cache.get_cached_content("a", cache_type) is None
            assert await store.cache.put("b", b"3", cache_type=cache_type)
            machine.clock.advance(TTLS[cache_type] - 1)
            assert await store.cache.get("b", cache_type) == b"3"
            machine.clock.advance(1)
            assert await store.cache.get("b", cache_type) is None

    test(tmp_path)


@on_both
async def test_types_and_contents_do_not_mix(machine: Machine) -> None:
    async with machine.process() as store:
        await store.store_content("a", b"the content")
        await store.services.background.drain()
        for cache_type in TYPES[1:]:
            assert await store.cache.cache_content("a", cache_type.encode(), cache_type=cache_type)
        for cache_type in TYPES[1:]:
            assert await store.cache.get_cached_content("a", cache_type) == cache_type.encode()
        assert await store.retrieve_content("a") == b"the content"
        assert await store.cache.get_cached_content("a") == b"the content"


@on_both
async def test_bytes_of_a_content_are_only_its_own(machine: Machine) -> None:
    """Whoever caches other bytes under its id is refused, and nobody ever reads them as the content."""
    async with machine.process() as store:
        assert await store.cache.cache_content("a", b"made up"), "there is no such content: a value like any other"
        assert await store.cache.get_cached_content("a") == b"made up"
        await store.store_content("a", b"stored", initial_tier="warm")
        await store.services.background.drain()
        assert await store.retrieve_content("a") == b"stored"
        assert await store.cache.get_cached_content("a") == b"stored"
        await store.cache.invalidate_cache("a", "content")
        assert not await store.cache.cache_content("a", b"made up")
        assert await store.cache.get_cached_content("a") is None, "not what was made up before either"
        assert await store.cache.cache_content("a", b"stored")
        assert await store.cache.get_cached_content("a") == b"stored"
        reads = store.services.tracker.totals[ReadKind.STORAGE]
        assert await store.retrieve_content("a") == b"stored"
        assert store.services.tracker.totals[ReadKind.STORAGE] == reads, "it was cached by the put"


@on_both
async def test_a_callers_lifetime_goes_before_the_tiers(machine: Machine) -> None:
    async with machine.process() as store:
        await store.store_content("a", b"cold", initial_tier="cold")
        assert not await store.cache.cache_content("a", b"cold"), "COLD is not cached"
        assert await store.cache.cache_content("a", b"cold", ttl=5)
        assert await store.cache.get_cached_content("a") == b"cold"
        machine.clock.advance(5)
        assert await store.cache.get_cached_content("a") is None


@on_both
async def test_what_is_refused(machine: Machine) -> None:
    async with machine.process() as store:
        cache = store.cache
        assert not await cache.cache_content("a", b"x", ttl=0)
        assert not await cache.cache_content("a", bytes(100 * 1024 + 1), cache_type="user_preferences")
        assert not await cache.cache_content("a", bytes(100 * 1024 + 1), cache_type="user_preferences")
        found = await cache.get_cache_statistics()
        assert found["user_preferences"]["memory"]["rejected"] == 2
        for wrong in (-1, float("nan"), float("inf")):
            with pytest.raises(InvalidInputError, match="lifetime"):
                await cache.cache_content("a", b"x", ttl=wrong)
        with pytest.raises(InvalidInputError, match=r"no cache type 'thumbs'.*\[cache.types.thumbs\]"):
            await cache.cache_content("a", b"x", cache_type="thumbs")
        with pytest.raises(InvalidInputError, match="no cache type"):
            await cache.get_cached_content("a", "thumbs")
        with pytest.raises(InvalidInputError, match="must be bytes"):
            await cache.cache_content("a", "text")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await cache.cache_content("../a", b"x")
        with pytest.raises(InvalidInputError, match="retrieve_content"):
            await cache.fetch("a", _never, cache_type="content")


async def _never() -> bytes:
    raise AssertionError("computed")


def test_a_type_of_ones_own(tmp_path: Path) -> None:
    settings = Settings.model_validate({"cache": {"types": {"thumbs": {"ttl": "1m", "max_size": "1KiB"}}}})

    async def scenario() -> None:
        async with Machine(tmp_path, settings=settings).process() as store:
            assert await store.cache.put("a", b"x", cache_type="thumbs")
            assert await store.cache.get("a", "thumbs") == b"x"
            assert not await store.cache.put("a", bytes(1025), cache_type="thumbs")
            assert await store.cache.put("a", b"y", cache_type="metadata"), "the seed's types stay"

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["Thumbs", "a:b", "", "9a", "a*", "content.own"])
def test_a_type_whose_name_could_not_begin_a_key(name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        Settings.model_validate({"cache": {"types": {name: {"ttl": "1m", "max_size": "1KiB"}}}})


def counting(results: list[bytes]) -> tuple[Callable[[], Awaitable[bytes]], list[int]]:
    """Return what computes the next result each time, and how often it did."""
    calls: list[int] = []

    async def compute() -> bytes:
        calls.append(1)
        await asyncio.sleep(0)
        return results[min(len(calls), len(results)) - 1]

    return compute, calls


@on_both
async def test_a_hundred_who_ask_at_once_are_one_computation(machine: Machine) -> None:
    async with machine.process() as store:
        compute, calls = counting([b"1", b"2"])
        got = await asyncio.gather(*(store.cache.fetch("a", compute, cache_type="metadata") for _ in range(100)))
        assert set(got) == {b"1"}
        assert len(calls) == 1
        assert await store.cache.fetch("a", compute, cache_type="metadata") == b"1"
        await store.cache.invalidate("a", "metadata")
        assert await store.cache.fetch("a", compute, cache_type="metadata") == b"2"


@on_two_levels
async def test_two_processes_are_one_computation(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        release = asyncio.Event()
        calls = 0

        async def compute() -> bytes:
            nonlocal calls
            calls += 1
            await release.wait()
            return b"x"

        first = asyncio.ensure_future(here.cache.fetch("a", compute, cache_type="metadata"))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(there.cache.fetch("a", compute, cache_type="metadata"))
        await asyncio.sleep(0.01)
        release.set()
        while not second.done():
            await machine.clock.run_for(0.05)
        assert (await first, await second, calls) == (b"x", b"x", 1)
        assert await shared.get(value_key("metadata", "a")) is not None


@on_two_levels
async def test_who_waits_for_a_dead_process_computes_in_its_place(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        assert await shared.lease(value_key("metadata", "a"), "of a dead process", ttl=LEASE_SECONDS)
        compute, calls = counting([b"x"])
        task = asyncio.ensure_future(store.cache.fetch("a", compute, cache_type="metadata"))
        await machine.clock.run_for(LEASE_SECONDS * 0.9)
        assert not calls
        await machine.clock.run_for(LEASE_SECONDS * 0.2)
        assert await task == b"x"


@on_both
async def test_an_eviction_while_computing_refuses_the_result_to_the_cache(machine: Machine) -> None:
    async with machine.process() as store:
        began, release = asyncio.Event(), asyncio.Event()

        async def compute() -> bytes:
            began.set()
            await release.wait()
            return b"of older facts"

        task = asyncio.ensure_future(store.cache.fetch("a", compute, cache_type="metadata"))
        await began.wait()
        await store.cache.invalidate_cache("a", "metadata")
        newer, calls = counting([b"of newer facts"])
        later_task = asyncio.ensure_future(store.cache.fetch("a", newer, cache_type="metadata"))
        await asyncio.sleep(0.01)
        release.set()
        assert await task == b"of older facts", "who asked before may have it"
        assert await later_task == b"of newer facts"
        assert len(calls) == 1
        assert await store.cache.get("a", "metadata") == b"of newer facts"


@on_both
async def test_a_put_while_computing_stays(machine: Machine) -> None:
    async with machine.process() as store:
        began, release = asyncio.Event(), asyncio.Event()

        async def compute() -> bytes:
            began.set()
            await release.wait()
            return b"old"

        task = asyncio.ensure_future(store.cache.fetch("a", compute, cache_type="metadata"))
        await began.wait()
        assert await store.cache.put("a", b"new", cache_type="metadata")
        release.set()
        assert await task == b"old"
        assert await store.cache.get("a", "metadata") == b"new"


@on_both
async def test_where_computing_fails_what_has_ended_is_served_for_a_while(machine: Machine) -> None:
    async with machine.process() as store:

        async def failing() -> bytes:
            raise OSError("the recommender is down")

        with pytest.raises(OSError, match="recommender"):
            await store.cache.fetch("a", failing, cache_type="recommendations")
        assert await store.cache.put("a", b"x", 10, "recommendations")
        machine.clock.advance(11)
        assert await store.cache.fetch("a", failing, cache_type="recommendations") == b"x"
        assert await store.cache.get("a", "recommendations") is None, "only in need"
        assert (await store.cache.stats())["recommendations"]["memory"]["stale"] == 1
        machine.clock.advance(machine.settings.cache.stale_if_error)
        with pytest.raises(OSError, match="recommender"):
            await store.cache.fetch("a", failing, cache_type="recommendations")


@on_both
async def test_nothing_to_cache_is_not_cached(machine: Machine) -> None:
    async with machine.process() as store:

        async def nothing() -> None:
            return None

        compute, calls = counting([b"x"])
        assert await store.cache.fetch("a", nothing, cache_type="metadata") is None
        assert await store.cache.fetch("a", compute, cache_type="metadata") == b"x"
        assert len(calls) == 1


@on_both
async def test_what_is_too_large_is_returned_and_not_kept(machine: Machine) -> None:
    async with machine.process() as store:
        compute, calls = counting([bytes(100 * 1024 + 1)])
        for _ in range(2):
            assert await store.cache.fetch("a", compute, cache_type="user_preferences") is not None
        assert len(calls) == 2


@on_both
async def test_a_value_read_often_is_computed_again_before_it_ends(machine: Machine) -> None:
    """The longer it takes, the earlier; nobody waits for it."""
    async with machine.process() as store:

        async def slow() -> bytes:
            machine.clock.advance(20)
            return b"x"

        assert await store.cache.fetch("a", slow, ttl=100, cache_type="metadata") == b"x"
        compute, calls = counting([b"y"])
        for _ in range(100):
            machine.clock.advance(1)
            assert await store.cache.fetch("a", compute, ttl=100, cache_type="metadata") in {b"x", b"y"}
            await store.services.background.drain()
            if calls:
                break
        assert calls, "a hundred reads in its life, a fifth of which it takes to compute"
        assert await store.cache.get("a", "metadata") == b"y"


@on_two_levels
async def test_a_shared_cache_that_is_down_fails_nothing(machine: Machine, shared: SharedMemoryCache) -> None:
    async def failing(*_: Any, **__: Any) -> Any:
        raise UnavailableError("down")

    async with machine.process() as store:
        for name in ("get", "stale", "lease", "refresh", "fill", "release", "tombstone", "put", "version_of", "renew"):
            setattr(shared, name, failing)
        assert not await store.cache.put("a", b"x", cache_type="metadata")
        assert await store.cache.get("a", "metadata") is None
        compute, calls = counting([b"1", b"2"])
        assert await store.cache.fetch("a", compute, cache_type="metadata") == b"1"
        assert await store.cache.fetch("a", compute, cache_type="metadata") in {b"1", b"2"}
        assert calls


@on_both
async def test_patterns_evict_what_they_match(machine: Machine) -> None:
    async with machine.process() as store:
        for content_id in ("users/1/a", "users/1/b", "users/2/a", "users/[1]/a"):
            for cache_type in TYPES[1:]:
                assert await store.cache.put(content_id, b"x", cache_type=cache_type)

        async def left(cache_type: str) -> list[str]:
            ids = ("users/1/a", "users/1/b", "users/2/a", "users/[1]/a")
            return [each for each in ids if await store.cache.get(each, cache_type) is not None]

        assert await store.cache.invalidate_cache("users/1/*", "metadata") == 2
        assert await left("metadata") == ["users/2/a", "users/[1]/a"]
        assert await left("recommendations") == ["users/1/a", "users/1/b", "users/2/a", "users/[1]/a"]
        assert await store.cache.invalidate_cache("users/[12]/?") == 7
        assert await store.cache.invalidate_cache(r"users/\[1\]/a") == 3
        for wide in ("*", "**", "?*", "[a-z]*"):
            with pytest.raises(InvalidInputError, match="everything"):
                await store.cache.invalidate_cache(wide)
        assert await store.cache.put("z", b"x", cache_type="metadata")
        assert await store.cache.invalidate_cache("*", everything=True) == 1
        with pytest.raises(InvalidInputError, match="matches nothing"):
            await store.cache.invalidate_cache("")
        with pytest.raises(InvalidInputError, match="no cache type"):
            await store.cache.invalidate_cache("a*", "thumbs")


@on_both
async def test_an_evicted_content_is_read_and_cached_again(machine: Machine) -> None:
    async with machine.process() as store:
        await store.store_content("a/b", b"x")
        await store.services.background.drain()
        assert await store.cache.get("a/b") == b"x"
        assert await store.cache.invalidate_cache("a/*", "content") == 1
        assert await store.cache.get("a/b") is None
        assert await store.retrieve_content("a/b") == b"x"
        assert await store.cache.get("a/b") == b"x"


@on_both
async def test_other_processes_evict_when_they_hear(machine: Machine) -> None:
    async with machine.process() as here, machine.process() as there:
        await here.store_content("a/b", b"x")
        await here.services.background.drain()
        assert await there.retrieve_content("a/b") == b"x"
        await there.services.listener.poll()
        assert there.services.cache.peek("a/b") is not None
        await here.cache.invalidate_cache("a/*")
        await there.services.listener.poll()
        assert there.services.cache.peek("a/b") is None


@on_two_levels
async def test_an_eviction_that_a_server_refuses_says_how_far_it_came(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as store:
        for number in range(3):
            assert await store.cache.put(f"a{number}", b"x", cache_type="metadata")

        async def failing(*_: Any, **__: Any) -> int:
            raise UnavailableError("down")

        evict = shared.evict
        shared.evict = failing  # type: ignore[method-assign]
        with pytest.raises(UnavailableError, match="0 values are gone, the same call evicts the rest"):
            await store.cache.invalidate_cache("a*", "metadata")
        shared.evict = evict  # type: ignore[method-assign]
        assert await store.cache.invalidate_cache("a*", "metadata") == 3


@on_both
async def test_a_dry_run_counts_and_evicts_nothing(machine: Machine) -> None:
    async with machine.process() as store:
        assert await store.cache.put("a", b"x", cache_type="metadata")
        assert await store.services.evicting.run("a", dry_run=True) == 1
        assert await store.cache.get("a", "metadata") == b"x"


@on_two_levels
async def test_an_own_announcement_evicts_nothing_that_was_filled_since(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as here, machine.process() as there:
        for store in (here, there):
            await store.services.listener.poll()
            await store.cache.put("a", b"old", cache_type="metadata")
        await here.cache.invalidate_cache("a", "metadata")
        for store in (here, there):
            await store.cache.put("a", b"new", cache_type="metadata")
            await store.services.listener.poll()
        held = [await store.services.adapters.memory.stale("metadata:a") is not None for store in (here, there)]
        assert held == [True, False], "others cannot know what they filled after it"
        await here.services.listener.poll()
        await there.cache.invalidate_cache("a", "metadata")
        await here.services.listener.poll()
        assert await here.services.adapters.memory.stale("metadata:a") is None, "the announcement of another one counts"


@on_two_levels
async def test_statistics_are_of_all_processes(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        for store in (here, there):
            assert await store.cache.get("a", "metadata") is None
        assert await here.cache.put("a", b"xyz", cache_type="metadata")
        assert await here.cache.get("a", "metadata") == b"xyz"
        assert await there.cache.get("a", "metadata") == b"xyz"
        await flushed(here, there)
        for store in (here, there):
            found = (await store.cache.get_cache_statistics())["metadata"]
            assert (found["hits"], found["misses"]) == (2, 2)
            assert found["hit_ratio"] == 0.5
            assert (found["redis"]["hits"], found["memory"]["hits"]) == (1, 1)
            assert (found["redis"]["sets"], found["redis"]["total_size"], found["redis"]["avg_size"]) == (1, 3, 3.0)
        await flushed(here, there)
        assert (await here.cache.stats())["metadata"]["hits"] == 2, "flushing twice counts once"


@on_two_levels
async def test_bytes_that_storage_did_not_have_to_read_are_counted(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await here.store_content("c", b"12345", initial_tier="warm")
        for _ in range(3):  # storage, memory, memory
            await here.retrieve_content("c")
        for _ in range(2):  # the shared cache, memory
            await there.retrieve_content("c")
        await here.cache.put("v", b"1234567", cache_type="metadata")
        await here.cache.get("v", "metadata")
        await there.cache.get("v", "metadata")
        await flushed(here, there)
        found = await here.cache.stats()
        assert [found["content"][level]["saved_bytes"] for level in ("memory", "redis")] == [15, 5]
        assert found["content"]["saved_bytes"] == 20
        assert [found["metadata"][level]["saved_bytes"] for level in ("memory", "redis")] == [7, 7]


async def flushed(*stores: StorageOrchestrator) -> None:
    for store in stores:
        assert await store.services.statistics.flush()


@on_both
async def test_lifetimes_are_numbers_of_seconds(machine: Machine) -> None:
    async with machine.process() as store:
        assert await store.cache.put("a", memoryview(b"x"), 1.5, "metadata")
        machine.clock.advance(Seconds(1.4))
        assert await store.cache.get("a", "metadata") == b"x"
