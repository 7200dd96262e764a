"""What is learned is shared by processes, survives restarts, forgets what is erased, and fails nobody."""

import asyncio
from pathlib import Path

import pytest

from tests.services.predicting import IDLE, LearningMachine, learning_of, predictor_of, read_sessions, related
from thermocline import StorageOrchestrator
from thermocline.domain.errors import BusyError
from thermocline.domain.units import Seconds
from thermocline.domain.work import Cursor
from thermocline.services.learning import CURSOR, LEASE
from thermocline.testing.clock import START
from thermocline.testing.faults import FaultMode, Faults


async def stored(store: StorageOrchestrator, *names: str) -> None:
    for name in names:
        await store.store_content(name, name.encode())
    await store.services.background.drain()


def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await stored(store, "a", "b", "c")
            await read_sessions(machine, store, "a", "b")
            assert related(store, "a") == ["b"]
            assert await learning_of(store).sync()
            await read_sessions(machine, store, "c", "a", count=1)
        async with machine.learning() as store:
            assert related(store, "a") == ["b"], "what came after the last save is lost in a crash"
            assert learning_of(store).state_bytes > 0

    asyncio.run(scenario())


def test_at_its_end_a_process_learns_from_open_sessions_and_saves(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await stored(store, "a", "b")
            for name in ("a", "b"):
                await store.retrieve_content(name, {"session_id": 7})
            await learning_of(store).close(max_wait=Seconds(5.0))
        async with machine.learning() as store:
            assert related(store, "b") == ["a"]
            await learning_of(store).close(max_wait=Seconds(5.0))
            assert learning_of(store).saves == 0, "nothing new is not saved"

    asyncio.run(scenario())


def test_processes_add_up_what_they_learned(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as one, machine.learning() as two:
            await stored(one, "a", "b", "c")
            await read_sessions(machine, one, "a", "b")
            await read_sessions(machine, two, "a", "c")
            assert await learning_of(one).sync()
            assert await learning_of(two).sync()
            assert sorted(related(two, "a")) == ["b", "c"]
            assert await learning_of(one).sync()
            assert sorted(related(one, "a")) == ["b", "c"]
            chance = predictor_of(two).predict("a", limit=1)[0].access_probability
            for _ in range(5):
                assert await learning_of(one).sync()
                assert await learning_of(two).sync()
            assert predictor_of(two).predict("a", limit=1)[0].access_probability == pytest.approx(chance, rel=0.01)
            assert (learning_of(one).saves, learning_of(two).saves) == (1, 1), "nothing new is not saved"

    asyncio.run(scenario())


def test_one_process_at_a_time_saves(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await stored(store, "a", "b")
            await read_sessions(machine, store, "a", "b")
            elections = store.services.adapters.catalog.elections
            assert await elections.win(CURSOR, "another", lease=LEASE)
            assert not await learning_of(store).sync()
            erasing = asyncio.ensure_future(store.erase_content("a"))
            for _ in range(25):
                await asyncio.sleep(0.02)
                await machine.clock.run_for(0.5)
            with pytest.raises(BusyError, match="another process"):
                await erasing
            await elections.resign(CURSOR, "another")
            assert (await store.erase_content("a")).steps["predictor_entries"] == 0
            assert related(store, "b") == []
            assert await learning_of(store).sync()

    asyncio.run(scenario())


@pytest.mark.parametrize("damage", ["", "0", "not base 85 \x7f", "Wo~0{" * 100])
def test_a_damaged_state_is_refused_counted_and_replaced(tmp_path: Path, damage: str) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as store:
            await stored(store, "a", "b")
            await store.services.adapters.catalog.cursors.save(CURSOR, Cursor(damage, START, done=5))
        async with machine.learning() as store:
            assert learning_of(store).refused == (damage != "")
            await read_sessions(machine, store, "a", "b")
            assert await learning_of(store).sync()
            assert related(store, "a") == ["b"]
        async with machine.learning() as store:
            assert related(store, "a") == ["b"]

    asyncio.run(scenario())


def test_erasing_takes_a_content_out_of_all_that_was_learned(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as one, machine.learning() as two:
            await stored(one, "a", "b", "gone")
            await read_sessions(machine, one, "a", "gone", "b")
            assert await learning_of(one).sync()
            assert await learning_of(two).sync()
            await read_sessions(machine, two, "gone", "b", count=2)
            erasure = await one.erase_content("gone")
            assert erasure.steps["predictor_entries"] > 0
            assert related(one, "gone") == []
            assert await learning_of(two).sync()
            for store in (one, two):
                assert (related(store, "gone"), related(store, "b")) == ([], ["a"])
            await read_sessions(machine, two, "a", "b", count=1)
            assert await learning_of(two).sync()
        async with machine.learning() as store:
            assert (related(store, "gone"), related(store, "b")) == ([], ["a"])

    asyncio.run(scenario())


@pytest.mark.parametrize("saved_before", [False, True])
def test_what_others_have_not_saved_yet_does_not_bring_it_back(tmp_path: Path, *, saved_before: bool) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        async with machine.learning() as other, machine.process() as store:
            await stored(other, "a", "gone")
            await read_sessions(machine, other, "a", "gone")
            if saved_before:
                assert await learning_of(other).sync()
                await read_sessions(machine, other, "a", "gone")
            # A process that itself has learned nothing.
            assert learning_of(store).predictor is None
            await store.erase_content("gone")
            assert (learning_of(store).predictor is None) != saved_before
            assert await learning_of(other).sync()
            assert related(other, "a") == []
        async with machine.learning() as later:
            assert related(later, "a") == []

    asyncio.run(scenario())


POINTS = ("catalog.elections.win", "catalog.cursors.load", "catalog.cursors.save", "catalog.elections.resign")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("mode", [FaultMode.LOST, FaultMode.BEFORE, FaultMode.AFTER])
def test_a_save_that_fails_loses_nothing_and_fails_nobody(tmp_path: Path, point: str, mode: FaultMode) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        faults = Faults({f"{point}#1": mode})
        async with machine.learning(faults) as store:
            await stored(store, "a", "b")
            await read_sessions(machine, store, "a", "b")
            faults.start()
            try:
                assert not await learning_of(store).sync()
                assert learning_of(store).failures == 1
            except BaseException:  # noqa: BLE001 - the process died
                assert mode is not FaultMode.LOST
            assert faults.fired
            faults.stop()
            if mode is FaultMode.LOST:
                machine.clock.advance(LEASE)
                await learning_of(store).sync()
                assert await learning_of(store).sync()
        machine.clock.advance(LEASE)
        async with machine.learning() as store:
            if mode is FaultMode.LOST:
                assert related(store, "a") == ["b"]
            erased = await store.erase_content("a")
            assert erased
            assert related(store, "b") == []

    asyncio.run(scenario())


def test_the_first_read_of_a_user_wakes_what_learns(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, save_every="10s")
        async with machine.learning() as store:
            await stored(store, "a", "b")
        async with machine.process() as store:
            learning = learning_of(store)
            running = asyncio.ensure_future(learning.run())
            await asyncio.sleep(0.05)
            assert learning_of(store).predictor is None, "commands that serve no users never make it"
            await store.retrieve_content("a", {"user_id": "u"})
            assert await learning.open() is learning.predictor
            for name in ("a", "b"):
                await store.retrieve_content(name, {"user_id": "u"})
            await machine.clock.run_for(IDLE + 20)
            # It may have saved before the session was over.
            for _ in range(100):
                if learning.saves and related(store, "a") == ["b"]:
                    break
                await asyncio.sleep(0.02)
                await machine.clock.run_for(5)
            assert learning.saves
            assert related(store, "a") == ["b"]
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())


def test_a_bug_in_the_predictor_ends_no_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, save_every="10s")
        async with machine.learning() as store:
            learning = learning_of(store)

            def broken(*_: object, **__: object) -> int:
                raise ZeroDivisionError

            predictor_of(store).learn = broken  # type: ignore[method-assign]
            learning._wanted.set()
            running = asyncio.ensure_future(learning.run())
            await machine.clock.run_for(30)
            assert learning.failures == 2
            assert not running.done()
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())


def test_a_catalog_that_does_not_answer_at_the_start_is_no_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path)
        faults = Faults({"catalog.cursors.load#1": FaultMode.LOST})
        machine.predictor = None
        async with machine.learning() as store:
            await stored(store, "a")
        async with machine.process(faults) as store:
            faults.start()
            await learning_of(store).open()
            assert learning_of(store).failures == 1

    asyncio.run(scenario())


def test_nothing_is_learned_where_that_is_switched_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = LearningMachine(tmp_path, enabled=False)
        async with machine.process() as store:
            await stored(store, "a")
            assert store.services.learning is None
            assert await store.retrieve_content("a", {"user_id": "u"}) == b"a"
            assert (await store.erase_content("a")).steps["predictor_entries"] == 0

    asyncio.run(scenario())
