"""A pass of the policy is shared by workers and outlives them: every content is decided on once, whoever dies."""

import asyncio
from pathlib import Path

import pytest

from tests.services.moves import COLD, ledger, run, tier_of
from tests.services.optimizing import BIG, limited, make_copies, pass_days, policy_machine
from thermocline.domain.heat import day_of
from thermocline.domain.units import Seconds
from thermocline.testing.faults import FaultMode, Faults, ProcessDied


def test_a_pass_goes_on_where_another_stopped_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thermocline.services.optimizing.CHUNK", 1)

    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            for number in range(5):
                await store.store_content(f"c{number}", BIG, initial_tier="warm")
            pass_days(machine, 40)
            looks = iter([True, True, True, True, False])
            monkeypatch.setattr(store.services.optimizing, "_may_plan", lambda _: next(looks))
            assert await store.services.optimizing.work() == 2
            state = await store.services.optimizing.state()
            assert state is not None
            assert (state.ended_at, state.examined, state.refused, state.changed) == (None, 2, 0, 2)
        async with machine.process() as store:
            assert [await store.services.optimizing.work() for _ in range(2)] == [3, 0]
            await make_copies(store)
            assert [await tier_of(store, f"c{number}") for number in range(5)] == [COLD] * 5
            state = await store.services.optimizing.state()
            assert state is not None
            assert (state.examined, state.refused, state.changed) == (5, 0, 5)
            assert state.ended_at is not None
            pass_days(machine, 0.9)
            assert await store.services.optimizing.work() == 0
            pass_days(machine, 0.2)
            assert await store.services.optimizing.work() == 5
            assert (await store.services.optimizing.state()) != state

    run(scenario)


@pytest.mark.parametrize("mode", [FaultMode.BEFORE, FaultMode.AFTER])
@pytest.mark.parametrize(
    "point",
    ["catalog.moves.plan#2", "catalog.policy_budget.take#2", "catalog.cursors.save#2", "catalog.cursors.save#3"],
)
def test_a_pass_that_died_goes_on_and_neither_repeats_nor_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, mode: FaultMode
) -> None:
    """Of three chunks the second is struck, or what notes one; who comes after does the rest, on the same day."""
    monkeypatch.setattr("thermocline.services.optimizing.CHUNK", 3)
    names = [f"c{number}" for number in range(9)]

    async def scenario() -> None:
        machine = policy_machine(tmp_path, daily_moves=10)  # 7, and the chunk that a crash takes of it
        async with machine.process() as store:
            for name in names:
                await store.store_content(name, BIG, initial_tier="warm")
            await store.update_metadata("c1", pinned=True)
            await store.update_metadata("c7", held=True)
        pass_days(machine, 40)
        faults = Faults({point: mode})
        async with machine.process(faults) as store:
            faults.start()
            with pytest.raises(ProcessDied):
                await store.services.optimizing.work()
        pass_days(machine, 1 / 24)  # its lease has ended
        async with machine.process() as store:
            state = await store.services.optimizing.state()
            assert state is not None
            noted = state.examined
            assert noted in {0, 3, 6}
            assert await store.services.optimizing.work() == 9 - noted
            state = await store.services.optimizing.state()
            assert state is not None
            assert state.ended_at is not None
            assert state.examined == 9
            await make_copies(store)
            moved = [entry.content_id for entry in await ledger(store)]
            assert sorted(moved) == [name for name in names if name not in {"c1", "c7"}]
            again = await store.optimize_storage_tiers(dry_run=True)
            assert (again.transitions, dict(again.refused)) == (0, {"pinned": 1, "held": 1})

    run(scenario)


@pytest.mark.parametrize("share_size", [1, 2, 3, 100])
def test_workers_share_a_pass_and_each_content_is_decided_on_once(tmp_path: Path, share_size: int) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        limited(machine, sweep_share_size=share_size)
        async with machine.process() as one, machine.process() as other:
            for number in range(9):
                await one.store_content(f"c{number}", BIG, initial_tier="warm")
            pass_days(machine, 40)
            first = one.services.optimizing.work()
            assert await first > 0
            pass_days(machine, 1)
            counts = list(await asyncio.gather(*(store.services.optimizing.work() for store in (one, other))))
            while sum(counts) < 9:
                found = await other.services.optimizing.work()
                assert found, counts
                counts.append(found)
            assert sum(counts) == 9
            assert [await store.services.optimizing.work() for store in (one, other)] == [0, 0]
            state = await other.services.optimizing.state()
            assert state is not None
            assert (state.examined, state.refused, state.changed) == (9, 9, 0)  # planned by the pass before
            spent = await one.services.adapters.catalog.policy_budget.spent(day_of(machine.clock.now()) - 1)
            assert spent.moves == 9

    run(scenario)


def test_a_share_of_a_worker_that_died_is_taken_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        limited(machine, sweep_share_size=2)
        async with machine.process() as store:
            for number in range(5):
                await store.store_content(f"c{number}", BIG, initial_tier="warm")
            pass_days(machine, 40)
            elections = store.services.adapters.catalog.elections
            assert await elections.win("optimize/1", "somebody", lease=Seconds(60.0))
            assert await store.services.optimizing.work() == 3
            assert await store.services.optimizing.work() == 0
            state = await store.services.optimizing.state()
            assert state is not None
            assert (state.ended_at, state.examined) == (None, 3)
            machine.clock.advance(61)
            assert [await store.services.optimizing.work() for _ in range(2)] == [2, 0]

    run(scenario)
