"""Moving: from every tier to every tier, through the caches, out of the archive."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.machine import SETTINGS, Machine, settle
from tests.services.moves import (
    ARCHIVE,
    BODIES,
    COLD,
    DAY,
    HOT,
    HOUR,
    SMALL,
    WARM,
    check_only_live_objects,
    ledger,
    plan,
    run,
    tier_of,
)
from thermocline import Settings
from thermocline.domain.errors import (
    ContentHeldError,
    ContentNotFoundError,
    PreconditionFailedError,
)
from thermocline.domain.restores import RestoreStage
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.testing.faults import FaultMode, Faults


@pytest.mark.thorough
@BODIES
@pytest.mark.parametrize("start", list(StorageTier))
@pytest.mark.parametrize("target", list(StorageTier))
@pytest.mark.parametrize("copies", [False, True], ids=["streamed", "within"])
def test_from_every_tier_to_every_tier(
    tmp_path: Path,
    body: bytes,
    start: StorageTier,
    target: StorageTier,
    copies: bool,
) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, copies=copies)
        async with machine.process() as store:
            receipt = await store.store_content("a", body, {"k": 1}, start, content_type="text/x", visibility="public")
            outcome = await store.set_tier("a", target)
            leaves_archive = start is ARCHIVE and target is not ARCHIVE
            assert outcome.planned == leaves_archive
            assert outcome.error is None
            if leaves_archive:
                assert await tier_of(store) is ARCHIVE
                assert outcome.record.move is not None
                assert outcome.record.restore is not None
                assert outcome.record.move.due_at == outcome.record.restore.eta
                machine.clock.advance(HOUR)
                assert await store.services.restoring.run() == 1
                assert await store.services.moving.run() == 1
            record = await store.stat("a")
            assert (record.tier, record.move) == (target, None)
            assert record.placement == SETTINGS.tier(target).placement
            assert (record.revision, record.etag, record.size) == (receipt.revision, receipt.etag, len(body))
            assert (dict(record.metadata), record.visibility) == ({"k": 1}, "public")
            assert record.version == receipt.version + (start is not target)
            moves = [(e.from_tier, e.to_tier, e.size, e.by_policy) for e in await ledger(store)]
            assert moves == ([] if start is target else [(start, target, len(body), False)])
            stays = SETTINGS.tier(start).placement == record.placement
            assert (record.object_key == receipt.object_key) == stays
            await check_only_live_objects(machine)
            if target is not ARCHIVE:
                assert await store.retrieve_content("a") == body
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)


def test_the_copy_says_what_it_is(tmp_path: Path) -> None:
    """So that a catalog can be made anew from the stores alone."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            created = (await store.stat("a")).created_at
            machine.clock.advance(HOUR)
            record = (await store.set_tier("a", "cold")).record
            head = await machine.objects.head(record.object_key)
            assert head is not None
            assert head.storage_class == "STANDARD_IA"
            told = "".join(f"{name}={value};" for name, value in sorted(head.attributes.items()))
            for said in ("cold", "hot", record.digest.hex(), str(record.revision), str(int(machine.clock.now()))):
                assert said in told, told
            assert str(int(created)) in told

    run(scenario)


def test_a_wish_without_a_copy_is_made_at_once_and_one_with_a_copy_waits_for_a_worker(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL)
            assert not (await store.set_tier("a", WARM, wait=False)).planned
            outcome = await store.set_tier("a", COLD, wait=False)
            assert outcome.as_dict() == {
                "content_id": "a",
                "tier": "warm",
                "target": "cold",
                "state": "planned",
                "placement": "standard",
                "revision": outcome.record.revision,
                "version": outcome.record.version,
                "error": None,
            }
            move = (await store.stat("a")).move
            assert move is not None
            assert (move.tier, move.reason, move.attempts, move.last_error) == (COLD, "asked for", 0, None)
            assert await store.services.moving.run() == 1
            assert await store.services.moving.run() == 0
            assert await tier_of(store) is COLD
            assert store.services.moving.moved == 2
            assert store.services.moving.copied_bytes == len(SMALL)

    run(scenario)


