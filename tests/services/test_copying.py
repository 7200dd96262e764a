"""Copying moves: whatever fails or comes between ends with one truth and no bytes left over."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.machine import PART_SIZE, SETTINGS, Machine, settle
from tests.services.moves import (
    ARCHIVE,
    COLD,
    COPY,
    HOT,
    LARGE,
    SMALL,
    WARM,
    check_only_live_objects,
    ledger,
    run,
    tier_of,
)
from thermocline import StorageOrchestrator
from thermocline.domain.errors import (
    ContentNotFoundError,
    MoveLostError,
)
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.ports.object_store import ObjectHead
from thermocline.services.moving import CLAIM_LEASE, DAMAGE_RETRY, HELD_RETRY
from thermocline.testing.faults import FaultMode, Faults


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_a_damaged_object_stays_where_it_is(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            key = (await store.store_content("a", body, initial_tier="hot")).object_key
            stored = machine.objects._contents.objects[key]
            machine.objects._contents.objects[key] = type(stored)(
                b"X" + body[1:], stored.modified_at, stored.attributes
            )
            outcome = await store.set_tier("a", COLD)
            assert (outcome.planned, outcome.record.object_key) == (True, key)
            assert outcome.error is not None
            assert outcome.error.startswith("IntegrityError: content 'a' is damaged")
            assert store.services.moving.failed == 1
            machine.clock.advance(2.0)
            assert await store.services.moving.run() == 1, "at first it may have raced an overwrite"
            move = (await store.stat("a")).move
            assert move is not None
            assert (move.due_at, move.attempts) == (later(machine.clock.now(), DAMAGE_RETRY), 2)
            assert await store.services.moving.run() == 0
            assert (await machine.remains())[0] == {key}
            machine.objects._contents.objects[key] = stored  # somebody has mended it
            machine.clock.advance(DAMAGE_RETRY)
            assert await store.services.moving.run() == 1
            assert await store.retrieve_content("a") == body
            assert await tier_of(store) is COLD

    run(scenario)


def test_a_missing_object_is_damage_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            key = (await store.store_content("a", SMALL, initial_tier="hot")).object_key
            machine.objects._contents.remove(key)
            outcome = await store.set_tier("a", COLD)
            assert outcome.error == f"ObjectMissingError: there is no object {key!r}"
            assert await tier_of(store) is HOT
            assert await machine.remains() == (set(), {key}, 0, 0)

    run(scenario)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_a_full_store_is_told_and_the_move_goes_on_when_there_is_room(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            key = (await store.store_content("a", body, initial_tier="hot")).object_key
            contents = machine.objects._contents
            contents._capacity = Bytes(len(body) + PART_SIZE // 32)
            outcome = await store.set_tier("a", COLD)
            assert outcome.planned
            assert outcome.error is not None
            assert outcome.error.startswith("OutOfSpaceError: the memory store holds")
            assert await machine.remains() == ({key}, {key}, 0, 0), "what was copied is gone already"
            assert machine.objects.used == len(body)
            for attempt, pause in ((2, 2.0), (3, 4.0), (4, 8.0)):
                move = (await store.stat("a")).move
                assert move is not None
                assert (move.last_error, move.due_at) == (outcome.error, later(machine.clock.now(), Seconds(pause)))
                machine.clock.advance(pause - 0.001)
                assert await store.services.moving.run() == 0
                machine.clock.advance(0.001)
                assert await store.services.moving.run() == 1
                assert store.services.moving.failed == attempt
            contents._capacity = None
            assert (await store.services.adapters.catalog.moves.state()).failing == 1
            assert not (await store.set_tier("a", COLD)).planned, "asking again tries again, due or not"
            assert await store.retrieve_content("a") == body
            assert (await machine.work_left()) == {"moves": 0, "ledger": 1, "restores": 0}

    run(scenario)


@pytest.mark.parametrize("point", [COPY, "objects.head#1", "catalog.intents.declare#1", "objects.fetch#1"])
def test_a_store_or_catalog_that_does_not_answer_delays_the_move(tmp_path: Path, point: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({point: FaultMode.LOST})
        async with machine.process(faults) as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            faults.start()
            outcome = await store.set_tier("a", COLD)
            assert faults.fired
            assert outcome.error is not None
            assert outcome.error.startswith("UnavailableError: ")
            faults.stop()
            machine.clock.advance(2.0)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is COLD
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)


def test_a_target_that_shows_other_than_what_was_put_gets_no_record(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            kept = (await store.store_content("a", SMALL, initial_tier="hot")).object_key
            head = machine.objects.head

            async def shorter(key: str) -> ObjectHead | None:
                found = await head(key)
                return found if found is None or key == kept else replace(found, size=Bytes(1))

            machine.objects.head = shorter  # type: ignore[method-assign]  # a store that lies
            outcome = await store.set_tier("a", COLD)
            assert outcome.error is not None
            assert "shows 1 bytes where 4 bytes were put" in outcome.error
            assert await machine.remains() == ({kept}, {kept}, 0, 0)

    run(scenario)


def test_a_commit_whose_answer_was_lost_is_found_to_be_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"catalog.moves.commit_move#1": FaultMode.LOST})
        async with machine.process(faults) as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            faults.start()
            outcome = await store.set_tier("a", COLD)
            assert (outcome.planned, outcome.error, outcome.record.tier) == (False, None, COLD)
            await settle(store, machine.clock)
            assert await store.retrieve_content("a") == SMALL
            await check_only_live_objects(machine, after_grace=True)
            assert len(await ledger(store)) == 1

    run(scenario)


async def overwrite(store: StorageOrchestrator) -> None:
    await store.store_content("a", b"new", initial_tier="warm")


async def delete(store: StorageOrchestrator) -> None:
    await store.delete_content("a")


async def erase(store: StorageOrchestrator) -> None:
    await store.erase_content("a")


async def hold(store: StorageOrchestrator) -> None:
    await store.update_metadata("a", held=True)


async def other_plan(store: StorageOrchestrator) -> None:
    await store.set_tier("a", ARCHIVE, wait=False)


async def other_move(store: StorageOrchestrator) -> None:
    await store.set_tier("a", WARM)


async def cancel(store: StorageOrchestrator) -> None:
    await store.set_tier("a", HOT)


async def expire(store: StorageOrchestrator) -> None:
    await store.update_metadata("a", expires_in=1.0)
    store.services.adapters.clock.advance(1.0)  # type: ignore[attr-defined]  # the tests' own clock
    await store.services.expiry.run()


RACES = {
    "overwrite": (overwrite, WARM, b"new"),
    "delete": (delete, None, None),
    "erase": (erase, None, None),
    "expire": (expire, None, None),
    "hold": (hold, HOT, None),
    "another plan": (other_plan, ARCHIVE, None),
    "another move": (other_move, WARM, None),
    "a change of mind": (cancel, HOT, None),
}


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("race", RACES)
def test_whatever_comes_while_it_is_copied_wins(tmp_path: Path, body: bytes, race: str) -> None:
    """The copy becomes garbage and is removed at once; what came is what counts."""
    change, tier, new = RACES[race]

    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            await store.store_content("a", body, initial_tier="hot")
            gate = faults.gate(COPY if body is SMALL else "objects.upload.complete#1", after=True)
            faults.start()
            moving = asyncio.create_task(store.set_tier("a", COLD))
            await gate.reached()
            await change(other)
            gate.open()
            if race in {"overwrite", "another plan", "another move", "a change of mind"}:
                with pytest.raises(MoveLostError):
                    await moving
            elif tier is None:
                with pytest.raises(ContentNotFoundError):
                    await moving
            else:
                assert (await moving).planned
            assert store.services.moving.lost == 1
            await check_only_live_objects(machine)
            assert not any(f"/{SETTINGS.tier(COLD).placement}/" in key for key in (await machine.remains())[0])
            await store.services.listener.poll()
            if race == "another plan":
                assert await other.services.moving.run() == 1
                await store.services.listener.poll()
            if race == "hold":
                machine.clock.advance(2.0)
                assert await store.services.moving.run() == 1
                move = (await store.stat("a")).move
                assert move is not None
                assert (move.last_error, move.due_at) == (
                    "the content is on hold",
                    later(machine.clock.now(), HELD_RETRY),
                )
            if tier is None:
                with pytest.raises(ContentNotFoundError):
                    await store.retrieve_content("a")
            else:
                assert await tier_of(store) is tier
                if tier is not ARCHIVE:
                    assert await store.retrieve_content("a") == (new or body)
            assert not [entry for entry in await ledger(store) if entry.to_tier is COLD]
            await other.update_metadata("a", held=False) if race == "hold" else None
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)


def test_held_content_is_moved_after_its_release(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            await store.set_tier("a", COLD, wait=False)
            await store.update_metadata("a", held=True)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is HOT
            await store.update_metadata("a", held=False)
            machine.clock.advance(HELD_RETRY)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is COLD

    run(scenario)


def test_two_workers_make_one_move(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as one, machine.process() as other:
            await one.store_content("a", SMALL, initial_tier="hot")
            await one.set_tier("a", COLD, wait=False)
            gate = faults.gate(COPY)
            faults.start()
            first = asyncio.create_task(one.services.moving.run())
            await gate.reached()
            assert await other.services.moving.run() == 0
            outcome = await other.set_tier("a", COLD)
            assert (outcome.planned, outcome.error) == (True, None), "somebody is at it"
            gate.open()
            assert await first == 1
            assert (one.services.moving.moved, other.services.moving.moved) == (1, 0)
            assert len(await ledger(one)) == 1
            await check_only_live_objects(machine)

    run(scenario)


def test_a_long_copy_keeps_its_claim_and_its_intent(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            await store.store_content("a", LARGE, initial_tier="hot")
            gate = faults.gate("objects.upload.write#3")
            faults.start()
            moving = asyncio.create_task(store.set_tier("a", COLD))
            await gate.reached()
            for _ in range(12):
                await _renewed(faults, machine)
                assert await other.services.moving.run() == 0, "nobody else begins it"
                assert await other.services.cleaner.run() == 0, "nobody takes its copy away"
            gate.open()
            assert not (await moving).planned
            assert await store.retrieve_content("a") == LARGE
            await check_only_live_objects(machine)

    async def _renewed(faults: Faults, machine: Machine) -> None:
        """Pass a third of the claim's time, and let everything that is due renew itself."""
        before, asleep = len(_renewals(faults)), machine.clock.sleeping
        machine.clock.advance(CLAIM_LEASE / 3)
        # Whoever is not asleep again would sleep from a later time on.
        while len(_renewals(faults)) < before + 2 or machine.clock.sleeping < asleep:  # noqa: ASYNC110 - a thread works
            await asyncio.sleep(0.0005)

    def _renewals(faults: Faults) -> list[str]:
        return [point for point in faults.points if ".renew#" in point]

    run(scenario)


