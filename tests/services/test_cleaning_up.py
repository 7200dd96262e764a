"""What a failed write does at once, and what it leaves to the cleaner: never more than it can be sure of."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PART_SIZE, Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.errors import (
    CommitUnknownError,
    IntentLostError,
    OutOfSpaceError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.units import Bytes, Seconds
from thermocline.testing.clock import ManualClock
from thermocline.testing.faults import FaultMode, Faults

BODIES = {"whole": b"x" * 50, "parts": b"x" * 200}


async def remains(machine: Machine) -> tuple[int, int]:
    """Return how many objects or uploads and how many intents there are."""
    stored, _, _, intents = await machine.remains()
    return len(stored), intents


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_definite_refusal_leaves_nothing_at_once(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"first")
            with pytest.raises(PreconditionFailedError):
                await store.store_content("a", body, if_none_match="*")
            assert await remains(machine) == (1, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_full_store_leaves_nothing_at_once(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        machine.objects = MemoryObjectStore(machine.clock, part_size=PART_SIZE, capacity=Bytes(len(body) - 1))
        async with machine.process() as store:
            with pytest.raises(OutOfSpaceError):
                await store.store_content("a", body)
            assert await remains(machine) == (0, 0)
            assert machine.objects.used == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("mode", [FaultMode.LOST, FaultMode.CANCELLED])
def test_after_an_unclear_commit_nothing_is_touched(tmp_path: Path, body: bytes, mode: FaultMode) -> None:
    """Only the catalog knows what happened: not one call to a port follows."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.records.commit_write#1": mode})
        async with machine.process(faults) as store:
            faults.start()
            with pytest.raises(CommitUnknownError if mode is FaultMode.LOST else asyncio.CancelledError):
                await store.store_content("a", body)
            assert faults.points[-1] == "catalog.records.commit_write#1"
            assert await store.retrieve_content("a") == body

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", [FaultMode.LOST, FaultMode.CANCELLED])
@pytest.mark.parametrize("point", ["objects.put#1", "objects.upload.write#2", "objects.upload.complete#1"])
def test_after_an_unclear_request_the_cleaner_does_it(tmp_path: Path, point: str, mode: FaultMode) -> None:
    """The request may still be on its way: deleting now would be too early, and forgetting the intent fatal."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({point: mode})
        async with machine.process(faults) as store:
            faults.start()
            with pytest.raises(UnavailableError if mode is FaultMode.LOST else asyncio.CancelledError):
                await store.store_content("a", BODIES["whole" if "put" in point else "parts"])
            assert not any("delete" in called or "withdraw" in called for called in faults.points)
            assert await remains(machine) == (1, 1)
            machine.clock.advance(Seconds(120))
            await store.services.cleaner.run()
            assert await remains(machine) == (0, 1)
            machine.clock.advance(Seconds(60))
            await store.services.cleaner.run()
            assert await remains(machine) == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_cleaning_up_at_once_withdraws_then_deletes_then_forgets(tmp_path: Path, body: bytes) -> None:
    """An intent dropped before its object is gone, or an object deleted that may be committed, would be fatal."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", b"first")
            await store.services.background.drain()
            faults.start()
            with pytest.raises(PreconditionFailedError):
                await store.store_content("a", body, if_match='"1"')
            tail = [point for point in faults.points if "abort" not in point][-3:]
            assert tail == ["catalog.intents.withdraw#1", "objects.delete#1", "catalog.intents.settle#1"]

    asyncio.run(scenario())


