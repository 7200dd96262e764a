"""Deleting, erasing, expiring, and the work they promise: in time, not before it, and never what is live."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.errors import (
    ContentHeldError,
    ContentNotFoundError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.units import MICROS_PER_SECOND, Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services.delivering import LONGEST_RETRY, MAX_ATTEMPTS
from thermocline.testing.faults import FaultMode, Faults

GRACE = 2 * 3600.0


async def stored(machine: Machine) -> set[str]:
    return {info.key async for page in machine.objects.list_pages("") for info in page}


async def deliver(store: StorageOrchestrator) -> int:
    return await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)


@pytest.mark.parametrize("way", ["overwrite", "delete", "expire"])
def test_a_replaced_object_stays_for_its_grace_and_no_longer(tmp_path: Path, way: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            old = await store.store_content("a", b"old", expires_in=1.0 if way == "expire" else None)
            if way == "overwrite":
                await store.store_content("a", b"new")
            elif way == "delete":
                assert await store.delete_content("a")
            else:
                machine.clock.advance(Seconds(1))
                assert await store.services.expiry.run() == 1
            machine.clock.advance(Seconds(GRACE - 0.001))
            assert await deliver(store) == 0
            assert old.object_key in await stored(machine)
            machine.clock.advance(Seconds(0.001))
            assert await deliver(store) == 1
            assert old.object_key not in await stored(machine)
            assert len(await stored(machine)) == (1 if way == "overwrite" else 0)

    asyncio.run(scenario())


def test_erasing_deletes_the_bytes_itself_however_much_is_due_before_them(tmp_path: Path) -> None:
    """Another process has claimed all that is due, this content's row too."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            receipt = await store.store_content("a", b"x")
            gate = faults.gate("catalog.records.commit_erase#1", after=True)
            faults.start()
            erasing = asyncio.create_task(store.erase_content("a"))
            await gate.reached()
            catalog = other.services.adapters.catalog
            claimed = await catalog.outbox.claim(
                OutboxKind.DELETE_OBJECT, now=machine.clock.now(), lease=Seconds(300), limit=9
            )
            assert len(claimed) == 1
            gate.open()
            assert await erasing
            assert receipt.object_key not in await stored(machine)

    asyncio.run(scenario())


def test_erasing_says_so_when_the_bytes_are_still_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x")
            delete = machine.objects.delete

            async def refuse(keys: Sequence[str]) -> Mapping[str, StorageError]:
                return {key: UnavailableError("not now") for key in keys}

            machine.objects.delete = refuse  # type: ignore[method-assign]
            with pytest.raises(UnavailableError):
                await store.erase_content("a")
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")
            machine.objects.delete = delete  # type: ignore[method-assign]
            assert await deliver(store) == 1
            assert await stored(machine) == set()
            assert not await store.erase_content("a"), "idempotent"

    asyncio.run(scenario())


