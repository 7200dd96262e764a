"""Memory over a cache that processes share: who reads storage, who waits, what is believed, and for how long."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.machine import Machine
from tests.services.two_levels import on_two_levels
from thermocline import ContentNotFoundError, StorageOrchestrator
from thermocline.domain.cache_types import content_key
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind, OutboxRow
from thermocline.services import sharing
from thermocline.services.sharing import LEASE_SECONDS, LONGEST_WAIT
from thermocline.services.tracking import ReadKind
from thermocline.testing.contracts.cache import TTL
from thermocline.testing.faults import Faults
from thermocline.testing.shared_cache import SharedMemoryCache

A = ContentId("a")
MEMORY, STORAGE, REDIS = ReadKind.MEMORY, ReadKind.STORAGE, ReadKind.REDIS


def totals(store: StorageOrchestrator) -> dict[ReadKind, int]:
    return {kind: store.services.tracker.totals[kind] for kind in (MEMORY, STORAGE, REDIS)}


async def put(store: StorageOrchestrator, content_id: str, content: bytes, **more: Any) -> None:
    """Store, and let the prefill come to its end: its lease is waited for by readers, and time stands still."""
    await store.store_content(content_id, content, **more)
    await store.services.background.drain()


async def waiting(store: StorageOrchestrator) -> None:
    """Return once a read waits for another process's fill."""
    contents = store.services.cache.shared
    assert contents is not None
    while contents.waits == 0:  # noqa: ASYNC110 - the catalog's thread takes real time
        await asyncio.sleep(0.001)


async def read(machine: Machine, store: StorageOrchestrator, content_id: str) -> bytes:
    """Read while time goes on."""
    return await while_time_goes_on(machine, asyncio.ensure_future(store.retrieve_content(content_id)))


async def while_time_goes_on(machine: Machine, reader: "asyncio.Future[bytes]") -> bytes:
    """Return what the reader brings, the clock's time passing along with the catalog's thread."""
    while not reader.done():
        await machine.clock.run_for(0.01)
        await asyncio.sleep(0.001)
    return await reader