def test_nothing_is_deleted_whose_intent_is_gone(tmp_path: Path) -> None:
    """A commit reports a definite failure though it happened: the missing intent says that it did."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            records = store.services.adapters.catalog.records
            commit = records.commit_write

            async def lying(*args: Any, **kwargs: Any) -> None:
                await commit(*args, **kwargs)
                raise RuntimeError("a bug after the commit")

            records.commit_write = lying  # type: ignore[method-assign, assignment]
            with pytest.raises(RuntimeError):
                await store.store_content("a", b"x")
            assert await store.retrieve_content("a") == b"x"
            assert await remains(machine) == (1, 0)

    asyncio.run(scenario())


def test_what_could_not_be_deleted_keeps_its_intent(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"first")
            delete = machine.objects.delete

            async def refuse(keys: Sequence[str]) -> Mapping[str, StorageError]:
                return {key: UnavailableError("not now") for key in keys}

            machine.objects.delete = refuse  # type: ignore[method-assign]
            with pytest.raises(PreconditionFailedError):
                await store.store_content("a", b"second", if_match='"1"')
            assert await remains(machine) == (2, 1)
            machine.clock.advance(Seconds(60))
            await store.services.cleaner.run()
            machine.clock.advance(Seconds(120))
            await store.services.cleaner.run()
            assert await remains(machine) == (2, 1), "as long as it takes"
            machine.objects.delete = delete  # type: ignore[method-assign]
            for _ in range(2):
                machine.clock.advance(Seconds(120))
                await store.services.cleaner.run()
            assert await remains(machine) == (1, 0)

    asyncio.run(scenario())


def test_a_body_that_fails_waits_for_the_part_in_flight(tmp_path: Path) -> None:
    """Else the part would arrive after the clean-up, and nobody would know of it."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:

            async def failing() -> AsyncIterator[bytes]:
                yield b"x" * 100
                await gate.reached()
                raise ZeroDivisionError

            gate = faults.gate("objects.upload.write#1")
            faults.start()
            writing = asyncio.create_task(store.store_content("a", failing()))
            await gate.reached()
            for _ in range(10):
                await asyncio.sleep(0)
            assert "catalog.intents.withdraw#1" not in faults.points
            gate.open()
            with pytest.raises(ZeroDivisionError):
                await writing
            assert await remains(machine) == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("point", "next_point"),
    [
        ("catalog.intents.declare#1", "objects.put#1"),
        ("catalog.intents.declare#1", "objects.begin_upload#1"),
        ("objects.begin_upload#1", "objects.upload.write#1"),
        ("objects.upload.write#1", "objects.upload.write#2"),
        ("objects.upload.write#4", "objects.upload.complete#1"),
    ],
)
def test_nothing_is_sent_after_the_intent_may_have_ended(tmp_path: Path, point: str, next_point: str) -> None:
    """The process was paused: by the catalog's clock its intent has ended, so its next request must not go out."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            gate = faults.gate(point, after=True)
            faults.start()
            body = BODIES["whole" if "put" in next_point else "parts"]
            writing = asyncio.create_task(store.store_content("a", body))
            await gate.reached()
            machine.clock.jump(81)
            machine.clock._monotonic += 81_000_000  # both clocks, but no sleeper wakes: the process was stopped
            gate.open()
            with pytest.raises(IntentLostError):
                await writing
            assert next_point not in faults.points
            assert await remains(machine) == (0, 0)

    asyncio.run(scenario())


def test_intents_are_renewed_while_their_uploads_work_and_not_longer(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            go_on = asyncio.Event()

            async def slow() -> AsyncIterator[bytes]:
                yield b"x" * 100
                await go_on.wait()
                yield b"x" * 100

            writing = asyncio.create_task(store.store_content("a", slow()))
            await let_time_pass(store, machine.clock, 1000)
            assert await store.services.cleaner.run() == 0
            go_on.set()
            await writing
            assert await store.retrieve_content("a") == b"x" * 200
            renewals: list[Sequence[str]] = []
            intents = store.services.adapters.catalog.intents
            renew = intents.renew

            async def noted(object_keys: Sequence[str], *, lease: Seconds) -> Sequence[str]:
                renewals.append(object_keys)
                return await renew(object_keys, lease=lease)

            intents.renew = noted  # type: ignore[method-assign]
            with pytest.raises(PreconditionFailedError):
                await store.store_content("a", b"x", if_none_match="*")
            await store.store_content("b", b"x")
            await let_time_pass(store, machine.clock, 200)
            assert renewals == [], "nothing is held any more"

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [UnavailableError("down"), RuntimeError("a bug")])
def test_renewing_goes_on_after_any_failure(tmp_path: Path, failure: Exception) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            intents = store.services.adapters.catalog.intents
            renew = intents.renew
            calls = 0

            async def fails_once(object_keys: Sequence[str], *, lease: Seconds) -> Sequence[str]:
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise failure
                return await renew(object_keys, lease=lease)

            intents.renew = fails_once  # type: ignore[method-assign]
            held = await store.services.keeper.declare("k", "standard")
            await let_time_pass(store, machine.clock, 75)
            held.check()
            await let_time_pass(store, machine.clock, 30)
            held.check()
            assert calls >= 2
            await store.services.keeper.close()
            machine.clock.advance(Seconds(81))
            with pytest.raises(IntentLostError):
                held.check()

    asyncio.run(scenario())


def test_a_condemned_intent_is_never_live_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store, machine.process() as other:
            keeper = store.services.keeper
            held = await keeper.declare("k", "standard")
            catalog = other.services.adapters.catalog
            assert await catalog.intents.withdraw("k", lease=Seconds(60)) is not None
            held.check()
            await keeper.renew()
            with pytest.raises(IntentLostError):
                held.check()
            await keeper.renew()
            with pytest.raises(IntentLostError):
                held.check()

    asyncio.run(scenario())


def test_the_time_of_the_request_counts_against_the_lease(tmp_path: Path) -> None:
    """Declaring or renewing took long: the lease began no later than the answer, perhaps much earlier."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        faults = Faults()
        async with machine.process(faults) as store:
            keeper = store.services.keeper
            declared, renewed = (
                faults.gate("catalog.intents.declare#1", after=True),
                faults.gate("catalog.intents.renew#1", after=True),
            )
            faults.start()
            declaring = asyncio.create_task(keeper.declare("k", "standard"))
            await declared.reached()
            machine.clock.advance(Seconds(70))
            declared.open()
            held = await declaring
            machine.clock.advance(Seconds(9))
            held.check()
            renewing = asyncio.create_task(keeper.renew())
            await renewed.reached()
            machine.clock.advance(Seconds(79))
            renewed.open()
            await renewing
            held.check()
            machine.clock.advance(Seconds(1))
            with pytest.raises(IntentLostError):
                held.check()

    asyncio.run(scenario())


async def let_time_pass(store: StorageOrchestrator, clock: ManualClock, seconds: float) -> None:
    """Let time pass in steps; after each, whatever it set off has come back from the catalog's writer."""
    elections = store.services.adapters.catalog.elections
    for _ in range(25):
        await clock.run_for(seconds / 25)
        for _ in range(3):
            await elections.resign("nothing", "nobody")