def test_the_wish_for_the_present_tier_drops_an_older_plan(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            await store.set_tier("a", COLD, wait=False)
            await store.set_tier("a", HOT)
            assert (await machine.work_left())["moves"] == 0
            await store.set_tier("a", COLD, wait=False)
            await store.set_tier("a", ARCHIVE, wait=False)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is ARCHIVE, "the latest wish wins"

    run(scenario)


def test_what_cannot_be_moved(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            with pytest.raises(ContentNotFoundError):
                await store.set_tier("none", COLD)
            await store.store_content("a", SMALL, expires_in=60.0)
            with pytest.raises(PreconditionFailedError):
                await store.set_tier("a", COLD, if_match='"1"')
            await store.update_metadata("a", held=True)
            for tier in (HOT, COLD):
                if tier is not (await tier_of(store)):
                    with pytest.raises(ContentHeldError):
                        await store.set_tier("a", tier)
            await store.set_tier("a", await tier_of(store))
            await store.update_metadata("a", held=False)
            machine.clock.advance(60.0)
            with pytest.raises(ContentNotFoundError):
                await store.set_tier("a", COLD)
            assert (await machine.work_left())["moves"] == 0

    run(scenario)


def test_pinned_content_is_moved_by_people_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            assert await plan(store, COLD, by_policy=True)
            await store.update_metadata("a", pinned=True)
            assert await store.services.moving.run() == 1
            assert (await tier_of(store), await machine.work_left()) == (HOT, {"moves": 0, "ledger": 0, "restores": 0})
            assert not (await store.set_tier("a", COLD)).planned
            assert await tier_of(store) is COLD

    run(scenario)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("age", "by_policy", "moves"), [(7, True, True), (8, True, False), (8, False, True)])
def test_what_a_policy_wished_a_week_ago_is_decided_anew(
    tmp_path: Path, age: int, by_policy: bool, moves: bool, held: bool
) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            assert await plan(store, COLD, by_policy=by_policy)
            if held:
                await store.update_metadata("a", held=True)
                assert await store.services.moving.run() == 1
            machine.clock.advance(Seconds(age * DAY))
            await store.update_metadata("a", held=False)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is (COLD if moves else HOT)
            assert (await machine.work_left())["moves"] == 0

    run(scenario)


def test_leaving_hot_evicts_here_at_once_and_elsewhere_at_the_next_look(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as here, machine.process() as there:
            for target in (WARM, COLD):
                await here.store_content("a", SMALL, initial_tier="hot")
                # Its prefill, come late, would rightly cache what is WARM by then.
                await here.services.background.drain()
                await there.services.listener.poll()
                for store in (here, there):
                    await store.retrieve_content("a")
                    assert store.services.reading.hit("a") is not None
                await here.set_tier("a", target)
                assert here.services.reading.hit("a") is None
                await there.services.listener.poll()
                assert there.services.reading.hit("a") is None
                for store in (here, there):
                    await store.retrieve_content("a")
                    assert (store.services.reading.hit("a") is None) == (target is COLD), "COLD is never cached"
                await here.delete_content("a")
                await there.services.listener.poll()

    run(scenario)


def test_a_read_that_began_before_the_move_fills_nothing_after_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", SMALL, initial_tier="hot")
            await store.services.background.drain()
            await store.services.cache.clear()
            gate = faults.gate("objects.fetch#1", after=True)
            faults.start()
            read = asyncio.create_task(store.retrieve_content("a"))
            await gate.reached()
            await store.set_tier("a", COLD)
            gate.open()
            assert await read == SMALL
            assert store.services.reading.hit("a") is None

    run(scenario)


@pytest.mark.parametrize("start", [WARM, COLD])
def test_entering_hot_fills_the_cache_and_counts_as_no_read(tmp_path: Path, start: StorageTier) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier=start)
            await store.services.background.drain()
            await store.services.cache.clear()
            await store.set_tier("a", HOT)
            await store.services.background.drain()
            entry = store.services.reading.hit("a")
            assert entry is not None
            assert (entry.payload, entry.tier, entry.version) == (SMALL, "hot", (await store.stat("a")).version)

    run(scenario)


def archive_machine(folder: Path, **restore: Any) -> Machine:
    given = SETTINGS.model_dump(mode="json", exclude_unset=True)
    given["restore"] = {**given["restore"], **restore}
    return Machine(folder, settings=Settings.model_validate(given))


def test_a_move_out_of_the_archive_waits_until_tomorrow_for_money(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = archive_machine(tmp_path, daily_budget=0.015)
        async with machine.process() as store:
            for name in "ab":
                await store.store_content(name, SMALL, initial_tier="archive")
            machine.clock.advance(HOUR)
            await store.set_tier("a", WARM)
            outcome = await store.set_tier("b", WARM)
            assert outcome.error is not None
            assert "today's $0.01 are spent" in outcome.error.replace("$0.02", "$0.01")
            assert outcome.record.move is not None
            assert outcome.record.move.due_at == later(machine.clock.now(), Seconds(23 * HOUR))
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.services.moving.run() == 1
            assert (await tier_of(store, "a"), await tier_of(store, "b")) == (WARM, ARCHIVE)
            machine.clock.advance(22 * HOUR)
            assert await store.services.moving.run() == 1
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.services.moving.run() == 1
            assert await tier_of(store, "b") is WARM
            assert await store.retrieve_content("b") == SMALL

    run(scenario)


def test_a_copy_that_expires_before_it_was_copied_is_restored_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="archive")
            await store.set_tier("a", HOT)
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            machine.objects._contents.restores.clear()  # sooner than it said
            assert await store.services.moving.run() == 1
            record = await store.stat("a")
            assert record.tier is ARCHIVE
            assert record.restore is not None
            assert record.restore.stage is RestoreStage.REQUESTED
            assert record.move is not None
            assert (record.move.due_at, record.move.last_error) == (record.restore.eta, None)
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is HOT
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)


