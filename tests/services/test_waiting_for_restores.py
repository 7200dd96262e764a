"""Waiting for a restore: it ends as soon as the bytes are there, and costs no more than not waiting."""

import asyncio
from pathlib import Path

import pytest

from tests.machine import SETTINGS, Machine
from tests.services.restores import (
    DAY,
    HOUR,
    READABLE,
    REQUESTED,
    at_rest,
    machine,
    pass_time,
    put,
    requests,
    run,
    stage,
)
from thermocline import Settings
from thermocline.domain.errors import (
    ContentArchivedError,
    ContentNotFoundError,
)
from thermocline.domain.units import Seconds, later
from thermocline.testing.faults import FaultMode, Faults


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
