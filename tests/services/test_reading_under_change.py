"""Reads that race: with an overwrite, an erasure, with one another; and those who join a read of somebody else."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine
from tests.services.reads import streamed, uncached
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ContentNotFoundError,
    IntegrityError,
    UnavailableError,
)
from thermocline.services.tracking import ReadKind
from thermocline.testing.faults import FaultMode, Faults

A = ContentId("a")


# --- objects that are gone -----------------------------------------------------------------------------------------


def test_a_missing_object_is_damage_and_never_not_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            receipt = await store.store_content("a", b"x")
            await uncached(store)
            await machine.objects.delete([receipt.object_key])
            with pytest.raises(IntegrityError, match="missing"):
                await store.retrieve_content("a")
            with pytest.raises(IntegrityError, match="missing"):
                await streamed(store)
            assert store.services.reading.damaged == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("buffered", [True, False])
def test_a_read_that_raced_an_overwrite_reads_the_new_object(tmp_path: Path, *, buffered: bool) -> None:
    """It read the old record and comes to the store when the old object is gone."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            old = await store.store_content("a", b"old")
            await uncached(store)
            gate = faults.gate("objects.fetch#1" if buffered else "objects.stream.next#1")
            faults.start()
            reading = asyncio.create_task(store.retrieve_content("a") if buffered else streamed(store))
            await gate.reached()
            await store.store_content("a", b"new")
            await machine.objects.delete([old.object_key])
            gate.open()
            assert await reading == b"new"

    asyncio.run(scenario())


@pytest.mark.parametrize("buffered", [True, False])
def test_a_read_that_raced_an_erasure_finds_nothing(tmp_path: Path, *, buffered: bool) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"old")
            await uncached(store)
            gate = faults.gate("objects.fetch#1" if buffered else "objects.stream.next#1")
            faults.start()
            reading = asyncio.create_task(store.retrieve_content("a") if buffered else streamed(store))
            await gate.reached()
            await store.erase_content("a")
            gate.open()
            with pytest.raises(ContentNotFoundError):
                await reading
            assert store.services.memory.in_use == 0

    asyncio.run(scenario())


# --- joining -------------------------------------------------------------------------------------------------------


def test_misses_for_one_content_are_one_read_also_when_the_first_reader_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"x")
            await uncached(store)
            gate = faults.gate("objects.fetch#1")
            faults.start()
            readers = [asyncio.create_task(store.retrieve_content("a")) for _ in range(5)]
            await gate.reached()
            readers[0].cancel()
            await asyncio.sleep(0)
            gate.open()
            assert await asyncio.gather(*readers[1:]) == [b"x"] * 4
            assert readers[0].cancelled()
            assert faults.points.count("objects.fetch#1") == 1
            assert "objects.fetch#2" not in faults.points
            assert not store.services.cache.flights
            assert store.services.tracker.totals[ReadKind.MEMORY] == 4
            assert store.services.reading.hit("a") is not None

    asyncio.run(scenario())


def test_a_failed_read_fails_its_readers_and_nobody_after_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"objects.fetch#1": FaultMode.LOST})
        async with machine.process(faults) as store:
            await store.store_content("a", b"x")
            await uncached(store)
            faults.start()
            answers = await asyncio.gather(*(store.retrieve_content("a") for _ in range(3)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [UnavailableError] * 3
            assert await store.retrieve_content("a") == b"x"
            assert store.services.reading.hit("a") is not None, "the failed read gave its lease back"
            assert store.services.memory.in_use == 0

    asyncio.run(scenario())


def test_a_read_that_fails_after_its_readers_left_is_not_reported_as_unseen(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"objects.fetch#1": FaultMode.LOST})
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with machine.process(faults) as store:
            await store.store_content("a", b"x")
            await uncached(store)
            gate = faults.gate("objects.fetch#1")
            faults.start()
            reader = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            del reader
            gate.open()
            await asyncio.wait(store.services.cache.flights.values())
        gc.collect()
        await asyncio.sleep(0)
        assert complaints == []

    asyncio.run(scenario())


def test_whoever_reads_after_a_change_never_joins_a_read_from_before_it(tmp_path: Path) -> None:
    """The old flight lands later and must not take the new one out."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"old")
            await uncached(store)
            first, second = faults.gate("objects.fetch#1", after=True), faults.gate("objects.fetch#2", after=True)
            faults.start()
            before = asyncio.create_task(store.retrieve_content("a"))
            await first.reached()
            await store.store_content("a", b"new", initial_tier="warm")
            after = asyncio.create_task(store.retrieve_content("a"))
            await second.reached()
            first.open()
            assert await before == b"old"
            joined = asyncio.create_task(store.retrieve_content("a"))
            await asyncio.sleep(0)
            second.open()
            assert await after == await joined == b"new"
            assert "objects.fetch#3" not in faults.points

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["metadata", "delete", "clear"])
def test_no_read_from_before_a_change_is_joined_or_cached(tmp_path: Path, change: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"old", visibility="public")
            await uncached(store)
            gate = faults.gate("objects.fetch#1", after=True)
            faults.start()
            before = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            if change == "metadata":
                await store.update_metadata("a", visibility="private")
            elif change == "delete":
                await store.delete_content("a")
            else:
                await store.services.cache.clear()
            assert not store.services.cache.flights
            gate.open()
            assert await before == b"old"
            assert store.services.reading.hit("a") is None
            if change == "delete":
                with pytest.raises(ContentNotFoundError):
                    await store.retrieve_content("a")
            else:
                visibility = (await store.services.reading.retrieve(A)).visibility
                assert visibility == ("private" if change == "metadata" else "public")

    asyncio.run(scenario())


def test_the_lease_is_taken_before_the_record_is_read(tmp_path: Path) -> None:
    """The reader pauses between its two first steps; what it then reads is older than the change it missed."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            await store.store_content("a", b"old")
            await uncached(store)
            gate = faults.gate("catalog.records.find#1", after=True)
            faults.start()
            reading = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            await other.store_content("a", b"new")
            await store.services.listener.poll()
            gate.open()
            assert await reading == b"old"
            assert await store.retrieve_content("a") == b"new"

    asyncio.run(scenario())
