"""Sweeps that workers share: how the work is divided, and what stops it."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.services.sweeps import LEASE_OVER, World, sweep
from thermocline.adapters.objects import memory
from thermocline.domain.errors import UnavailableError
from thermocline.domain.units import Seconds
from thermocline.services.sweep_plans import ALWAYS_ALLOWED
from thermocline.testing.faults import FaultMode, Faults


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PAGE", 2)


def test_one_worker_does_all_shares(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill()
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert (report.listed, report.unnamed, report.quarantined) == (12, 6, 6)
            assert list(store.services.sweep.last_reports) == [report]
            assert store.services.sweep.swept_at == world.machine.clock.now()
            cursors = store.services.adapters.catalog.cursors
            assert await cursors.load("sweep/standard/3") is not None
            assert await cursors.load("sweep/standard/4") is None
            assert [report.quarantined for report in await store.services.sweep.run()] == [0]
        await world.end()

    asyncio.run(scenario())


def test_two_workers_share(tmp_path: Path) -> None:
    """While the first is in its share, the second does all others, and leaves the judgement to the first."""

    async def scenario() -> None:
        world, faults, second = World(tmp_path / "w"), Faults(), Faults()
        await world.fill()
        gate = faults.gate("objects.list_range.next#1")
        first = asyncio.create_task(sweep(world, faults))
        await gate.reached()
        async with world.machine.process(second) as store:
            second.start()
            assert await store.services.sweep.share() == []
            assert world.pages(second) >= 6
            assert await world.quarantined() == set(), "nothing before all was looked at"
            gate.open()
            await first
            assert [report.quarantined for report in await store.services.sweep.run()] == [0]
        await world.end()

    asyncio.run(scenario())


def test_who_waits_returns_when_the_others_are_done(tmp_path: Path) -> None:
    async def scenario() -> None:
        world, faults = World(tmp_path / "w"), Faults()
        await world.fill()
        gate = faults.gate("objects.list_range.next#1")
        first = asyncio.create_task(sweep(world, faults))
        await gate.reached()
        async with world.machine.process() as store:
            waiting = asyncio.create_task(store.services.sweep.run(wait=True))
            while not world.machine.clock.sleeping:  # noqa: ASYNC110 - the clock of tests tells nobody
                await asyncio.sleep(0.01)
            assert not waiting.done()
            gate.open()
            await first
            world.machine.clock.advance(Seconds(1.0))
            (report,) = await waiting
            assert (report.listed, report.quarantined) == (12, 6)
        await world.end()

    asyncio.run(scenario())


def test_helpers_begin_nothing_and_tell_what_others_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill()
        async with world.machine.process() as store, world.machine.process() as other:
            assert await store.services.sweep.share() == []
            assert await world.quarantined() == set()
            assert store.services.sweep.last_reports == ()
            reports = await other.services.sweep.run()
            assert await store.services.sweep.share() == [], "it was not this one that ended it"
            assert list(store.services.sweep.last_reports) == list(reports)

    asyncio.run(scenario())


def test_many_workers_begin_no_more_sweeps_than_few(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill()
        async with world.machine.process() as store, world.machine.process() as other:
            first = await store.services.sweep.run(wait=False, unless_within=Seconds(100.0))
            world.machine.clock.advance(Seconds(99.0))
            assert await other.services.sweep.run(wait=False, unless_within=Seconds(100.0)) == first
            world.machine.clock.advance(Seconds(1.0))
            (report,) = await other.services.sweep.run(wait=False, unless_within=Seconds(100.0))
            assert report.quarantined == 0

    asyncio.run(scenario())


def test_the_limit_is_on_all_shares_together(tmp_path: Path) -> None:
    """Each share has fewer orphans than may always be taken: together they are too many."""

    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill(orphans=tuple(f"c{number}/{name}" for number in (0, 2, 4, 5) for name in "xyz"))
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert (report.unnamed, report.quarantined) == (12, 0)
            assert report.refused is not None
            assert "12 of 18 objects" in report.refused
            assert await world.quarantined() == set()
            (report,) = await store.services.sweep.run(confirmed=True)
            assert (report.quarantined, report.refused) == (12, None)
        await world.end()

    asyncio.run(scenario())


def test_a_share_may_be_nothing_but_orphans(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill(orphans=tuple(f"zz/{number}" for number in range(ALWAYS_ALLOWED)))
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert (report.quarantined, report.refused) == (ALWAYS_ALLOWED, None)
        await world.end()

    asyncio.run(scenario())


async def die_before_taking(world: World) -> None:
    """Let a worker look at everything, judge, and die."""
    faults = Faults({"catalog.sweeps.quarantine_unnamed#1": FaultMode.BEFORE})
    await sweep(world, faults)
    assert faults.fired
    world.machine.clock.advance(LEASE_OVER)


def test_a_catalog_that_is_lost_after_the_judgement_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w", sweep_share_size=1000)
        await world.fill(contents=tuple(f"c{number:02}" for number in range(60)), orphans=("a", "zz"))
        await die_before_taking(world)
        with contextlib.closing(sqlite3.connect(world.machine.database)) as raw, raw:
            raw.execute("DELETE FROM contents")
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert report.refused is not None
            assert "--confirm" in report.refused
            assert report.quarantined == len(await world.quarantined()) <= 2 + ALWAYS_ALLOWED
            (again,) = await store.services.sweep.run()
            assert again.refused is not None

    asyncio.run(scenario())


def test_a_catalog_that_begins_to_recover_is_not_swept_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill()
        await die_before_taking(world)
        with contextlib.closing(sqlite3.connect(world.machine.database)) as raw, raw:
            raw.execute("UPDATE installation SET recovering = 1")
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert report.refused is not None
            assert await store.services.sweep.share() == []
            assert await world.quarantined() == set()

    asyncio.run(scenario())


def test_a_share_that_fails_is_gone_on_with(tmp_path: Path) -> None:
    """Nothing is judged as long as one share is not whole; the others' work is kept."""

    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill()
        whole = world.machine.objects.list_range

        async def broken(prefix: str, *, after: str, until: str | None) -> object:
            async for page in whole(prefix, after=after, until=until):
                yield page
                if until is None:
                    raise UnavailableError("the listing broke off")

        async with world.machine.process() as store:
            world.machine.objects.list_range = broken  # type: ignore[method-assign,assignment]
            for _ in range(2):
                with pytest.raises(UnavailableError):
                    await store.services.sweep.run()
            assert await world.quarantined() == set()
            world.machine.objects.list_range = whole  # type: ignore[method-assign]
            (report,) = await store.services.sweep.run()
            assert (report.listed, report.unnamed, report.quarantined) == (12, 6, 6)
        await world.end()

    asyncio.run(scenario())


