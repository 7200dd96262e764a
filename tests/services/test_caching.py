"""What is cached, for how long, by whom; and that a cache that fails is nobody's failure."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PART_SIZE, Machine, read_whole
from thermocline import Settings, StorageOrchestrator, StorageTier
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.ports.cache import CacheEntry
from thermocline.services import prefilling
from thermocline.services.cache_levels import LEASE_SECONDS
from thermocline.services.prefilling import MAX_PAYLOAD
from thermocline.services.reading import ReadingService
from thermocline.testing.faults import FaultMode, Faults

A = ContentId("a")


def with_cache(**cache: Any) -> Settings:
    return Settings.model_validate({"cache": cache})


def cached(store: StorageOrchestrator) -> bytes | None:
    entry = store.services.reading.hit("a")
    return None if entry is None else entry.payload


@pytest.mark.parametrize(
    ("tier", "prefilled", "seconds"),
    [
        (StorageTier.HOT, True, 86_400.0),
        (StorageTier.WARM, False, 3600.0),
        (StorageTier.COLD, False, 0.0),
        (StorageTier.ARCHIVE, False, 0.0),
    ],
)
def test_each_tier_is_cached_as_it_says(tmp_path: Path, tier: StorageTier, seconds: float, *, prefilled: bool) -> None:
    """HOT is filled by the write, WARM by the first read, COLD and ARCHIVE never."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            assert store.services.placements.rules(tier).cache_ttl == seconds
            await store.store_content("a", b"x", initial_tier=tier)
            await store.services.background.drain()
            assert cached(store) == (b"x" if prefilled else None)
            assert await read_whole(store, machine.clock) == b"x"
            assert cached(store) == (b"x" if seconds else None)
            if seconds:
                machine.clock.advance(Seconds(seconds - 1))
                assert cached(store) == b"x"
                machine.clock.advance(Seconds(1))
            assert cached(store) is None
            assert await read_whole(store, machine.clock) == b"x"

    asyncio.run(scenario())


def test_becoming_cold_evicts_and_stays_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x")
            await store.services.background.drain()
            await store.store_content("a", b"y", initial_tier="cold")
            await store.services.background.drain()
            assert await store.retrieve_content("a") == b"y"
            assert cached(store) is None
            token = await store.services.cache.begin_fill(A)
            assert token is not None, "no read left a lease behind"

    asyncio.run(scenario())


