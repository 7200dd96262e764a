"""An object that was adopted goes with its last content where the store is told to, and only as it was adopted."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.machine import DELETES_ADOPTED, Machine, settle
from thermocline import StorageOrchestrator, StorageTier
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.ports.object_store import ObjectHead
from thermocline.services.placements import stamp_of
from thermocline.services.releasing import LEASE
from thermocline.testing.faults import FaultMode, Faults

KEY = "old/a"
HOURS = Seconds(3 * 3600.0)
Scenario = Callable[[StorageOrchestrator, Machine], Coroutine[Any, Any, None]]


def run(folder: Path, scenario: Scenario, faults: Faults | None = None) -> Machine:
    machine = Machine(folder, settings=DELETES_ADOPTED)

    async def main() -> None:
        await machine.objects.put(KEY, b"bytes", {})
        async with machine.process(faults) as store:
            await scenario(store, machine)

    asyncio.run(main())
    return machine


async def adopt(store: StorageOrchestrator, prefix: str = "") -> None:
    report = await store.import_tree("s3://media/old", prefix, in_place=True)
    assert report.is_complete, report.problems


async def deliver(store: StorageOrchestrator, machine: Machine) -> None:
    machine.clock.advance(HOURS)
    await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)


async def notes(machine: Machine) -> list[tuple[object, ...]]:
    return await machine.query("SELECT object_key, content_id FROM adopted ORDER BY content_id")


def is_there(machine: Machine) -> bool:
    return KEY in machine.objects._contents.objects


def _delete(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.delete_content("a")


def _erase(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.erase_content("a")


def _overwrite(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.store_content("a", b"new")


def _move(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.set_tier("a", StorageTier.COLD)


def _expire(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.update_metadata("a", {}, expires_in=60)


@pytest.mark.parametrize("end", [_delete, _erase, _overwrite, _move, _expire])
def test_however_its_content_ends_the_object_goes(
    tmp_path: Path, end: Callable[[StorageOrchestrator], Coroutine[Any, Any, Any]]
) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        assert await notes(machine) == [(KEY, "a")]
        await end(store)
        assert is_there(machine) is (end is not _erase)
        await settle(store, machine.clock)
        assert not is_there(machine)
        assert await notes(machine) == []
        catalog = store.services.adapters.catalog
        assert sum(row.waiting + row.dead for row in await catalog.outbox.state()) == 0
        assert await catalog.intents.count() == 0

    run(tmp_path, scenario)


def test_it_stays_for_the_grace(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        machine.clock.advance(Seconds(2 * 3600.0 - 1))
        assert await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT) == 0
        assert is_there(machine)

    run(tmp_path, scenario)


def test_erasing_tells_whether_it_went(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await adopt(store, "twin")
        assert (await store.erase_content("twin/a")).steps["objects"] == 0
        assert is_there(machine)
        assert await notes(machine) == [(KEY, "a")]
        assert (await store.erase_content("a")).steps["objects"] == 1
        assert not is_there(machine)

    run(tmp_path, scenario)


def test_erasing_takes_what_an_older_revision_had_adopted(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.store_content("a", b"new")
        assert (await store.erase_content("a")).steps["objects"] == 2
        assert not machine.objects._contents.objects

    run(tmp_path, scenario)


@pytest.mark.parametrize("first", ["a", "twin/a"])
def test_the_last_of_two_contents_takes_it_along(tmp_path: Path, first: str) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await adopt(store, "twin")
        await store.delete_content(first)
        await deliver(store, machine)
        other = "a" if first != "a" else "twin/a"
        assert await store.retrieve_content(other) == b"bytes"
        assert await notes(machine) == [(KEY, other)]
        await store.delete_content(other)
        await deliver(store, machine)
        assert not is_there(machine)

    run(tmp_path, scenario)


@pytest.mark.parametrize("data", [b"BYTES", b"bytes", b"other size"])
def test_what_somebody_replaced_meanwhile_stays(tmp_path: Path, data: bytes) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        machine.clock.advance(Seconds(5.0))
        machine.objects._contents.remove(KEY)
        await machine.objects.put(KEY, data, {})
        await settle(store, machine.clock)
        assert await machine.objects.fetch(KEY, 0, len(data)) == data
        assert await notes(machine) == []

    run(tmp_path, scenario)


def test_imported_again_after_its_deletion_it_is_new(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        await deliver(store, machine)
        await machine.objects.put(KEY, b"newer", {})
        await adopt(store)
        assert await store.retrieve_content("a") == b"newer"
        await settle(store, machine.clock)
        assert await store.retrieve_content("a") == b"newer"
        await store.delete_content("a")
        await deliver(store, machine)
        assert not is_there(machine)

    run(tmp_path, scenario)


def test_adopted_again_before_its_deletion_is_due_it_stays(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        await adopt(store, "again")
        await settle(store, machine.clock)
        assert await store.retrieve_content("again/a") == b"bytes"

    run(tmp_path, scenario)


@pytest.mark.parametrize("point", ["objects.head#1", "objects.delete#1"])
def test_while_it_is_deleted_nobody_adopts_it(tmp_path: Path, point: str) -> None:
    """The request to delete may be on its way for as long as any request."""
    faults = Faults()

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        machine.clock.advance(HOURS)
        faults.start()
        gate = faults.gate(point)
        deleting = asyncio.ensure_future(store.services.outbox.deliver(OutboxKind.DELETE_OBJECT))
        await gate.reached()
        faults.stop()
        adopting = asyncio.ensure_future(store.import_tree("s3://media/old", "again", in_place=True))
        while not adopting.done():
            await asyncio.sleep(0.001)
            machine.clock.advance(Seconds(1.0))
        report = await adopting
        assert isinstance(report.stopped_by, UnavailableError)
        assert "something else is at work on the object 'old/a'" in str(report.stopped_by)
        gate.open()
        await deleting
        assert not is_there(machine)
        assert await store.services.adapters.catalog.intents.count() == 0

    run(tmp_path, scenario, faults)


def test_while_it_is_adopted_nobody_deletes_it(tmp_path: Path) -> None:
    faults = Faults()

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        machine.clock.advance(HOURS)
        faults.start()
        gate = faults.gate("catalog.records.commit_write#1")
        adopting = asyncio.ensure_future(adopt(store, "again"))
        await gate.reached()
        assert await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT) == 1
        gate.open()
        await adopting
        await settle(store, machine.clock)
        assert await store.retrieve_content("again/a") == b"bytes"
        assert await notes(machine) == [(KEY, "again/a")]
        (state,) = [row for row in await store.services.adapters.catalog.outbox.state() if row.kind == "delete_object"]
        assert (state.waiting, state.dead) == (0, 0)

    run(tmp_path, scenario, faults)


@pytest.mark.parametrize("mode", [FaultMode.CANCELLED_LATE, FaultMode.LOST])
def test_a_deletion_that_lands_late_harms_no_later_adoption(tmp_path: Path, mode: FaultMode) -> None:
    faults = Faults({"objects.delete#1": mode})

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        machine.clock.advance(HOURS)
        faults.start()
        with suppress(asyncio.CancelledError):
            await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)
        faults.stop()
        with pytest.raises(UnavailableError, match="something else is at work"):
            await store.services.adapters.catalog.intents.declare(KEY, "standard", lease=LEASE)
        await faults.land()
        await settle(store, machine.clock)
        assert not is_there(machine)
        assert await store.services.adapters.catalog.intents.count() == 0
        assert await notes(machine) == []

    run(tmp_path, scenario, faults)


def test_a_store_that_was_not_told_keeps_it_and_forgets(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        store.services.placements._placements["standard"] = _quiet(store)
        await adopt(store)
        await store.delete_content("a")
        await deliver(store, machine)
        assert is_there(machine)
        assert await notes(machine) == []

    run(tmp_path, scenario)


def _quiet(store: StorageOrchestrator) -> Any:
    return replace(store.services.placements.named("standard"), deletes_adopted=False)


def test_what_an_older_version_adopted_goes_too(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        _forget_notes(machine)
        await store.store_content("after", b"x")
        await store.delete_content("after")
        # While its content is there, whatever is deleted beside it.
        await machine.objects.put("old/b", b"b", {})
        await adopt(store)
        await store.delete_content("b")
        await deliver(store, machine)
        assert await notes(machine) == [(KEY, "a")]
        await store.delete_content("a")
        await deliver(store, machine)
        assert not machine.objects._contents.objects

    run(tmp_path, scenario)


def test_what_is_also_adopted_by_an_unnoted_content_stays(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store, "older")
        _forget_notes(machine)
        await adopt(store)
        await store.delete_content("a")
        await settle(store, machine.clock)
        assert await store.retrieve_content("older/a") == b"bytes"

    run(tmp_path, scenario)


def test_without_a_note_it_stays(tmp_path: Path) -> None:
    """As after a catalog was made anew: what is not known is never deleted."""

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        _forget_notes(machine)
        await settle(store, machine.clock)
        assert is_there(machine)

    run(tmp_path, scenario)


def test_a_recovering_catalog_deletes_none(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        with closing(sqlite3.connect(machine.database)) as raw, raw:
            raw.execute("UPDATE installation SET recovering = 1")
        assert (await store.erase_content("a")).steps["objects"] == 0
        assert is_there(machine)
        with closing(sqlite3.connect(machine.database)) as raw, raw:
            raw.execute("UPDATE installation SET recovering = 0")
        await settle(store, machine.clock)
        assert not is_there(machine)

    run(tmp_path, scenario)


def test_keys_that_an_installation_made_stay_whoever_adopted_them(tmp_path: Path) -> None:
    strange = "other/standard/a/00000000000000000000000000"

    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await machine.objects.put(strange, b"theirs", {})
        await store.import_tree("s3://media/other", "theirs", in_place=True)
        await store.delete_content("theirs/standard/a/00000000000000000000000000")
        await settle(store, machine.clock)
        assert await machine.objects.fetch(strange, 0, 6) == b"theirs"

    run(tmp_path, scenario)


def test_a_look_that_fails_is_repeated_and_one_that_takes_too_long_deletes_nothing(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await adopt(store)
        await store.delete_content("a")
        find = machine.objects.head
        answers: list[Any] = [UnavailableError("no answer"), None]

        async def slow(key: str) -> ObjectHead | None:
            answer = answers.pop(0) if answers else None
            if isinstance(answer, UnavailableError):
                raise answer
            if not answers:
                machine.clock.advance(LEASE)
            return await find(key)

        machine.objects.head = slow  # type: ignore[method-assign]
        await deliver(store, machine)
        assert is_there(machine)
        await store.services.cleaner.run()
        for _ in range(3):
            machine.clock.advance(HOURS)
            await store.services.cleaner.run()
        await deliver(store, machine)
        assert is_there(machine)
        machine.objects.head = find  # type: ignore[method-assign]
        await settle(store, machine.clock)
        assert not is_there(machine)

    run(tmp_path, scenario)


def _forget_notes(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.database)) as raw, raw:
        raw.execute("DELETE FROM adopted")


def test_a_stamp_proves_only_what_it_tells() -> None:
    seen = stamp_of(ObjectHead(Bytes(1), Timestamp(7_400_000), {}, etag="x"))
    assert seen.is_kept_by(stamp_of(ObjectHead(Bytes(1), Timestamp(7_900_000), {}, etag="x")))
    assert not seen.is_kept_by(stamp_of(ObjectHead(Bytes(1), Timestamp(7_400_000), {}, etag="y")))
    assert not seen.is_kept_by(stamp_of(ObjectHead(Bytes(1), Timestamp(8_400_000), {}, etag="x")))
    assert not seen.is_kept_by(stamp_of(ObjectHead(Bytes(2), Timestamp(7_400_000), {}, etag="x")))
