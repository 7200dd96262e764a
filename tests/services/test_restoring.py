"""Restoring: one request and one charge however many ask, and then it is over."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.services.restores import (
    ARCHIVED,
    BODY,
    DAY,
    HOUR,
    READABLE,
    REQUESTED,
    SIZE,
    at_rest,
    machine,
    pass_time,
    put,
    reading,
    requests,
    run,
    stage,
)
from thermocline import StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ContentArchivedError,
    ContentNotFoundError,
    InvalidInputError,
    RestoreBudgetError,
    UnavailableError,
)
from thermocline.domain.restores import RestoreSpeed, RestoreStage, RestoreStatus
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind
from thermocline.services.restoring import AT_ONCE
from thermocline.testing.faults import FaultMode, Faults


def test_from_archived_to_readable_and_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            assert await stage(store) is ARCHIVED
            asked = await store.restore_content("a")
            began = here.clock.now()
            assert asked == RestoreStatus(REQUESTED, RestoreSpeed.STANDARD, 2, began, later(began, Seconds(HOUR)))
            with pytest.raises(ContentArchivedError) as told:
                await store.retrieve_content("a")
            assert told.value.eta == asked.eta
            here.clock.advance(HOUR)
            assert await store.services.restoring.run() == 1
            assert await store.retrieve_content("a") == b"body"
            assert await stage(store) is READABLE
            here.clock.advance(2 * DAY)
            assert await stage(store) is ARCHIVED, "also before anybody has looked after it"
            with pytest.raises(ContentArchivedError):
                await reading(store).retrieve(ContentId("a"))
            assert await store.services.restoring.run() == 1
            assert (await here.work_left())["restores"] == 0
            service = store.services.restoring
            assert (service.requested, service.arrived, service.expired) == (1, 1, 1)
            assert requests(here)[0] == 1

    run(scenario)


def test_fifty_readers_cause_one_restore(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults()
        async with here.process(faults) as store:
            await put(store, BODY)
            faults.start()
            told = await asyncio.gather(
                *(store.retrieve_content("a") for _ in range(25)),
                *(open_it(store) for _ in range(25)),
                return_exceptions=True,
            )
            etas = {error.eta for error in told if isinstance(error, ContentArchivedError)}
            assert etas == {later(here.clock.now(), Seconds(HOUR))}
            assert len([error for error in told if isinstance(error, ContentArchivedError)]) == 50
            assert [point for point in faults.points if "request_restore" in point] == ["objects.request_restore#1"]
            assert requests(here) == (1, pytest.approx(0.02))

    async def open_it(store: StorageOrchestrator) -> None:
        async with store.open_content("a", start=1, end=3):
            raise AssertionError("it is archived")

    run(scenario)


def test_who_may_not_change_it_asks_for_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            for _ in range(3):
                with pytest.raises(ContentArchivedError) as told:
                    await reading(store).retrieve(ContentId("a"), wait=Seconds(5.0))
                assert told.value.eta is None
                with pytest.raises(ContentArchivedError):
                    async with reading(store).open(ContentId("a")):
                        raise AssertionError("it is archived")
            await store.stat("a")
            await reading(store).stat(ContentId("a"))
            assert (await here.work_left())["restores"] == 0
            eta = (await store.restore_content("a")).eta
            with pytest.raises(ContentArchivedError) as told:
                await reading(store).retrieve(ContentId("a"))
            assert told.value.eta == eta, "but they are told of what others have asked for"

    run(scenario)


def test_reads_ask_for_nothing_where_the_settings_say_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path, on_read=False)
        async with here.process() as store:
            await put(store)
            with pytest.raises(ContentArchivedError) as told:
                await store.retrieve_content("a")
            assert told.value.eta is None
            assert requests(here)[0] == 0
            waiting = asyncio.create_task(store.retrieve_content("a", wait=2 * HOUR))
            await at_rest(here, waiting)
            assert requests(here)[0] == 1, "whoever waits has asked"
            await pass_time(here, waiting, HOUR)
            assert await waiting == b"body"

    run(scenario)


def test_asking_for_more_days_costs_nothing_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store, BODY)
            await store.restore_content("a", days=1)
            here.clock.advance(HOUR)
            await store.services.restoring.run()
            longer = await store.restore_content("a", days=30)
            assert longer.readable_until == later(here.clock.now(), Seconds(30 * DAY))
            assert longer.requested_at is not None
            assert requests(here) == (1, pytest.approx(0.02))
            same = await store.restore_content("a", days=3)
            assert same.readable_until == longer.readable_until, "never shorter than before"
            here.clock.advance(2 * DAY)
            await store.services.restoring.run()
            assert await store.retrieve_content("a") == BODY

    run(scenario)


def test_after_its_end_the_next_restore_is_paid_for_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            await store.restore_content("a")
            here.clock.advance(HOUR)
            await store.services.restoring.run()
            here.clock.advance(2 * DAY)  # nobody has looked after it: the row still says until when it was readable
            again = await store.restore_content("a")
            assert (again.stage, again.eta) == (REQUESTED, later(here.clock.now(), Seconds(HOUR)))
            assert requests(here)[0] == 2
            here.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.retrieve_content("a") == b"body"

    run(scenario)


def test_a_copy_that_came_sooner_than_we_know_is_read_and_not_asked_for_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            await store.restore_content("a")
            here.clock.advance(HOUR)
            assert await stage(store) is REQUESTED
            assert await store.retrieve_content("a") == b"body", "the row only says what we know"
            assert requests(here)[0] == 1

    run(scenario)


def test_the_days_budget(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path, daily_budget=0.05)
        async with here.process() as store:
            for name in "abc":
                await put(store, BODY, name)
            await store.restore_content("a")
            await store.restore_content("b")
            with pytest.raises(RestoreBudgetError, match=r"costs \$0.0200.*\$0.0400 of today's \$0.05") as told:
                await store.restore_content("c")
            assert told.value.retry_after == DAY, "it is midnight"
            with pytest.raises(ContentArchivedError) as archived:
                await store.retrieve_content("c")
            assert archived.value.eta is None, "a read is told that it is archived, not our money"
            with pytest.raises(RestoreBudgetError):
                await store.retrieve_content("c", wait=60.0)
            assert (await store.restore_content("a")).stage is REQUESTED, "what is under way costs nothing"
            assert (await store.restore_content("c", speed="bulk")).stage is REQUESTED, "it is free here"
            assert requests(here) == (3, pytest.approx(0.04))

    run(scenario)


@pytest.mark.parametrize(("budget", "asked"), [("none", REQUESTED), (0, None)])
def test_no_budget_and_a_budget_of_nothing(tmp_path: Path, budget: object, asked: RestoreStage | None) -> None:
    async def scenario() -> None:
        here = machine(tmp_path, daily_budget=budget)
        async with here.process() as store:
            await put(store, bytes(200 * SIZE // 100))
            if asked is None:
                with pytest.raises(RestoreBudgetError):
                    await store.restore_content("a")
                assert await stage(store) is ARCHIVED
                assert (await store.restore_content("a", speed="bulk")).stage is REQUESTED
            else:
                assert (await store.restore_content("a")).stage is asked

    run(scenario)


@pytest.mark.parametrize("given", [{"days": 0}, {"days": 366}, {"days": -1}, {"speed": "expedited"}, {"speed": "now"}])
def test_wishes_that_cannot_be(tmp_path: Path, given: Mapping[str, Any]) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            await store.store_content("hot", b"x")
            with pytest.raises(InvalidInputError):
                await store.restore_content("a", **given)
            if "expedited" not in given.values():  # a speed that another placement may have
                with pytest.raises(InvalidInputError):
                    await store.restore_content("hot", **given)
            assert requests(here)[0] == 0

    run(scenario)


def test_what_needs_no_restore_is_readable_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await store.store_content("hot", b"x")
            assert await store.restore_content("hot", wait=60.0) == RestoreStatus(READABLE)
            assert (await store.stat("hot")).restore is None
            for content_id in ("none", "gone"):
                await store.store_content(content_id, b"x", initial_tier="archive", expires_in=1.0)
                here.clock.advance(1.0)
                with pytest.raises(ContentNotFoundError):
                    await store.restore_content(content_id)
            assert (await here.work_left())["restores"] == 0

    run(scenario)


def test_a_restore_whose_request_failed_is_sent_again_for_the_same_money(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults({"objects.restore_state#1": FaultMode.LOST})
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            asked = await store.restore_content("a")
            assert asked.stage is REQUESTED
            assert (await store.services.adapters.catalog.restores.state(now=here.clock.now())).failing == 1
            here.clock.advance(2.0)
            assert await store.services.restoring.run() == 1
            here.clock.advance(HOUR)
            assert await store.services.restoring.run() == 1
            assert await store.retrieve_content("a") == b"body"
            assert requests(here)[0] == 1

    run(scenario)


def test_restored_content_is_moved_where_the_settings_say(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path, move_to="warm")
        async with here.process() as store:
            for name in ("a", "pinned", "held"):
                await put(store, b"body", name)
            await store.update_metadata("pinned", pinned=True)
            for name in ("a", "pinned", "held"):
                await store.restore_content(name)
            await store.update_metadata("held", held=True)
            here.clock.advance(HOUR)
            assert await store.services.restoring.run() == 3
            assert (await store.stat("a")).tier is StorageTier.ARCHIVE
            assert await store.services.moving.run() == 1
            tiers = {name: (await store.stat(name)).tier for name in ("a", "pinned", "held")}
            assert tiers == {"a": StorageTier.WARM, "pinned": StorageTier.ARCHIVE, "held": StorageTier.ARCHIVE}
            assert await store.retrieve_content("a") == b"body"
            (entry,) = await store.services.adapters.catalog.moves.ledger(content_id=None, limit=9)
            assert (entry.by_policy, entry.reason) == (True, "restored")

    run(scenario)


def test_restores_are_looked_after_side_by_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults()
        async with here.process(faults) as store:
            for number in range(AT_ONCE + 5):
                await put(store, b"body", f"c{number}")
                await store.restore_content(f"c{number}")
            here.clock.advance(HOUR)
            gates = [faults.gate(f"objects.restore_state#{number + 1}") for number in range(AT_ONCE)]
            faults.start()
            looking = asyncio.create_task(store.services.restoring.run())
            for gate in gates:
                await gate.reached()
            for gate in gates:
                gate.open()
            assert await looking == AT_ONCE + 5
            assert store.services.restoring.arrived == AT_ONCE + 5

    run(scenario)


def test_a_catalog_that_fails_once_keeps_no_other_restore_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults({"catalog.restores.progress#2": FaultMode.LOST})
        async with here.process(faults) as store:
            for number in range(AT_ONCE + 5):
                await put(store, b"body", f"c{number}")
                await store.restore_content(f"c{number}")
            here.clock.advance(HOUR)
            faults.start()
            with pytest.raises(UnavailableError):
                await store.services.restoring.run()
            stages = [await stage(store, f"c{number}") for number in range(AT_ONCE + 5)]
            assert stages == [READABLE] * len(stages), "the lost answer took effect, too"

    run(scenario)


def test_a_restore_of_an_object_that_is_gone_is_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            key = await put(store)
            await store.restore_content("a")
            await store.erase_content("a")
            assert key not in (await here.remains())[0]
            assert (await here.work_left())["restores"] == 0
            key = await put(store)
            await store.restore_content("a")
            await store.store_content("a", b"new")
            here.clock.advance(3 * HOUR)
            while await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT):
                pass
            assert key not in (await here.remains())[0]
            await store.services.restoring.run()
            assert (await here.work_left())["restores"] == 0

    run(scenario)


def test_a_restore_is_attended_to_by_one_of_two_workers(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults()
        async with here.process(faults) as one, here.process() as other:
            await put(one)
            await one.restore_content("a")
            here.clock.advance(HOUR)
            gate = faults.gate("objects.restore_state#1")
            faults.start()
            first = asyncio.create_task(one.services.restoring.run())
            await gate.reached()
            assert await other.services.restoring.run() == 0
            gate.open()
            assert await first == 1
            assert (one.services.restoring.arrived, other.services.restoring.arrived) == (1, 0)

    run(scenario)


def test_the_store_being_down_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults({"catalog.restores.request#1": FaultMode.LOST})
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            with pytest.raises(UnavailableError):
                await store.restore_content("a")
            assert requests(here)[0] == 1, "it took effect, only the answer was lost"
            assert (await store.restore_content("a")).stage is REQUESTED
            assert requests(here)[0] == 1
            here.clock.advance(121.0)  # the claim of whoever did not hear of it
            await store.services.restoring.run()
            here.clock.advance(HOUR)
            await store.services.restoring.run()
            assert await store.retrieve_content("a") == b"body"

    run(scenario)