def test_deleting_tells_whether_there_was_anything(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            assert not await store.delete_content("a")
            receipt = await store.store_content("a", b"x")
            with pytest.raises(PreconditionFailedError):
                await store.delete_content("a", if_match='"1"')
            assert await store.delete_content("a", if_match=receipt.etag)
            await store.store_content("b", b"x", expires_in=1.0)
            machine.clock.advance(Seconds(1))
            assert not await store.delete_content("b"), "it had expired"
            with pytest.raises(ContentNotFoundError):
                await store.update_metadata("b", {"k": 1})
            receipt = await store.store_content("c", b"x")
            with pytest.raises(PreconditionFailedError):
                await store.update_metadata("c", {"k": 1}, if_match='"1"')

    asyncio.run(scenario())


def test_a_hold_outlasts_an_end(tmp_path: Path) -> None:
    """Also one that came between the listing of the expired and their deletion: the others are deleted."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            for name in "abc":
                await store.store_content(name, b"x", expires_in=60.0)
            machine.clock.advance(Seconds(59))
            gate = faults.gate("catalog.records.expired#1", after=True)
            faults.start()
            # This process's clock is ahead of the other's by the second that makes the difference.
            machine.clock.jump(1)
            expiring = asyncio.create_task(store.services.expiry.run())
            await gate.reached()
            machine.clock.jump(-1)
            await other.update_metadata("b", held=True)
            gate.open()
            assert await expiring == 3
            assert store.services.expiry.expired == 2
            assert await other.retrieve_content("b") == b"x"
            machine.clock.jump(3600)
            assert await store.services.expiry.run() == 0
            assert len(await stored(machine)) == 3
            with pytest.raises(ContentNotFoundError):
                await other.retrieve_content("b")
            for act in (other.delete_content, other.erase_content):
                with pytest.raises(ContentHeldError):
                    await act("b")
            with pytest.raises(ContentHeldError):
                await other.store_content("b", b"y")

    asyncio.run(scenario())


def test_expiry_takes_only_what_is_expired_when_it_commits(tmp_path: Path) -> None:
    """The end was put off, or the content replaced, after the listing."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            await store.store_content("a", b"x", expires_in=60.0)
            await store.store_content("b", b"x", expires_in=60.0)
            machine.clock.jump(60)
            gate = faults.gate("catalog.records.expired#1", after=True)
            faults.start()
            expiring = asyncio.create_task(store.services.expiry.run())
            await gate.reached()
            machine.clock.jump(-1)
            await other.update_metadata("a", never_expires=True)
            machine.clock.jump(1)
            await other.store_content("b", b"y")
            gate.open()
            await expiring
            assert await other.retrieve_content("a") == b"x"
            assert await other.retrieve_content("b") == b"y"
            assert store.services.expiry.expired == 0

    asyncio.run(scenario())


def test_expiry_evicts(tmp_path: Path) -> None:
    """The clock jumped back after it ran: what it deleted is not shown by memory either."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"x", expires_in=60.0)
            await store.retrieve_content("a")
            machine.clock.jump(60)
            await store.services.expiry.run()
            machine.clock.jump(-60)
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")

    asyncio.run(scenario())


def test_catalog_tombstones_stay_for_their_grace_and_revisions_grow_beyond_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            grace = store.services.settings.limits.tombstone_grace
            first = await store.store_content("a", b"x")
            await store.delete_content("a")
            machine.clock.advance(Seconds(grace - 1))
            assert await store.services.expiry.forget_tombstones() == 0
            machine.clock.advance(Seconds(2))
            assert await store.services.expiry.forget_tombstones() == 1
            assert await store.services.expiry.forget_tombstones() == 0
            machine.clock.jump(-2 * grace)
            second = await store.store_content("a", b"x")
            assert second.revision > first.revision
            assert second.version > first.version
            assert second.created

    asyncio.run(scenario())


def test_a_named_object_is_never_deleted_whatever_the_outbox_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            old = await store.store_content("a", b"old")
            await store.store_content("a", b"new")
            machine.clock.advance(Seconds(GRACE))
            # As after an adoption: something names the object again.
            await store.services.adapters.catalog.intents.declare(old.object_key, "standard", lease=Seconds(60))
            assert await deliver(store) == 1
            assert old.object_key in await stored(machine)
            assert await deliver(store) == 0
            (state,) = (row for row in await outbox_state(store) if row[0] is OutboxKind.DELETE_OBJECT)
            assert state[1:] == (0, 0), "whoever names it queues its deletion anew"

    asyncio.run(scenario())


async def outbox_state(store: StorageOrchestrator) -> list[tuple[OutboxKind, int, int]]:
    return [(row.kind, row.waiting, row.dead) for row in await store.services.adapters.catalog.outbox.state()]


@pytest.mark.parametrize("way", ["reported", "raised"])
def test_a_deletion_that_fails_is_tried_later_and_later_and_kept_in_the_end(tmp_path: Path, way: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", b"old")
            await store.store_content("b", b"old")
            await store.delete_content("a")
            await store.delete_content("b")
            machine.clock.advance(Seconds(GRACE))
            delete = machine.objects.delete
            calls: list[int] = []

            async def refuse(keys: Sequence[str]) -> Mapping[str, StorageError]:
                calls.append(machine.clock.now())
                if way == "raised":
                    raise UnavailableError("down")
                failing = [key for key in keys if "/a/" in key]
                await delete([key for key in keys if key not in failing])
                return {key: UnavailableError("not now") for key in failing}

            machine.objects.delete = refuse  # type: ignore[method-assign]
            await deliver(store)
            assert len(await stored(machine)) == (1 if way == "reported" else 2)
            assert await deliver(store) == 0, "not at once"
            for _ in range(10_000):
                machine.clock.advance(Seconds(60))
                await deliver(store)
                if any(dead for _, _, dead in await outbox_state(store)):
                    break
            assert len(calls) == MAX_ATTEMPTS
            waits = [(later - earlier) / MICROS_PER_SECOND for earlier, later in itertools.pairwise(calls)]
            assert max(waits) <= LONGEST_RETRY + 60
            assert waits == sorted(waits)
            assert store.services.outbox.failed == MAX_ATTEMPTS * (1 if way == "reported" else 2)
            (dead,) = (row[2] for row in await outbox_state(store) if row[0] is OutboxKind.DELETE_OBJECT)
            assert dead == (1 if way == "reported" else 2)

    asyncio.run(scenario())


def test_rows_are_removed_after_their_work_not_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"objects.delete#1": FaultMode.CANCELLED_BEFORE})
        async with machine.process(faults) as store:
            await store.store_content("a", b"x")
            await store.delete_content("a")
            machine.clock.advance(Seconds(GRACE))
            faults.start()
            with pytest.raises(asyncio.CancelledError):
                await deliver(store)
            machine.clock.advance(Seconds(300))
            assert await deliver(store) == 1
            assert await stored(machine) == set()

    asyncio.run(scenario())
