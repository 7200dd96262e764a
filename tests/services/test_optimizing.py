"""The policy at work on a real store: what it moves, plans, refuses and reports; what it costs, by its own ledger."""

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.services.moves import ARCHIVE, COLD, HOT, WARM, ledger, plan, run, tier_of
from tests.services.optimizing import BIG, DAY, limited, make_copies, pass_days, policy_machine, read
from thermocline import Settings
from thermocline.domain.errors import ContentNotFoundError, UnavailableError
from thermocline.domain.heat import DAY_MICROS
from thermocline.economics.bills import Moves, bill
from thermocline.economics.histories import history_of
from thermocline.economics.policies.policy import Setting
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.sheets import cost_sheet
from thermocline.interfaces.statistics import catalog_work
from thermocline.testing.clock import START
from thermocline.testing.faults import Faults
from thermocline.wiring.deciding import placement_prices


def test_what_is_silent_goes_down_in_two_steps_and_the_ledger_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            for name in ("a", "b", "c"):
                await store.store_content(name, BIG)
            await store.update_metadata("b", pinned=True)
            first = await store.optimize_storage_tiers()
            assert (first.examined, first.transitions, dict(first.refused)) == (3, 0, {})
            pass_days(machine, 8)
            assert (await store.optimize_storage_tiers(dry_run=True)).in_place == 2
            assert await tier_of(store) is HOT
            cooled = await store.optimize_storage_tiers()
            assert (cooled.in_place, cooled.copies, dict(cooled.refused)) == (2, 0, {"pinned": 1, "changed": 0})
            assert cooled.by_tiers == {("hot", "warm"): 2}
            assert (await tier_of(store), await tier_of(store, "b")) == (WARM, HOT)
            pass_days(machine, 30)
            await read(store, "c")
            dry = await store.optimize_storage_tiers(dry_run=True)
            report = await store.optimize_storage_tiers()
            assert dry.as_dict() | {"dry_run": False} == report.as_dict() | {"refused": dry.as_dict()["refused"]}
            assert (report.copies, report.copied_bytes, report.refused["pinned"]) == (1, len(BIG), 1)
            assert report.by_tiers == {("warm", "cold"): 1}
            assert report.cost_savings == pytest.approx(10.5, rel=1e-3)
            assert await tier_of(store) is WARM  # planned, and made by a worker
            again = await store.optimize_storage_tiers()
            assert (again.transitions, again.refused["already_planned"]) == (0, 1)
            await make_copies(store)
            assert (await tier_of(store), await tier_of(store, "b"), await tier_of(store, "c")) == (COLD, HOT, WARM)
            assert await store.retrieve_content("a") == BIG
            entry = (await ledger(store))[0]
            assert (entry.by_policy, entry.reason) == (True, "idle: silent")
            assert entry.forecast is not None
            assert entry.forecast.saving_usd_per_month == pytest.approx(10.5)
            done = await store.optimize_storage_tiers()
            assert done.transitions == 0

    run(scenario)


def test_it_bounds_itself_to_a_prefix_and_to_so_many(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            names = ["a", "a/1", "a/2", "a/\U0010ffff", "b/1", "\ue000", "\ue0001", "A"]
            for name in names:
                await store.store_content(name, BIG, initial_tier="warm")
            pass_days(machine, 40)
            seen: list[int] = []
            for prefix in ("", "a", "a/", "b", "\ue000", "nothing"):
                report = await store.optimize_storage_tiers(dry_run=True, prefix=prefix, progress=seen.append)
                assert report.examined == report.copies == sum(name.startswith(prefix) for name in names), prefix
            assert seen[0] == len(names)
            report = await store.optimize_storage_tiers(limit=3)
            assert (report.transitions, report.is_complete, len(report.examples)) == (3, False, 3)
            await make_copies(store)
            assert sum([await tier_of(store, name) is COLD for name in names]) == 3

    run(scenario)


@pytest.mark.parametrize(
    ("limits", "refusal", "planned"),
    [
        ({"daily_moves": 2}, "limit_moves", 2),
        ({"daily_bytes": 3500}, "limit_bytes", 3),
        ({"daily_usd": 0.0000201}, "limit_usd", 1),
        ({"daily_moves": 0}, "limit_moves", 0),
    ],
)
def test_a_day_has_limits_over_all_processes(
    tmp_path: Path, limits: dict[str, object], refusal: str, planned: int
) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path, **limits)
        async with machine.process() as store, machine.process() as other:
            for number in range(5):
                await store.store_content(f"c{number}", BIG, initial_tier="warm")
            pass_days(machine, 40)
            first, second = await asyncio.gather(*(each.optimize_storage_tiers() for each in (store, other)))
            assert first.copies + second.copies == planned
            third = await other.optimize_storage_tiers()
            assert (third.copies, third.refused[refusal]) == (0, 5 - planned)
            assert third.refused["already_planned"] == planned
            pass_days(machine, 1)
            tomorrow = await store.optimize_storage_tiers()
            assert tomorrow.copies == min(planned, 5 - planned)

    run(scenario)


