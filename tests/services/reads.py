"""What tests of reading share: machines for bodies of several chunks, damage, and looking past the cache."""

from pathlib import Path
from typing import Any

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.adapters.objects.memory import MemoryObjectStore


def settings(**limits: Any) -> Settings:
    return Settings.model_validate({"limits": limits})


def large_parts(folder: Path, **limits: Any) -> Machine:
    """Return a machine whose store takes parts of the usual size, for bodies of several chunks."""
    machine = Machine(folder, settings=settings(**limits))
    machine.objects = MemoryObjectStore(machine.clock)
    return machine


async def uncached(store: StorageOrchestrator) -> None:
    await store.services.background.drain()
    await store.services.cache.clear()


def damage(machine: Machine, key: str, data: bytes) -> None:
    held = machine.objects._contents.objects[key]
    machine.objects._contents.objects[key] = type(held)(data, held.modified_at, held.attributes)


async def streamed(store: StorageOrchestrator, start: int = 0, end: int | None = None) -> bytes:
    async with store.open_content("a", start=start, end=end) as content:
        return b"".join([bytes(piece) async for piece in content])
