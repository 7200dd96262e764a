"""A shared cache that failed over shows what it had before: who made or heard of the change does not believe it."""

import asyncio

import pytest

from tests.machine import Machine
from tests.services.two_levels import on_two_levels
from thermocline.domain.cache_types import content_key
from thermocline.domain.content_id import ContentId
from thermocline.domain.units import Seconds
from thermocline.ports.cache import CacheEntry
from thermocline.services import sharing
from thermocline.testing.contracts.cache import TTL
from thermocline.testing.shared_cache import SharedMemoryCache

KEY = content_key(ContentId("a"))


async def fail_over(shared: SharedMemoryCache, old: CacheEntry) -> None:
    """Let the shared cache be as it was when it held `old`."""
    await shared.clear()
    await shared.put(KEY, old, ttl=TTL)


async def stored_and_found(machine: Machine, shared: SharedMemoryCache) -> CacheEntry:
    async with machine.process() as store:
        await store.store_content("a", b"old")
        await store.services.background.drain()
    old = await shared.get(KEY)
    assert old is not None
    assert old.payload == b"old"
    return old


@on_two_levels
async def test_the_writer_and_who_heard_of_it_are_not_taken_in(machine: Machine, shared: SharedMemoryCache) -> None:
    old = await stored_and_found(machine, shared)
    async with machine.process() as here, machine.process() as there, machine.process() as deaf:
        await here.store_content("a", b"new", initial_tier="warm")
        await here.services.background.drain()
        await there.services.listener.poll()
        for store in (here, there):
            await store.services.cache.clear()
            await fail_over(shared, old)
            assert await store.retrieve_content("a") == b"new"
            assert store.services.cache.shared is not None
            assert store.services.cache.shared.disbelieved == 1
            found = await shared.get(KEY)
            assert found is not None
            assert found.payload == b"new", "whoever looks next finds it mended"
        await fail_over(shared, old)
        assert await deaf.retrieve_content("a") == b"old", "until the second pass"


@on_two_levels
async def test_what_was_deleted_stays_so(machine: Machine, shared: SharedMemoryCache) -> None:
    from thermocline import ContentNotFoundError

    old = await stored_and_found(machine, shared)
    async with machine.process() as here:
        await here.delete_content("a")
        await fail_over(shared, old)
        with pytest.raises(ContentNotFoundError):
            await here.retrieve_content("a")
        assert await shared.get(KEY) is None


@on_two_levels
async def test_what_is_remembered_of_versions_is_bounded(machine: Machine, shared: SharedMemoryCache) -> None:
    old = await stored_and_found(machine, shared)
    async with machine.process() as here:
        level = here.services.cache.shared
        assert level is not None
        level.note_version(KEY, old.version + 1)
        level.note_version(KEY, old.version - 1)
        assert await level.find(KEY) is None, "the newest counts"
        await fail_over(shared, old)
        for number in range(sharing.MOST_TOLD):
            level.note_version(f"content:{number}", 1)
        assert await level.find(KEY) is not None, "the longest ago is forgotten first"


@on_two_levels
async def test_a_put_slower_than_its_lease_leaves_nothing_older(machine: Machine, shared: SharedMemoryCache) -> None:
    """Meanwhile a reader took what was there before into memory."""
    async with machine.process() as here:
        assert await here.cache.put("a", b"old", cache_type="metadata")
        real, reached, go_on = shared.put, asyncio.Event(), asyncio.Event()

        async def slow(key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
            reached.set()
            await go_on.wait()
            return await real(key, entry, ttl=ttl)

        shared.put = slow  # type: ignore[method-assign]
        putting = asyncio.ensure_future(here.cache.put("a", b"new", cache_type="metadata"))
        await reached.wait()
        machine.clock.advance(Seconds(61.0))
        assert await here.cache.get("a", "metadata") == b"old"
        go_on.set()
        assert await putting
        assert await here.cache.get("a", "metadata") == b"new"