@on_two_levels
async def test_one_reads_storage_the_other_the_shared_cache_then_memory(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", initial_tier="warm")
        for store in (here, there):
            for _ in range(2):
                assert await store.retrieve_content("a") == b"x"
        assert totals(here) == {MEMORY: 1, STORAGE: 1, REDIS: 0}
        assert totals(there) == {MEMORY: 1, STORAGE: 0, REDIS: 1}
        entry = await shared.get(content_key("a"))
        assert entry is not None
        assert (entry.payload, entry.tier) == (b"x", "warm")


@on_two_levels
async def test_what_is_written_hot_is_there_for_the_others(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", initial_tier="hot")
        await here.services.background.drain()
        assert await there.retrieve_content("a") == b"x"
        assert totals(there)[REDIS] == 1
        await here.set_tier("a", "cold")
        assert await shared.version_of(content_key("a")) is None, "leaving HOT evicts"


@on_two_levels
async def test_what_is_never_cached_takes_no_lease(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="cold")
        await shared.clear()
        leases: list[str] = []
        lease = shared.lease

        async def counted(key: str, token: str, *, ttl: Seconds) -> bool:
            leases.append(key)
            return await lease(key, token, ttl=ttl)

        shared.lease = counted  # type: ignore[method-assign]
        for _ in range(3):
            assert await store.retrieve_content("a") == b"x"
        assert leases == []
        assert totals(store) == {MEMORY: 0, STORAGE: 3, REDIS: 0}


@on_two_levels
async def test_memory_asks_again_after_its_age_for_the_version_only(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await store.retrieve_content("a")
        gets = shared.counts()["content"].hits
        machine.clock.advance(machine.settings.cache.l1_max_age)
        assert store.services.reading.hit("a") is None
        assert await store.retrieve_content("a") == b"x"
        assert store.services.reading.hit("a") is not None
        assert totals(store) == {MEMORY: 2, STORAGE: 1, REDIS: 0}
        assert shared.counts()["content"].hits == gets, "no payload was asked for"


@on_two_levels
async def test_a_process_that_hears_nothing_is_stale_for_a_bounded_time(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as here, machine.process() as deaf:
        await put(here, "a", b"old")
        assert await deaf.retrieve_content("a") == b"old"
        await put(here, "a", b"new")
        assert await deaf.retrieve_content("a") == b"old", "for a bounded time it is served"
        machine.clock.advance(machine.settings.cache.l1_max_age)
        assert await deaf.retrieve_content("a") == b"new"
        await here.delete_content("a")
        machine.clock.advance(machine.settings.cache.l1_max_age)
        with pytest.raises(ContentNotFoundError):
            await deaf.retrieve_content("a")


@on_two_levels
async def test_a_private_content_is_not_served_as_public(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", visibility="public")
        assert (await there.services.reading.retrieve(A)).visibility == "public"
        await here.update_metadata("a", visibility="private")
        await there.services.listener.poll()
        assert (await there.services.reading.retrieve(A)).visibility == "private"


@on_two_levels
async def test_what_ended_is_not_served_from_either_level(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", expires_in=100)
        for store in (here, there):
            assert await store.retrieve_content("a") == b"x"
        machine.clock.advance(100)
        for store in (here, there):
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")


@on_two_levels
async def test_fifty_readers_of_two_processes_are_one_storage_read(machine: Machine, shared: SharedMemoryCache) -> None:
    faults = Faults()
    async with machine.process(faults) as here, machine.process() as there:
        await put(here, "a", b"x", initial_tier="warm")
        faults.start()
        gate = faults.gate("objects.fetch#1")
        first = [asyncio.ensure_future(here.retrieve_content("a")) for _ in range(25)]
        await gate.reached()
        others = [asyncio.ensure_future(there.retrieve_content("a")) for _ in range(25)]
        await waiting(there)
        await machine.clock.run_for(LEASE_SECONDS * 3)  # the holder renews
        assert not any(other.done() for other in others)
        gate.open()
        assert await asyncio.gather(*first) == [b"x"] * 25
        while not all(other.done() for other in others):
            await machine.clock.run_for(0.1)
            await asyncio.sleep(0.001)
        assert await asyncio.gather(*others) == [b"x"] * 25
        assert totals(there) == {MEMORY: 24, STORAGE: 0, REDIS: 1}


@on_two_levels
async def test_a_waiter_takes_over_when_the_holder_dies(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await shared.clear()
        assert await shared.lease(content_key("a"), "of a dead process", ttl=LEASE_SECONDS)
        reader = asyncio.ensure_future(store.retrieve_content("a"))
        await waiting(store)
        await machine.clock.run_for(LEASE_SECONDS * 0.9)
        assert not reader.done()
        await machine.clock.run_for(LEASE_SECONDS * 0.2)
        assert await while_time_goes_on(machine, reader) == b"x"
        assert await shared.version_of(content_key("a")) is not None, "it filled in the dead one's place"


@on_two_levels
async def test_who_waited_long_enough_reads_without_filling(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await shared.clear()
        assert await shared.lease(content_key("a"), "of a stuck process", ttl=Seconds(1000.0))
        reader = asyncio.ensure_future(store.retrieve_content("a"))
        await waiting(store)
        await machine.clock.run_for(LONGEST_WAIT * 0.9)
        assert not reader.done()
        await machine.clock.run_for(LONGEST_WAIT * 0.2)
        assert await while_time_goes_on(machine, reader) == b"x"
        assert await shared.version_of(content_key("a")) is None
        contents = store.services.cache.shared
        assert contents is not None
        assert (contents.waits, contents.gave_up) == (1, 1)


@on_two_levels
async def test_a_read_that_failed_gives_its_lease_back(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        await put(store, "a", b"x", initial_tier="warm")
        await shared.clear()
        machine.objects._contents.objects.clear()
        with pytest.raises(Exception, match="damaged"):
            await store.retrieve_content("a")
        assert await shared.lease(content_key("a"), "other", ttl=TTL)


@on_two_levels
async def test_an_eviction_that_failed_is_known_here_and_made_up_for(
    machine: Machine, shared: SharedMemoryCache
) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"old")
        assert await there.retrieve_content("a") == b"old"
        tombstone = shared.tombstone

        async def failing(*_: object, **__: object) -> None:
            raise UnavailableError("down")

        shared.tombstone = failing  # type: ignore[method-assign]
        await put(here, "a", b"new")
        await here.services.cache.clear()
        assert await here.retrieve_content("a") == b"new", "what is shared is old, and known to be"
        machine.clock.advance(2)
        await here.services.outbox.deliver(OutboxKind.INVALIDATE)
        assert here.services.outbox.failed == 1
        shared.tombstone = tombstone  # type: ignore[method-assign]
        machine.clock.advance(2)
        await here.services.outbox.deliver(OutboxKind.INVALIDATE)
        await there.services.listener.poll()
        assert await there.retrieve_content("a") == b"new"


@on_two_levels
async def test_evictions_are_tried_until_they_succeed(machine: Machine, shared: SharedMemoryCache) -> None:
    """However long Redis is away: what it still holds when it is back may be old."""
    async with machine.process() as store:
        await put(store, "a", b"old")
        await store.retrieve_content("a")
        tombstone = shared.tombstone

        async def failing(*_: object, **__: object) -> None:
            raise UnavailableError("down")

        shared.tombstone = failing  # type: ignore[method-assign]
        await put(store, "a", b"new")
        for _ in range(60):
            machine.clock.advance(machine.settings.cache.second_pass)
            assert await store.services.outbox.deliver(OutboxKind.INVALIDATE) == 1
        shared.tombstone = tombstone  # type: ignore[method-assign]
        machine.clock.advance(machine.settings.cache.second_pass)
        assert await store.services.outbox.deliver(OutboxKind.INVALIDATE) == 1
        assert await shared.version_of(content_key("a")) is None


@on_two_levels
async def test_more_failed_evictions_than_are_remembered(machine: Machine, shared: SharedMemoryCache) -> None:
    """Then nothing is believed that was cached before, nor what a fill may have brought that began before."""
    monkey = pytest.MonkeyPatch()
    monkey.setattr(sharing, "MOST_UNCONFIRMED", 3)
    try:
        async with machine.process() as here, machine.process() as there:
            for number in range(6):
                await put(here, f"c{number}", b"old")
                await there.retrieve_content(f"c{number}")
            tombstone = shared.tombstone

            async def failing(*_: object, **__: object) -> None:
                raise UnavailableError("down")

            shared.tombstone = failing  # type: ignore[method-assign]
            for number in range(6):
                await put(here, f"c{number}", b"new")
            shared.tombstone = tombstone  # type: ignore[method-assign]
            await here.services.background.drain()
            await here.services.cache.clear()
            for number in range(6):
                assert await here.retrieve_content(f"c{number}") == b"new"
            machine.clock.advance(200)
            await put(here, "c0", b"newer", initial_tier="warm")
            await there.services.listener.poll()
            assert await there.retrieve_content("c0") == b"newer"
            assert await here.retrieve_content("c0") == b"newer"
            assert totals(here)[REDIS] == 1, "what was cached later is believed again"
    finally:
        monkey.undo()


@on_two_levels
async def test_a_shared_cache_that_fails_in_any_call_fails_nobody(machine: Machine, shared: SharedMemoryCache) -> None:
    async def failing(*_: object, **__: object) -> bool:
        raise UnavailableError("down")

    for method in ("get", "version_of", "lease", "renew", "fill", "release", "tombstone"):
        async with machine.process() as store:
            working = getattr(shared, method)
            await put(store, "a", b"one", initial_tier="warm")
            assert await read(machine, store, "a") == b"one"
            setattr(shared, method, failing)
            machine.clock.advance(machine.settings.cache.l1_max_age)
            assert await read(machine, store, "a") == b"one", method
            await put(store, "a", b"two", initial_tier="hot")
            assert await read(machine, store, "a") == b"two", method
            await store.update_metadata("a", visibility="public")
            await store.delete_content("a")
            with pytest.raises(ContentNotFoundError):
                await read(machine, store, "a")
            setattr(shared, method, working)


@on_two_levels
async def test_no_entry_outlives_its_content(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as here, machine.process() as there:
        await put(here, "a", b"x", initial_tier="warm", expires_in=50)
        await here.retrieve_content("a")
        await there.retrieve_content("a")
        entry = await shared.get(content_key("a"))
        assert entry is not None
        assert entry.expires_at == later(machine.clock.now(), Seconds(50.0))
        machine.clock.advance(49)
        assert await there.retrieve_content("a") == b"x"
        machine.clock.advance(1)
        assert await shared.get(content_key("a")) is None


@on_two_levels
async def test_what_a_cache_that_is_down_is_owed_goes_back_at_once(machine: Machine, shared: SharedMemoryCache) -> None:
    async with machine.process() as store:
        for number in range(7):
            await put(store, f"c{number}", b"old")
            await put(store, f"c{number}", b"new")
        given_back: list[int] = []

        async def failing(*_: object, **__: object) -> None:
            raise UnavailableError("down")

        class Watched:
            inner = store.services.outbox._outbox

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inner, name)

            async def fail(self, rows: Sequence[OutboxRow], **told: Any) -> None:
                given_back.append(len(rows))
                await self.inner.fail(rows, **told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared, "tombstone", failing)
            patch.setattr(store.services.outbox, "_outbox", Watched())
            machine.clock.advance(2)
            assert await store.services.outbox.deliver(OutboxKind.INVALIDATE) == 7
            assert (given_back, store.services.outbox.failed) == ([7], 7)
        for passed, due in ((2, 7), (1000, 7), (1000, 0)):  # tried again; the second pass; done
            machine.clock.advance(passed)
            assert await store.services.outbox.deliver(OutboxKind.INVALIDATE) == due
