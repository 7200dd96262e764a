"""Scrubbing: everything is read again at the set rate, across restarts, and damage is found."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.recovering import alter_object
from tests.machine import Machine
from tests.services.test_adopting import refuse_reads
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import ObjectArchivedError, UnavailableError
from thermocline.domain.units import Bytes, Seconds
from thermocline.services.scrubbing import ATTEMPTS, OBJECT_COST, PERIOD
from thermocline.services.working import ELECTION_LEASE

DAY = 86400.0


def machine_at(folder: Path, rate: int | str, every: str = "30d") -> Machine:
    machine = Machine(folder, settings=Settings.model_validate({"scrub": {"rate": rate, "every": every}}))
    machine.objects.part_size = Bytes(CHUNK_BYTES)
    return machine


async def periods(store: StorageOrchestrator, machine: Machine, count: int) -> int:
    """Let the job come `count` times, as the worker calls it; how much it did."""
    done = 0
    for _ in range(count):
        machine.clock.advance(PERIOD)
        while step := await store.services.scrub.run():
            done += step
    return done


def damage(machine: Machine, key: str) -> None:
    data = machine.objects._contents.objects[key].data
    alter_object(machine, key, data=data[::-1])


def test_a_pass_finds_what_is_damaged_and_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, "1MiB")
        async with machine.process() as store:
            for name in ("good", "damaged", "missing", "empty"):
                await store.store_content(name, b"" if name == "empty" else name.encode())
            damage(machine, (await store.stat("damaged")).object_key)
            await machine.objects.delete([(await store.stat("missing")).object_key])
            scrub = store.services.scrub
            assert await scrub.state() is None
            assert await periods(store, machine, 3) == 4
            state = await scrub.state()
            assert state is not None
            assert (state.done, state.findings, state.skipped) == (4, 2, 0)
            assert state.ended_at is not None
            assert (scrub.verified, scrub.findings, scrub.read_bytes) == (4, 2, len("good"))
            # fsck finds them again.
            assert {one.content_id async for one in store.check()} == {"damaged", "missing"}

    asyncio.run(scenario())


def test_the_next_pass_begins_when_its_time_has_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, "1MiB", "10d")
        async with machine.process() as store:
            await store.store_content("a", b"a")
            assert await periods(store, machine, 5) == 1
            machine.clock.advance(Seconds(9 * DAY))
            assert await periods(store, machine, 5) == 0
            machine.clock.advance(Seconds(DAY))
            assert await periods(store, machine, 5) == 1

    asyncio.run(scenario())


def test_no_more_is_read_than_the_rate_allows(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, 100_000)
        async with machine.process() as store:
            for number in range(80):
                await store.store_content(f"{number:02}", bytes(100_000))
            read = []
            for _ in range(40):
                before = store.services.scrub.read_bytes
                await periods(store, machine, 1)
                read.append(store.services.scrub.read_bytes - before)
            allowed = 100_000 * PERIOD
            share = 100_000 / (100_000 + OBJECT_COST)
            assert all(one <= allowed + 100_000 for one in read)
            assert 0.9 <= sum(read) / (allowed * share * 40) <= 1.02, "over time the rate is kept, and used"

    asyncio.run(scenario())


def test_a_large_content_is_verified_in_slices_and_survives_restarts(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, CHUNK_BYTES // 2)
        size = 5 * CHUNK_BYTES + 3
        async with machine.process() as store:
            await store.store_content("a", b"a")
            await store.store_content("large", bytes(size))
            await store.store_content("z", b"z")
        read, slices = 0, 0
        for _ in range(20):
            # Every period another process: it was elected after a restart.
            async with machine.process() as store:
                await periods(store, machine, 1)
                scrub = store.services.scrub
                slices += scrub.read_bytes > CHUNK_BYTES // 2
                read += scrub.read_bytes
                assert scrub.read_bytes <= 2 * CHUNK_BYTES
                state = await scrub.state()
            if state is not None and state.ended_at is not None:
                break
        assert state is not None
        assert (state.done, state.findings) == (3, 0)
        assert read == size + 2, "nothing was read twice"
        assert slices >= 5

    asyncio.run(scenario())


def test_damage_deep_in_a_large_content_is_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, CHUNK_BYTES)
        async with machine.process() as store:
            await store.store_content("large", bytes(4 * CHUNK_BYTES))
            key = (await store.stat("large")).object_key
            body = bytearray(machine.objects._contents.objects[key].data)
            body[3 * CHUNK_BYTES + 9] ^= 1
            alter_object(machine, key, data=bytes(body))
            assert await periods(store, machine, 10) >= 4
            assert store.services.scrub.findings == 1

    asyncio.run(scenario())


def test_a_content_replaced_between_two_slices_is_begun_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, CHUNK_BYTES // 2)
        async with machine.process() as store:
            await store.store_content("large", bytes(4 * CHUNK_BYTES))
            await periods(store, machine, 2)
            await store.store_content("large", b"\x01" * (2 * CHUNK_BYTES))
            machine.clock.advance(Seconds(1.0))
            before = store.services.scrub.read_bytes
            await periods(store, machine, 10)
            assert store.services.scrub.read_bytes - before == 2 * CHUNK_BYTES
            assert store.services.scrub.findings == 0

    asyncio.run(scenario())


def test_what_is_archived_is_passed_over_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, "1MiB")
        async with machine.process() as store:
            for name in ("archived", "good"):
                await store.store_content(name, name.encode())
            key = (await store.stat("archived")).object_key
            whole = machine.objects.stream
            refuse_reads(machine, key, ObjectArchivedError(key))
            assert await periods(store, machine, 3) == 2
            state = await store.services.scrub.state()
            assert state is not None
            assert (state.done, state.skipped, state.findings) == (1, 1, 0)
            machine.objects.stream = whole  # type: ignore[method-assign]

    asyncio.run(scenario())


def test_a_store_that_is_down_is_waited_for_one_bad_object_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, "1MiB")
        async with machine.process() as store:
            for name in ("a", "bad", "c"):
                await store.store_content(name, name.encode())
            key = (await store.stat("bad")).object_key
            refuse_reads(machine, key, UnavailableError("the disk failed"))
            head = machine.objects.head

            async def down(_key: str) -> None:
                raise UnavailableError("down")

            machine.objects.head = down  # type: ignore[method-assign, assignment]
            for _ in range(2 * ATTEMPTS):
                with pytest.raises(UnavailableError):
                    await periods(store, machine, 1)
            assert store.services.scrub.findings == 0
            machine.objects.head = head  # type: ignore[method-assign]
            for _ in range(ATTEMPTS - 1):
                with pytest.raises(UnavailableError):
                    await periods(store, machine, 1)
            assert await periods(store, machine, 3) == 2
            state = await store.services.scrub.state()
            assert state is not None
            assert (state.done, state.findings) == (3, 1)
            assert state.ended_at is not None

    asyncio.run(scenario())


def test_a_finding_that_has_moved_on_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, "1MiB")
        async with machine.process() as store:
            await store.store_content("a", b"old")
            key = (await store.stat("a")).object_key
            whole = machine.objects.stream

            def gone(asked: str, start: int, end: int) -> object:
                asyncio.get_running_loop()
                return whole(asked, start, end)

            machine.objects.stream = gone  # type: ignore[method-assign, assignment]
            find: Callable[..., object] = store.services.adapters.catalog.records.find
            records = store.services.scrub._records

            async def find_then_overwrite(content_id: str) -> object:
                found = await find(content_id)  # type: ignore[misc]
                records.find = find  # type: ignore[method-assign, assignment]
                await store.store_content("a", b"new")
                await machine.objects.delete([key])
                return found

            records.find = find_then_overwrite  # type: ignore[method-assign, assignment]
            await periods(store, machine, 2)
            assert store.services.scrub.findings == 0

    asyncio.run(scenario())


def test_it_can_be_off_and_never_outlives_its_election(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = machine_at(tmp_path, 0)
        async with machine.process() as store:
            await store.store_content("a", b"a")
            assert await periods(store, machine, 3) == 0
            assert "scrub" not in {job.name for job in store.services.worker.jobs}

        (tmp_path / "slow").mkdir()
        slow = machine_at(tmp_path / "slow", "1GiB")
        async with slow.process() as store:
            for number in range(100):
                await store.store_content(f"{number:03}", b"x")
            whole = slow.objects.stream

            def take_seconds(key: str, start: int, end: int) -> object:
                slow.clock.advance(Seconds(3.0))
                return whole(key, start, end)

            slow.objects.stream = take_seconds  # type: ignore[method-assign, assignment]
            slow.clock.advance(PERIOD)
            begun = slow.clock.now()
            assert 0 < await store.services.scrub.run() < 100
            assert slow.clock.now() - begun < ELECTION_LEASE * 1_000_000 / 2
            assert "scrub" in {job.name for job in store.services.worker.jobs}

    asyncio.run(scenario())
