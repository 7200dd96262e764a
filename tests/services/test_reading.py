"""Reading: verified to the last byte, joined where it can be, undisturbed by changes, and never past an end."""

import asyncio
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.services.reads import damage, large_parts, settings, streamed, uncached
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import (
    BusyError,
    ContentNotFoundError,
    ContentTooLargeError,
    IntegrityError,
    InvalidRangeError,
)
from thermocline.domain.units import Seconds
from thermocline.services.open_contents import resolve_range
from thermocline.testing.faults import Faults

A = ContentId("a")


# --- verification --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flipped", "short", "empty"])
def test_damaged_bytes_are_never_given_out(tmp_path: Path, kind: str) -> None:
    """Also from a cache, where nothing of them may arrive; each refusal is counted."""

    async def scenario() -> None:
        machine = large_parts(tmp_path)
        async with machine.process() as store:
            receipt = await store.store_content("a", b"x" * 1000)
            await uncached(store)
            bad = {"flipped": b"x" * 999 + b"y", "short": b"x" * 999, "empty": b""}[kind]
            damage(machine, receipt.object_key, bad)
            for count in (1, 2):
                with pytest.raises(IntegrityError):
                    await store.retrieve_content("a")
                assert store.services.reading.damaged == count
                assert store.services.reading.hit("a") is None
            with pytest.raises(IntegrityError):
                await streamed(store, 5, 10)
            assert store.services.reading.damaged == 3
            damage(machine, receipt.object_key, b"x" * 1000)
            assert await store.retrieve_content("a") == b"x" * 1000
            assert store.services.reading.hit("a") is not None, "no lease was left behind"

    asyncio.run(scenario())


@pytest.mark.parametrize("position", [0, 2 * CHUNK_BYTES - 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES - 1])
def test_a_stream_ends_before_the_damaged_chunk(tmp_path: Path, position: int) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        body = bytes(range(256)) * (3 * CHUNK_BYTES // 256)
        async with machine.process() as store:
            receipt = await store.store_content("a", body)
            damaged = bytearray(body)
            damaged[position] ^= 1
            damage(machine, receipt.object_key, bytes(damaged))
            received = b""
            try:
                async with store.open_content("a") as content:
                    async for piece in content:
                        received += piece
            except IntegrityError:
                pass
            else:
                pytest.fail("the damage went unnoticed")
            assert received == body[: position // CHUNK_BYTES * CHUNK_BYTES]
            assert store.services.reading.damaged == 1
            intact = 1 if position < CHUNK_BYTES else 0
            start = intact * CHUNK_BYTES + 7
            assert await streamed(store, start, start + 100) == body[start : start + 100], "that chunk is whole"
            assert store.services.memory.in_use == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [CHUNK_BYTES, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 10])
def test_a_stream_of_an_object_cut_short_ends_in_an_integrity_error(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        async with machine.process() as store:
            receipt = await store.store_content("a", b"x" * (2 * CHUNK_BYTES + 20))
            damage(machine, receipt.object_key, b"x" * size)
            with pytest.raises(IntegrityError):
                await streamed(store)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (CHUNK_BYTES, 2 * CHUNK_BYTES), (5, -5), (-1, None), (3, 10**12)],
)
def test_ranges_across_chunks(tmp_path: Path, start: int, end: int | None) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        body = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"tail"
        async with machine.process() as store:
            await store.store_content("a", body)
            assert await streamed(store, start, end) == body[start:end]

    asyncio.run(scenario())


def test_bounds_are_those_of_slices() -> None:
    for size in range(5):
        for start in range(-7, 8):
            for end in [None, *range(-7, 8)]:
                expected = range(size)[start:end]
                try:
                    found = resolve_range(size, start, end)
                except InvalidRangeError:
                    assert not expected
                else:
                    # The whole of an empty content is a legal range, too.
                    assert found == ((expected.start, expected.stop) if expected else (0, 0))
                    assert expected or size == 0


# --- ends ----------------------------------------------------------------------------------------------------------