def test_a_worker_that_sleeps_beyond_its_claim_commits_only_if_nobody_else_took_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults(chooser=lambda point: FaultMode.LOST if point.startswith("catalog.moves.renew") else None)
        async with machine.process(faults) as store, machine.process() as other:
            await store.store_content("a", SMALL, initial_tier="hot")
            gate = faults.gate(COPY, after=True)
            faults.start()
            moving = asyncio.create_task(store.set_tier("a", COLD))
            await gate.reached()
            with closing(sqlite3.connect(machine.database)) as raw, raw:
                raw.execute("UPDATE moves SET lease_until = 0")
            assert await other.services.moving.run() == 1
            assert other.services.moving.moved == 1
            gate.open()
            assert not (await moving).planned
            assert store.services.moving.lost == 1
            assert len(await ledger(store)) == 1
            await check_only_live_objects(machine)

    run(scenario)


def test_a_cancelled_move_stays_planned_and_waits_for_nobodys_claim(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            gate = faults.gate(COPY)
            faults.start()
            moving = asyncio.create_task(store.set_tier("a", COLD))
            await gate.reached()
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving
            faults.stop()
            assert await tier_of(store) is HOT
            assert (await machine.work_left())["moves"] == 1
            assert not (await store.set_tier("a", COLD)).planned
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)
