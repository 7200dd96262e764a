"""Sweeps that workers share, enumerated: all orphans are found, and nothing else, whoever comes and goes when.

At every call of every port a worker dies and another goes on, or it pauses while others write and sweep. In the usual
run each pause meets two of four others, and nobody dies beside a call that only reads; in a soak all is tried.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.counts import SOAK
from tests.port_calls import only_reads
from tests.services.sweeps import LEASE_OVER, World, sweep
from thermocline import StorageOrchestrator
from thermocline.adapters.objects import memory
from thermocline.domain.units import Timestamp
from thermocline.testing.faults import FaultMode, Faults

pytestmark = pytest.mark.thorough


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PAGE", 2)


async def planned(folder: Path) -> Faults:
    """Return the record of an undisturbed sweep."""
    world, faults = World(folder), Faults()
    await world.fill()
    await sweep(world, faults)
    await world.end()
    return faults


@pytest.mark.parametrize("mode", [FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST])
def test_another_goes_on_wherever_a_worker_dies(tmp_path: Path, mode: FaultMode) -> None:
    async def scenario() -> None:
        whole = await planned(tmp_path / "plan")
        most = World(tmp_path).pages(whole)
        assert len(whole.points) > 50
        for number, point in enumerate(whole.points):
            if not SOAK and mode is not FaultMode.LOST and only_reads(point):
                continue  # it leaves what it left after its last change
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
                counted = await world.machine.query("SELECT done, skipped FROM cursors WHERE name = 'sweep/standard'")
                probes = sum("/store-time-probe/" in key for key in world.machine.objects._contents.objects)
                assert counted == [(12 + probes, 6)], point
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


OTHERS = (nobody, joins, takes_over, confirms)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_workers_and_a_writer_interleave(
    tmp_path: Path, other: Callable[[World, StorageOrchestrator], Awaitable[None]]
) -> None:
    async def scenario() -> None:
        whole = await planned(tmp_path / "plan")
        for number, point in enumerate(whole.points):
            if not SOAK and number % 2 != OTHERS.index(other) // 2:
                continue
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


def test_a_recovery_stops_a_sweep_at_its_next_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        whole = await planned(tmp_path / "plan")
        for number, point in enumerate(whole.points):
            world, faults = World(tmp_path / str(number)), Faults()
            await world.fill()
            gate = faults.gate(point)
            paused = asyncio.create_task(sweep(world, faults))
            await gate.reached()
            before = await world.quarantined()
            with contextlib.closing(sqlite3.connect(world.machine.database)) as raw, raw:
                raw.execute("UPDATE installation SET recovering = 1")
            gate.open()
            await paused
            taken = len(await world.quarantined() - before)
            assert taken == 0 or (taken <= memory._PAGE and "quarantine_unnamed" in point), point

    asyncio.run(scenario())
