"""Sweeps that workers share: whoever comes and goes when, all orphans are found, and nothing else.

Enumerated: at every call of every port a worker dies and another goes on, or it pauses while others write and sweep.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.objects import memory
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds, Timestamp
from thermocline.services.sweep_plans import ALWAYS_ALLOWED
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

GRACE = Seconds(3 * 3600.0)
LEASE_OVER = Seconds(61.0)
CONTENTS = ("c0", "c1", "c2", "c3", "c4", "c5")
ORPHANS = ("a", "c0", "c2/x", "c2/y", "c2/z", "zz")
"""Before the first content, under one, in the middle, behind the last: of four shares of two contents, one has none."""


def settings(**limits: object) -> Settings:
    return Settings.model_validate(
        {
            "limits": {"sweep_share_size": 2, **limits},
            "placements": {"standard": {"objects": "main"}},
            "tiers": {"archive": {"placement": "standard"}},
        }
    )


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PAGE", 2)


class World:
    """A machine with contents and orphans, all of them old."""

    def __init__(self, folder: Path, **limits: object) -> None:
        folder.mkdir(exist_ok=True)
        self.machine = Machine(folder, settings=settings(**limits))
        self.orphans: set[str] = set()

    async def fill(self, contents: tuple[str, ...] = CONTENTS, orphans: tuple[str, ...] = ORPHANS) -> None:
        async with self.machine.process() as store:
            for name in contents:
                await store.store_content(name, b"live")
            await store.services.background.drain()
            for number, name in enumerate(orphans):
                token = new_token(self.machine.clock.now(), self.machine.random.randbytes(10))
                key = str(ObjectKey(store.services.placements.installation, "standard", ContentId(name), token))
                if number % 3 == 2:
                    await self.machine.objects.begin_upload(key, {})
                else:
                    await self.machine.objects.put(key, b"orphan", {})
                self.orphans.add(key)
        self.machine.clock.advance(GRACE)

    async def quarantined(self) -> set[str]:
        return {str(key) for (key,) in await self.machine.query("SELECT object_key FROM quarantine")}

    async def go_on(self) -> None:
        """Let another worker come when every lease is over, until nothing is under way."""
        for _ in range(2):
            self.machine.clock.advance(LEASE_OVER)
            async with self.machine.process() as store:
                await store.services.sweep.run(wait=False)

    async def end(self) -> None:
        """Nothing but orphans was quarantined, and all of them; what is left after the grace is what is named."""
        assert await self.quarantined() == self.orphans
        self.machine.clock.advance(GRACE)
        async with self.machine.process() as store:
            await store.services.sweep.empty_quarantine()
        for _ in range(2):
            await self.machine.recover()
        stored, named, rows, intents = await self.machine.remains()
        assert stored == named
        assert (rows, intents) == (0, 0)

    def pages(self, faults: Faults) -> int:
        return sum(point.startswith("objects.list_range.next") for point in faults.points)


async def sweep(world: World, faults: Faults) -> None:
    async with world.machine.process(faults) as store:
        faults.start()
        with contextlib.suppress(ProcessDied, StorageError):
            await store.services.sweep.run(wait=False)


async def planned(folder: Path) -> Faults:
    """Return the record of an undisturbed sweep."""
    world, faults = World(folder), Faults()
    await world.fill()
    await sweep(world, faults)
    await world.end()
    return faults


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


@pytest.mark.parametrize("mode", [FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST])
def test_another_goes_on_wherever_a_worker_dies(tmp_path: Path, mode: FaultMode) -> None:
    async def scenario() -> None:
        whole = await planned(tmp_path / "plan")
        most = World(tmp_path).pages(whole)
        assert len(whole.points) > 50
        for number, point in enumerate(whole.points):
            world = World(tmp_path / str(number))
            await world.fill()
            first, second = Faults({point: mode}), Faults()
            await sweep(world, first)
            assert first.fired, point
            world.machine.clock.advance(LEASE_OVER)
            ended = bool(
                await world.machine.query("SELECT 1 FROM cursors WHERE name = 'sweep/standard' AND ended_at > 0")
            )
            await sweep(world, second)
            if not ended:
                # The page that was not noted, and the step that finds the end.
                assert world.pages(first) + world.pages(second) <= most + 2, point
            await world.end()

    asyncio.run(scenario())


async def nobody(world: World, store: StorageOrchestrator) -> None:
    """Leave the sweep to the paused worker."""


async def joins(world: World, store: StorageOrchestrator) -> None:
    await store.services.sweep.run(wait=False)


async def takes_over(world: World, store: StorageOrchestrator) -> None:
    world.machine.clock.advance(LEASE_OVER)
    await store.services.sweep.run(wait=False)


async def confirms(world: World, store: StorageOrchestrator) -> None:
    world.machine.clock.advance(LEASE_OVER)
    await store.services.sweep.run(confirmed=True, wait=False)


async def writes(world: World, store: StorageOrchestrator) -> None:
    """Overwrite, create and delete in the middle of shares; what is new looks as if it were old."""
    before = set(world.machine.objects._contents.objects)
    await store.store_content("c2", b"newer")
    await store.store_content("c2/w", b"new")
    await store.delete_content("c4")
    contents = world.machine.objects._contents.objects
    for key in set(contents) - before:
        contents[key] = memory._Object(contents[key].data, Timestamp(0), contents[key].attributes)


@pytest.mark.parametrize("other", [nobody, joins, takes_over, confirms], ids=lambda other: other.__name__)
def test_workers_and_a_writer_interleave(
    tmp_path: Path, other: Callable[[World, StorageOrchestrator], Awaitable[None]]
) -> None:
    async def scenario() -> None:
        whole = await planned(tmp_path / "plan")
        for number, point in enumerate(whole.points):
            world, faults = World(tmp_path / str(number), sweep_max_share=1.0), Faults()
            await world.fill()
            gate = faults.gate(point)
            paused = asyncio.create_task(sweep(world, faults))
            await gate.reached()
            async with world.machine.process() as store:
                await writes(world, store)
                await other(world, store)
            gate.open()
            await paused
            await world.go_on()
            await world.end()
            async with world.machine.process() as store:
                assert [await store.retrieve_content(name) for name in ("c2", "c2/w", "c5")] == [
                    b"newer",
                    b"new",
                    b"live",
                ]

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