def test_a_move_asks_for_no_longer_stay_of_what_is_readable(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults()
        async with machine.process(faults) as store:
            await store.store_content("a", SMALL, initial_tier="archive")
            await store.restore_content("a", days=1)
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            faults.start()
            assert not (await store.set_tier("a", COLD)).planned
            assert not [point for point in faults.points if "request_restore" in point]

    run(scenario)


def test_a_restore_that_is_overdue_keeps_no_worker_busy(tmp_path: Path) -> None:
    """Its arrival was expected now, the store does not say whether it came: the plan looks again later, not at once."""

    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="archive")
            await store.set_tier("a", HOT)
            machine.clock.advance(HOUR)
            tries = 0
            while await store.services.moving.run():
                tries += 1
                assert tries < 3
            move = (await store.stat("a")).move
            assert move is not None
            assert move.due_at == later(machine.clock.now(), Seconds(2.0))
            await store.services.restoring.run()
            machine.clock.advance(2.0)
            assert await store.services.moving.run() == 1
            assert await tier_of(store) is HOT

    run(scenario)


def test_an_archived_content_that_is_overwritten_while_its_move_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", SMALL, initial_tier="archive")
            await store.set_tier("a", HOT)
            await store.store_content("a", b"new", initial_tier="archive")
            machine.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.services.moving.run() == 0, "new bytes come with a tier of their own"
            assert await tier_of(store) is ARCHIVE
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)
            machine.clock.advance(2 * DAY)
            await store.services.restoring.run()
            assert (await machine.work_left())["restores"] == 0

    run(scenario)


def test_many_plans_are_made_whatever_some_of_them_meet(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path)
        faults = Faults({"objects.put#2": FaultMode.LOST, "objects.put#5": FaultMode.LOST})
        async with machine.process(faults) as store:
            names = [f"{number:02}" for number in range(11)]
            for name in names:
                await store.store_content(name, SMALL, initial_tier="hot")
                await store.set_tier(name, COLD, wait=False)
            faults.start()
            while await store.services.moving.run():
                pass
            moved = [name for name in names if await tier_of(store, name) is COLD]
            assert len(moved) == 9
            machine.clock.advance(2.0)
            while await store.services.moving.run():
                pass
            assert {await tier_of(store, name) for name in names} == {COLD}
            assert len(await ledger(store)) == 11
            await settle(store, machine.clock)
            await check_only_live_objects(machine, after_grace=True)

    run(scenario)
