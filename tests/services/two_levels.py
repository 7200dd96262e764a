"""Tests that run on a machine whose processes share a cache, or on both kinds of machines."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.machine import Machine
from thermocline.testing.contracts.running import in_event_loop
from thermocline.testing.shared_cache import SharedMemoryCache
from thermocline.testing.shared_counts import SharedMemoryCounts

SharedScenario = Callable[[Machine, SharedMemoryCache], Awaitable[None]]
Scenario = Callable[[Machine], Awaitable[None]]


def on_two_levels(scenario: SharedScenario) -> Callable[[Path], None]:
    """Run on a machine whose processes share a cache."""

    def test(tmp_path: Path) -> None:
        @in_event_loop
        async def run() -> None:
            machine = Machine(tmp_path)
            machine.shared = shared = SharedMemoryCache(machine.clock)
            machine.shared_counts = SharedMemoryCounts()
            await scenario(machine, shared)

        run()

    test.__doc__ = scenario.__doc__
    return test


def on_both(scenario: Scenario) -> Callable[[Path], None]:
    """Run on a machine with memory alone, then on one whose processes share a cache."""

    def test(tmp_path: Path) -> None:
        async def run() -> None:
            for name in ("alone", "shared"):
                (folder := tmp_path / name).mkdir()
                machine = Machine(folder)
                if name == "shared":
                    machine.shared = SharedMemoryCache(machine.clock)
                    machine.shared_counts = SharedMemoryCounts()
                await scenario(machine)

        asyncio.run(run())

    test.__doc__ = scenario.__doc__
    return test
