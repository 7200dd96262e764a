"""Restoring: one request and one charge however many ask, what is waited for comes in time, and then it is over."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.machine import SETTINGS, Machine
from thermocline import Settings, StorageOrchestrator
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
from thermocline.services.reading import ReadingService
from thermocline.testing.faults import FaultMode, Faults

HOUR, DAY = 3600.0, 86400.0
READABLE, REQUESTED, ARCHIVED = RestoreStage.READABLE, RestoreStage.REQUESTED, RestoreStage.ARCHIVED
SIZE = 10**6
"""A standard restore of it costs $0.02: $0.01 a request, $10 a GB."""
BODY = bytes(SIZE)


def machine(folder: Path, **restore: Any) -> Machine:
    """A machine whose `[restore]` settings are these."""
    given = SETTINGS.model_dump(mode="json", exclude_unset=True)
    given["restore"] = {**given["restore"], **restore}
    return Machine(folder, settings=Settings.model_validate(given))


def requests(machine: Machine) -> tuple[int, Any]:
    """How many restores were charged, and how much."""
    with closing(sqlite3.connect(machine.database)) as raw:
        count, spent = raw.execute("SELECT sum(requests), sum(spent_usd) FROM restore_days").fetchone()
    return count or 0, spent or 0.0


def reading(store: StorageOrchestrator) -> ReadingService:
    return store.services.reading


async def put(store: StorageOrchestrator, body: bytes = b"body", content_id: str = "a") -> str:
    return (await store.store_content(content_id, body, initial_tier="archive")).object_key


async def stage(store: StorageOrchestrator, content_id: str = "a") -> RestoreStage:
    restore = (await store.stat(content_id)).restore
    assert restore is not None
    return restore.stage


async def at_rest(here: Machine, task: "asyncio.Task[Any]") -> None:
    """Return once the task waits for the clock, as the renewal of intents does since the first upload, or is done."""
    while here.clock.sleeping < 2 and not task.done():  # noqa: ASYNC110 - the catalog works in a thread of its own
        await asyncio.sleep(0.0005)


async def pass_time(here: Machine, task: "asyncio.Task[Any]", seconds: float, *, step: float = 60.0) -> None:
    """Let time pass in steps, the task at rest before each and after the last, or until it is done."""
    end = here.clock.monotonic() + seconds
    while True:
        await at_rest(here, task)
        left = end - here.clock.monotonic()
        if left <= 0 or task.done():
            return
        here.clock.advance(min(left, step))
        await asyncio.sleep(0.0005)  # the catalog works in a thread of its own


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await asyncio.wait_for(scenario(), 30)

    asyncio.run(all_of_it())


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


def test_a_read_that_waits_gets_the_bytes_as_soon_as_they_are_there(tmp_path: Path) -> None:
    """With nobody else at work, and with a store that is a moment later than we expect."""

    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults()
        gate = faults.gate("objects.request_restore#1")
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            waiting = asyncio.create_task(store.retrieve_content("a", wait=2 * HOUR))
            await gate.reached()
            here.clock.advance(0.02)  # the store gets the request that much later
            gate.open()
            await pass_time(here, waiting, HOUR - 0.01)
            assert not waiting.done(), "by our own reckoning it is there, by the store's it is not"
            await pass_time(here, waiting, 60.0, step=1.0)
            assert await waiting == b"body"
            assert requests(here)[0] == 1

    run(scenario)


def test_short_restores_are_not_polled_by_the_minute(tmp_path: Path) -> None:
    """A restore of five seconds that comes 20 ms late is noticed within a second."""

    async def scenario() -> None:
        given = SETTINGS.model_dump(mode="json", exclude_unset=True)
        given["placements"]["archive"]["restore"]["standard"]["delay"] = "5s"
        here = Machine(tmp_path, settings=Settings.model_validate(given))
        faults = Faults()
        gate = faults.gate("objects.request_restore#1")
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            asking = asyncio.create_task(store.restore_content("a"))
            await gate.reached()
            here.clock.advance(0.02)
            gate.open()
            eta = (await asking).eta
            assert eta is not None
            here.clock.advance(4.98)
            assert here.clock.now() == eta
            assert await store.services.restoring.run() == 1
            assert await stage(store) is REQUESTED
            here.clock.advance(0.5)
            assert await store.services.restoring.run() == 1
            assert await stage(store) is READABLE

    run(scenario)


def test_waiting_ends_with_the_time_given_and_with_whoever_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            waiting = asyncio.create_task(store.retrieve_content("a", wait=600.0))
            await pass_time(here, waiting, 600.0)
            with pytest.raises(ContentArchivedError) as told:
                await waiting
            assert told.value.eta == later(here.clock.now(), Seconds(HOUR - 600.0))
            status = asyncio.create_task(store.restore_content("a", wait=60.0))
            await pass_time(here, status, 60.0)
            assert (await status).stage is REQUESTED
            waiting = asyncio.create_task(store.retrieve_content("a", wait=HOUR))
            await at_rest(here, waiting)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await stage(store) is REQUESTED, "the restore goes on"
            assert requests(here)[0] == 1

    run(scenario)


def test_waiting_neither_asks_twice_nor_for_longer_than_was_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults()
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            waiting = asyncio.create_task(store.restore_content("a", days=1, wait=2 * HOUR))
            await pass_time(here, waiting, HOUR)
            status = await waiting
            assert (status.stage, status.days) == (READABLE, 1)
            assert status.readable_until is not None
            assert status.readable_until <= later(here.clock.now(), Seconds(DAY)), "not the two days of the settings"
            assert await store.retrieve_content("a", wait=60.0) == b"body"
            assert [point for point in faults.points if "request_restore" in point] == ["objects.request_restore#1"]

    run(scenario)


def test_a_store_that_does_not_answer_is_not_asked_all_the_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        faults = Faults(chooser=lambda point: FaultMode.LOST if point.startswith("objects.restore_state") else None)
        async with here.process(faults) as store:
            await put(store)
            faults.start()
            waiting = asyncio.create_task(store.restore_content("a", wait=2 * HOUR))
            await pass_time(here, waiting, HOUR)
            before = len(asked(faults))
            await pass_time(here, waiting, 60.0, step=0.05)
            assert 0 < len(asked(faults)) - before <= 40, "soon at first, then every other second"
            waiting.cancel()
            await asyncio.wait([waiting])

    def asked(faults: Faults) -> list[str]:
        return [point for point in faults.points if point.startswith("objects.restore_state")]

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


@pytest.mark.parametrize("by", ["reading", "waiting"])
def test_the_stores_word_counts_more_than_ours(tmp_path: Path, by: str) -> None:
    """The row says readable, the store refuses: it is restored and paid for anew."""

    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            await store.restore_content("a")
            here.clock.advance(HOUR)
            await store.services.restoring.run()
            here.objects._contents.restores.clear()
            assert await stage(store) is READABLE
            reading_it = asyncio.create_task(store.retrieve_content("a", wait=2 * HOUR if by == "waiting" else 0.0))
            await at_rest(here, reading_it)
            assert await stage(store) is REQUESTED
            assert requests(here)[0] == 2
            if by == "waiting":
                await pass_time(here, reading_it, HOUR)
                assert await reading_it == b"body"
            else:
                with pytest.raises(ContentArchivedError) as told:
                    await reading_it
                assert told.value.eta == later(here.clock.now(), Seconds(HOUR))

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


@pytest.mark.parametrize("end", ["overwrite", "delete", "overwrite in the archive"])
def test_content_that_changes_while_somebody_waits(tmp_path: Path, end: str) -> None:
    async def scenario() -> None:
        here = machine(tmp_path)
        async with here.process() as store:
            await put(store)
            waiting = asyncio.create_task(store.retrieve_content("a", wait=2 * HOUR))
            await at_rest(here, waiting)
            if end == "overwrite":
                await store.store_content("a", b"new")
            elif end == "delete":
                await store.delete_content("a")
            else:
                await put(store, b"new")
            await pass_time(here, waiting, 2 * HOUR)
            if end == "delete":
                with pytest.raises(ContentNotFoundError):
                    await waiting
            else:
                assert await waiting == b"new"

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