def test_what_is_larger_than_the_limit_is_not_cached(tmp_path: Path) -> None:
    async def scenario() -> None:
        limit = with_cache(types={"content": {"ttl": "1h", "max_size": 100}})
        machine = Machine(tmp_path, settings=limit)
        async with machine.process() as store:
            for size, kept in ((101, False), (100, True)):
                await store.store_content("a", b"x" * size)
                await store.services.background.drain()
                await store.retrieve_content("a")
                assert (cached(store) is not None) == kept

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [MAX_PAYLOAD, MAX_PAYLOAD + 1])
def test_only_small_bodies_are_kept_past_their_write(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        machine.objects = MemoryObjectStore(machine.clock)
        async with machine.process() as store:
            spawned: list[object] = []
            spawn = store.services.background.spawn
            store.services.background.spawn = lambda work: (spawned.append(work), spawn(work))[1]  # type: ignore[method-assign, func-returns-value]
            await store.store_content("a", b"x" * size)
            assert len(spawned) == (1 if size <= MAX_PAYLOAD else 0)
            await store.store_content("b", b"x", initial_tier="cold")
            assert len(spawned) == (1 if size <= MAX_PAYLOAD else 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["delete", "overwrite", "metadata"])
def test_a_prefill_re_reads_the_record(tmp_path: Path, change: str) -> None:
    """Another process made the change before the lease was taken: nothing but the record tells."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store, machine.process() as other:
            held_back: list[Any] = []
            store.services.background.spawn = held_back.append  # type: ignore[method-assign, assignment]
            await store.store_content("a", b"old")
            if change == "delete":
                await other.delete_content("a")
            elif change == "overwrite":
                await other.store_content("a", b"new")
            else:
                await other.update_metadata("a", visibility="public")
            (prefill,) = held_back
            await prefill
            entry = store.services.reading.hit("a")
            if change == "metadata":
                assert entry is not None
                assert entry.visibility == "public"
            else:
                assert entry is None
                assert await store.services.cache.begin_fill(A) is not None, "it gave its lease back"

    asyncio.run(scenario())


def test_a_prefill_that_fails_gives_its_lease_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.records.find#1": FaultMode.LOST})
        async with machine.process(faults) as store:
            faults.start()
            await store.store_content("a", b"x")
            await store.services.background.drain()
            assert faults.fired
            assert cached(store) is None
            assert await store.retrieve_content("a") == b"x"
            assert cached(store) == b"x"

    asyncio.run(scenario())


def test_a_streamed_body_of_several_parts_is_filled_by_its_first_reader(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x" * (PART_SIZE + 1))
            await store.services.background.drain()
            assert cached(store) is None
            await store.retrieve_content("a")
            assert cached(store) == b"x" * (PART_SIZE + 1)

    asyncio.run(scenario())


def test_leases_are_never_shared(tmp_path: Path) -> None:
    """Two fills of one content: the second finds the first one's lease and does not fill; the token is no constant."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x", initial_tier="warm")
            cache = store.services.cache
            token = await cache.begin_fill(A)
            assert token is not None
            assert await cache.begin_fill(A) is None
            assert await store.retrieve_content("a") == b"x"
            assert cached(store) is None, "it held no lease"
            await cache.give_up_fill(A, token)
            again = await cache.begin_fill(A)
            assert again not in {None, token}
            record = await store.stat("a")
            await cache.fill(token, record, b"x")
            assert cached(store) is None, "its lease is gone"
            machine.clock.advance(LEASE_SECONDS)
            await store.retrieve_content("a")
            assert cached(store) == b"x", "a lease ends by itself"

    asyncio.run(scenario())


class Down:
    """A cache that does not answer, except at once."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def peek(self, key: str) -> Any:
        return self._memory.peek(key)

    async def lease(self, *_: Any, **__: Any) -> bool:
        raise UnavailableError("the cache is down")

    async def fill(self, *_: Any, **__: Any) -> bool:
        raise UnavailableError("the cache is down")

    async def stale(self, *_: Any, **__: Any) -> CacheEntry | None:
        raise UnavailableError("the cache is down")

    async def release(self, *_: Any, **__: Any) -> None:
        raise UnavailableError("the cache is down")

    async def tombstone(self, *_: Any, **__: Any) -> None:
        raise UnavailableError("the cache is down")


def test_a_cache_that_fails_fails_no_read_and_no_write(tmp_path: Path) -> None:
    """It is counted; and what could not be evicted stays promised until it can."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            cache = store.services.cache
            memory = cache.levels.memory
            await store.store_content("a", b"old")
            assert await store.retrieve_content("a") == b"old"
            cache.levels.memory = Down(memory)  # type: ignore[assignment]
            failures = cache.failures
            await store.store_content("a", b"new")
            await store.services.background.drain()
            await store.update_metadata("a", {"k": "v"})
            assert cache.failures > failures
            assert await store.retrieve_content("a") == b"old", "it could not be evicted"
            machine.clock.advance(Seconds(2))
            await store.services.outbox.deliver(OutboxKind.INVALIDATE)
            assert store.services.outbox.failed > 0
            cache.levels.memory = memory
            machine.clock.advance(Seconds(2))
            await store.services.outbox.deliver(OutboxKind.INVALIDATE)
            assert await store.retrieve_content("a") == b"new"
            await cache.clear()
            cache.levels.memory = Down(memory)  # type: ignore[assignment]
            assert await store.retrieve_content("a") == b"new"
            await store.delete_content("a")
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["fill", "release"])
def test_a_cache_that_fails_in_the_middle_of_a_read(tmp_path: Path, method: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x", initial_tier="warm" if method == "fill" else "cold")
            memory: Any = store.services.cache.levels.memory
            setattr(memory, method, getattr(Down(memory), method))
            reading: ReadingService = store.services.reading
            assert (await reading.retrieve(A)).payload == b"x"
            assert store.services.cache.failures == 1
            if method == "release":
                await store.delete_content("a")
                with pytest.raises(ContentNotFoundError):
                    await reading.retrieve(A)

    asyncio.run(scenario())


def test_the_second_pass_runs_after_every_fill_under_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"old")
            await store.store_content("a", b"new")
            catalog = store.services.adapters.catalog

            async def due() -> list[bool]:
                rows = await catalog.outbox.claim(
                    OutboxKind.INVALIDATE, now=machine.clock.now(), lease=Seconds(1), limit=9
                )
                machine.clock.advance(Seconds(1))
                return [row.second_pass for row in rows]

            assert await due() == [], "workers don't race the writer's own eviction"
            machine.clock.advance(Seconds(1))
            assert await due() == [False]
            await store.services.outbox.deliver(OutboxKind.INVALIDATE)
            second_pass = store.services.settings.cache.second_pass
            machine.clock.advance(Seconds(second_pass - 2))
            assert await due() == []
            machine.clock.advance(Seconds(2))
            assert await due() == [True]
            # What a failover brought back is evicted now.
            await store.retrieve_content("a")
            await store.services.outbox.deliver(OutboxKind.INVALIDATE)
            assert cached(store) is None
            machine.clock.advance(Seconds(9 * second_pass))
            assert await due() == []

    asyncio.run(scenario())


def test_one_prefill_after_the_other(tmp_path: Path) -> None:
    """Also after one that failed for a reason that nobody foresaw."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            records = store.services.adapters.catalog.records
            find = records.find

            async def broken(_content_id: str) -> None:
                raise RuntimeError("a bug")

            for number in range(4):
                records.find = broken if number == 2 else find  # type: ignore[method-assign, assignment]
                await store.store_content("a", b"%d" % number)
                await store.services.background.drain()
                assert cached(store) == (None if number == 2 else b"%d" % number)
            assert store.services.background.failed == 1

    asyncio.run(scenario())


def test_bytes_that_wait_for_their_prefill_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(prefilling, "MAX_WAITING", 100)
        machine = Machine(tmp_path)
        async with machine.process() as store:
            prefiller = store.services.writing._prefiller
            held_back: list[Any] = []
            spawn = store.services.background.spawn

            def hold_back(work: Any) -> bool:
                held_back.append(work)
                return True

            store.services.background.spawn = hold_back  # type: ignore[method-assign]
            for number in range(5):
                await store.store_content(f"c{number}", b"x" * 40)
            assert prefiller.shed == 3
            (work,) = held_back
            store.services.background.spawn = spawn  # type: ignore[method-assign]
            await work
            found = [store.services.reading.hit(f"c{number}") is not None for number in range(5)]
            assert found == [True, True, False, False, False]
            await store.store_content("c4", b"x" * 60)
            await store.services.background.drain()
            assert store.services.reading.hit("c4") is not None, "there is room again"

    asyncio.run(scenario())