def test_what_a_sleeper_of_an_older_sweep_writes_counts_for_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        world, faults = World(tmp_path / "w"), Faults()
        await world.fill()
        gate = faults.gate("catalog.cursors.save#2")
        sleeper = asyncio.create_task(sweep(world, faults))
        await gate.reached()
        async with world.machine.process() as store:
            world.machine.clock.advance(LEASE_OVER)
            await store.services.sweep.run(confirmed=True)
            second = Faults({"catalog.cursors.save#3": FaultMode.BEFORE})
            await sweep(world, second)
            gate.open()
            await sleeper
            await world.go_on()
            assert {report.listed for report in await store.services.sweep.run()} == {12}
        await world.end()

    asyncio.run(scenario())


@pytest.mark.parametrize(("contents", "shares"), [(0, 1), (1, 1), (2, 2), (3, 2), (200, 51), (126, 64)])
def test_shares_are_few_and_alike(tmp_path: Path, contents: int, shares: int) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "w")
        await world.fill(contents=tuple(f"c{number:03}" for number in range(contents)), orphans=())
        async with world.machine.process() as store:
            (report,) = await store.services.sweep.run()
            assert report.listed == contents
            catalog = store.services.adapters.catalog
            found = [await catalog.cursors.load(f"sweep/standard/{number}") for number in range(shares + 1)]
            assert [share.done for share in found[:shares] if share] != []
            assert found[shares] is None
            sizes = [share.done for share in found if share is not None]
            assert len(sizes) == shares
            assert max(sizes) - min(sizes[:-1] or sizes) <= 2

    asyncio.run(scenario())