def test_what_somebody_asked_for_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", BIG, initial_tier="warm")
            pass_days(machine, 40)
            assert await plan(store, ARCHIVE)
            report = await store.optimize_storage_tiers()
            assert (report.transitions, report.refused["already_planned"]) == (0, 1)
            await make_copies(store)
            assert await tier_of(store) is ARCHIVE
            assert (await store.optimize_storage_tiers()).transitions == 0

    run(scenario)


def test_copies_are_planned_in_the_window_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path, window="01:00-05:00", every="24h")
        async with machine.process() as store:
            await store.store_content("a", BIG, initial_tier="warm")
            await store.store_content("b", BIG)
            pass_days(machine, 40)
            report = await store.optimize_storage_tiers()
            assert (report.copies, report.refused["outside_window"]) == (0, 2)
            assert await tier_of(store, "b") is WARM  # that copies nothing
            assert await store.services.optimizing.work() == 0
            pass_days(machine, 1.5 / 24)
            assert await store.services.optimizing.work() == 2
            assert await store.services.moving.run() == 1  # the other has been WARM for too short a time
            assert await tier_of(store) is COLD

    run(scenario)


def test_its_costs_are_those_of_the_cost_model(tmp_path: Path) -> None:
    """Months, day by day: the moves down are those of the replay, and the ledger's costs those of the bill."""
    reads = {
        "daily": list(range(0, 120, 2)),
        "once": [0],
        "rarely": [0, 20, 75],
        "back": [0, *range(90, 130)],
    }
    days = 160

    async def scenario() -> None:
        machine = policy_machine(tmp_path, minimum_stay="0")
        settings: Settings = machine.settings
        async with machine.process() as store:
            for name in reads:
                await store.store_content(name, BIG, initial_tier="warm")
            for day in range(days):
                await store.optimize_storage_tiers()
                await make_copies(store)
                for name, when in reads.items():
                    if day in when:
                        await read(store, name)
                pass_days(machine, 1)
            entries = [entry for entry in reversed(await ledger(store)) if entry.copied]
        names = list(reads)
        history = history_of(
            [START / 1e6 + day * DAY for name in names for day in reads[name]] + [START / 1e6 + (days - 1) * DAY],
            [names.index(name) for name in names for _ in reads[name]] + [len(names)],
            [len(BIG)] * (sum(map(len, reads.values())) + 1),
        )
        classes = [placement_prices(settings, name) for name in ("standard", "infrequent")]
        sheet = cost_sheet([each for each in classes if each is not None], history.sizes)
        rows = sorted(
            (names.index(entry.content_id), (entry.moved_at - START) // DAY_MICROS, int(entry.to_tier is COLD))
            for entry in entries
        )
        made = Moves(
            np.array([row[0] for row in rows], np.int32),
            np.array([row[1] for row in rows], np.int32),
            np.array([row[2] for row in rows], np.int8),
        )
        replayed = replay(history, RULES["idle"](Setting(sheet.classes, sheet, history.before(0), 0)), 0).moves
        goes_down = (replayed.classes == 1) & (replayed.objects < len(names))
        down = set(zip(replayed.objects[goes_down].tolist(), replayed.days[goes_down].tolist(), strict=True))
        ours = {(row[0], row[1]) for row in rows if row[2] == 1}
        assert {each for each in ours if each[0] != names.index("back")} == {
            each for each in down if each[0] != names.index("back")
        }
        assert len(rows) >= 5
        paid = bill(history, made, sheet, 0)
        told = 0.0
        for entry in entries:
            assert entry.forecast is not None
            number, day = names.index(entry.content_id), (entry.moved_at - START) // DAY_MICROS
            told += entry.forecast.cost_usd
            # The model moves down by the vendor's rule, and up for nothing on the day after a read; we copy.
            in_hand = day - 1 in reads[entry.content_id]
            if entry.to_tier is COLD:
                told -= float(sheet.leaving[0, number])
            elif in_hand:
                told -= float(sheet.leaving[1, number])
        assert paid.moves + paid.early_deletion + paid.egress == pytest.approx(told)

    run(scenario)


def test_savings_are_told_as_predicted_and_as_they_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            for name in ("quiet", "busy"):
                await store.store_content(name, BIG, initial_tier="warm")
            pass_days(machine, 40)
            await store.optimize_storage_tiers()
            await make_copies(store)
            pass_days(machine, 30.4375)
            await read(store, "busy", times=5)
            report = await store.services.saving.read()
            sums = report.by_reason["idle: silent"]
            assert (sums.moves, sums.copies, sums.unknown, report.is_complete) == (2, 2, 0, True)
            assert sums.predicted_usd_per_month == pytest.approx(21.0)
            assert 0 < sums.cost_usd < 1e-3
            assert sums.predicted_usd == pytest.approx(21.0 - sums.cost_usd, abs=1e-9)
            # Each read of the busy one cost 10 USD more than where it was.
            assert sums.realised_usd == pytest.approx(21.0 - 5 * (10.0 + 0.0006 / 1000) - sums.cost_usd, abs=1e-9)
            assert report.as_dict()["total"] == report.as_dict()["by_reason"]["idle: silent"]

    run(scenario)


@pytest.mark.parametrize("minimum_stay", ["7d", "40d"])
def test_an_explanation_comes_true(tmp_path: Path, minimum_stay: str) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path, minimum_stay=minimum_stay)
        async with machine.process() as store:
            await store.store_content("a", BIG)
            await store.store_content("aa", BIG)
            found = (await store.explain_tier("a")).as_dict()
            assert (found["tier"], found["why"]["reason"], found["decision"]["refusal"]) == (
                "hot",
                "stored there",
                None,
            )
            turns = [(turn["days"], turn["tier"]) for turn in found["would_change"]]
            assert [tier for _, tier in turns] == ["warm", "cold"]
            costs = {cost["placement"]: cost for cost in found["costs"]}
            assert costs["standard"]["storage_usd_per_month"] == pytest.approx(23)
            assert costs["infrequent"]["storage_usd_per_month"] == pytest.approx(12.5)
            assert [name for name, cost in costs.items() if cost["here"]] == ["standard"]
            assert [name for name, cost in costs.items() if cost["open_to_policies"]] == ["standard", "infrequent"]
            # Day by day it happens when it was told.
            happened = []
            for day in range(1, turns[-1][0] + 1):
                pass_days(machine, 1)
                before = await tier_of(store)
                await store.optimize_storage_tiers()
                await make_copies(store)
                if await tier_of(store) is not before:
                    happened.append((day, (await tier_of(store)).value))
            assert happened == turns
            later = (await store.explain_tier("a")).as_dict()
            assert later["why"]["reason"] == "idle: silent"
            back = [turn for turn in later["would_change"] if turn["tier"] in {"hot", "warm"}]
            assert len(back) == 1
            for _ in range(back[0]["days"] - 1):
                await read(store, "a")
                assert (await store.optimize_storage_tiers(dry_run=True)).by_tiers == {}
                pass_days(machine, 1)

    run(scenario)