def test_nothing_is_readable_from_its_last_moment_on(tmp_path: Path) -> None:
    """From memory, from the store, as a range, by joining a read that began in time."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"x", expires_in=60.0)
            assert await store.retrieve_content("a") == b"x"
            machine.clock.jump(59.999999)
            assert store.services.cache.peek("a") is not None
            assert await store.retrieve_content("a") == b"x"
            await uncached(store)
            gate = faults.gate("objects.fetch#1")
            faults.start()
            in_time = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            machine.clock.jump(0.000001)
            too_late = asyncio.create_task(store.retrieve_content("a"))
            await asyncio.sleep(0)
            gate.open()
            for reader in (in_time, too_late):
                with pytest.raises(ContentNotFoundError):
                    await reader
            assert store.services.cache.peek("a") is None
            with pytest.raises(ContentNotFoundError):
                await store.stat("a")
            with pytest.raises(ContentNotFoundError):
                await streamed(store)

    asyncio.run(scenario())


def test_an_entry_in_memory_ends_with_its_content_wherever_the_clock_jumps(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x", expires_in=60.0)
            await store.retrieve_content("a")
            machine.clock.jump(-3600.0)
            assert await store.retrieve_content("a") == b"x"
            machine.clock.jump(3600.0 + 60.0)
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")

    asyncio.run(scenario())


# --- bounds --------------------------------------------------------------------------------------------------------


def test_what_is_too_large_to_buffer_is_streamed(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=settings(max_buffered=100))
        async with machine.process() as store:
            await store.store_content("a", b"x" * 101, initial_tier="cold")
            with pytest.raises(ContentTooLargeError, match="open_content"):
                await store.retrieve_content("a")
            assert await streamed(store) == b"x" * 101

    asyncio.run(scenario())


def test_reads_in_flight_fit_the_budget(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path, memory=10 * 2**20, max_wait=0)
        faults = Faults()
        async with machine.process(faults) as store:
            memory = store.services.memory
            await store.store_content("a", b"x" * (3 * CHUNK_BYTES))
            await store.store_content("b", b"x" * 1000)
            await uncached(store)
            async with store.open_content("a") as content:
                assert memory.in_use == 2 * CHUNK_BYTES
                with pytest.raises(BusyError):
                    async with store.open_content("a"):
                        pass
                async for _ in content:
                    break
            assert memory.in_use == 0, "left early"
            gate = faults.gate("objects.fetch#1")
            faults.start()
            reading = asyncio.create_task(store.retrieve_content("b"))
            await gate.reached()
            assert memory.in_use == 1000
            gate.open()
            await reading
            assert memory.in_use == 0

    asyncio.run(scenario())


def test_a_stream_left_early_or_cancelled_lets_go_of_everything(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = large_parts(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"x" * (3 * CHUNK_BYTES))
            tasks = asyncio.all_tasks()

            async def fail_in_the_middle() -> None:
                async with store.open_content("a") as content:
                    async for _ in content:
                        raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fail_in_the_middle()
            async with store.open_content("a"):
                pass
            faults.start()
            gate = faults.gate("objects.stream.next#2")
            reading = asyncio.create_task(streamed(store))
            await gate.reached()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert asyncio.all_tasks() == tasks
            assert store.services.memory.in_use == 0

    asyncio.run(scenario())


def test_each_way_of_reading_is_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x")
            await uncached(store)
            await store.retrieve_content("a")
            await store.retrieve_content("a")
            await streamed(store)
            assert store.services.tracker.drain() == {"a": [1, 2, 0, 0]}
            assert store.services.tracker.drain() == {}
            assert list(store.services.tracker.totals) == [1, 2, 0, 0]

    asyncio.run(scenario())


def test_time_between_reads_does_not_matter_to_memory_beyond_its_lifetime(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x", initial_tier="warm")
            await store.retrieve_content("a")
            ttl = store.services.placements.rules((await store.stat("a")).tier).cache_ttl
            machine.clock.advance(Seconds(ttl - 1))
            assert store.services.reading.hit("a") is not None
            machine.clock.advance(Seconds(1))
            assert store.services.reading.hit("a") is None

    asyncio.run(scenario())