def test_there_is_nothing_to_explain_of_what_does_not_exist(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with policy_machine(tmp_path).process() as store:
            with pytest.raises(ContentNotFoundError):
                await store.explain_tier("a")

    run(scenario)


def test_copies_into_a_store_are_paced(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        limited(machine, moves_at_once=2, moves_per_second=0.5)
        begun: list[int] = []

        def note(point: str) -> None:
            # By the first thing that a copy does: how long it then takes is the machine's affair, not the pace's.
            if point.startswith("catalog.intents.declare"):
                begun.append(machine.clock.now())

        faults = Faults(chooser=note)
        async with machine.process(faults) as store:
            for number in range(3):
                await store.store_content(f"c{number}", b"x" * 10, initial_tier="warm")
            pass_days(machine, 40)
            await store.optimize_storage_tiers()
            faults.start()
            moving = asyncio.ensure_future(store.services.moving.run())
            while not moving.done():
                await asyncio.sleep(0.001)
                await machine.clock.run_for(0.5)
            assert [await tier_of(store, f"c{number}") for number in range(3)] == [COLD] * 3
            assert len(begun) == 3
            assert all(later - earlier >= 2_000_000 for earlier, later in itertools.pairwise(begun)), begun
            work = (await catalog_work(store.services))["moves"]
            assert (work["waiting"], work["given_up"], work["seconds_left"]) == (0, 0, 0)
            assert work["made_per_second"] > 0

    run(scenario)


def test_what_fails_too_often_is_given_up_until_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        limited(machine, move_attempts=3)
        async with machine.process() as store:
            await store.store_content("a", BIG, initial_tier="warm")
            pass_days(machine, 40)
            await store.optimize_storage_tiers()

            async def fail(*_: object) -> None:
                raise UnavailableError("the store is down")

            with monkeypatch.context() as patched:
                patched.setattr(store.services.moving._copier, "copy", fail)
                for left in (1, 1, 0):
                    pass_days(machine, 1)
                    await store.services.moving.run()
                    assert (await store.services.adapters.catalog.moves.state()).waiting == left
            pass_days(machine, 1000)
            assert await store.services.moving.run() == 0
            record = await store.stat("a")
            assert record.move is not None
            assert (record.move.is_given_up, record.move.attempts) == (True, 3)
            assert record.move.last_error == "UnavailableError: the store is down"
            assert (await store.optimize_storage_tiers()).refused["already_planned"] == 1
            assert await store.services.moving.run() == 0
            assert not (await store.set_tier("a", "cold")).planned
            assert await tier_of(store) is COLD

    run(scenario)


def test_what_lies_where_no_tier_is_placed_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", BIG, initial_tier="cold")
        settings = machine.settings
        tiers = {tier: rules.model_copy(update={"placement": "standard"}) for tier, rules in settings.tiers.items()}
        machine.settings = settings.model_copy(update={"tiers": tiers})
        pass_days(machine, 400)
        async with machine.process() as store:
            assert (await store.optimize_storage_tiers()).transitions == 0
            assert (await store.explain_tier("a")).verdict is None

    run(scenario)
