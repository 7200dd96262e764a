"""Every port call x {dies before, dies after, lost acknowledgement, cancelled before and after}, for every operation.

For each operation a run without faults lists its port calls. Then each cell (call, mode) is run once on a fresh
machine: the fault strikes, a new process recovers, and the machine must be whole. A cell that was not struck fails.
Requests that change the store are also sent late: they land when everything was recovered, and what they leave is
found again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentNotFoundError, PreconditionFailedError, StorageError
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

OLD, NEW = b"old " * 50, b"new " * 70
"""Both larger than a part: uploads of several parts."""
SMALL = b"small"
MODES = (FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED, FaultMode.CANCELLED_BEFORE)
LATE = (FaultMode.DIED_LATE, FaultMode.CANCELLED_LATE)
CHANGES_THE_STORE = ("put", "begin_upload", "write", "complete", "abort", "delete")


@dataclass(frozen=True)
class Operation:
    """One operation under test: what precedes it, what it does, and what may be true afterwards."""

    name: str
    prepare: Callable[[StorageOrchestrator, Machine], Awaitable[object]]
    act: Callable[[StorageOrchestrator, Machine], Awaitable[object]]
    before: bytes | None
    after: bytes | None


async def nothing(store: StorageOrchestrator, machine: Machine) -> None:
    """Prepare nothing."""


async def put_old(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", OLD)
    await store.services.background.drain()


async def put_new(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", NEW)


async def put_small(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", SMALL)


async def delete(store: StorageOrchestrator, machine: Machine) -> None:
    await store.delete_content("a")


async def erase(store: StorageOrchestrator, machine: Machine) -> None:
    await store.erase_content("a")


async def put_expiring(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", OLD, expires_in=60.0)
    machine.clock.advance(Seconds(61.0))


async def expire(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.expiry.run()


async def change(store: StorageOrchestrator, machine: Machine) -> None:
    await store.update_metadata("a", {"k": "v"}, visibility="public")


async def put_old_beside_orphans(store: StorageOrchestrator, machine: Machine) -> None:
    """One object and one unfinished upload that nothing names, as a paused sender leaves them."""
    await put_old(store, machine)
    installation = store.services.placements.installation
    for number in range(2):
        token = new_token(machine.clock.now(), machine.random.randbytes(10))
        key = str(ObjectKey(installation, "standard", ContentId(f"orphan{number}"), token))
        if number:
            await (await machine.objects.begin_upload(key, {})).write(b"x" * 64)
        else:
            await machine.objects.put(key, b"orphan", {})
    machine.clock.advance(Seconds(3 * 3600.0))


async def sweep(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.sweep.run()
    machine.clock.advance(Seconds(3 * 3600.0))
    await store.services.sweep.run()


async def overwrite_then_wait(store: StorageOrchestrator, machine: Machine) -> None:
    await put_old(store, machine)
    await put_new(store, machine)
    await store.services.background.drain()
    machine.clock.advance(Seconds(3 * 3600.0))


async def deliver(store: StorageOrchestrator, machine: Machine) -> None:
    from thermocline.domain.work import OutboxKind

    for kind in OutboxKind:
        await store.services.outbox.deliver(kind)


async def abandoned_upload(store: StorageOrchestrator, machine: Machine) -> None:
    """Leave what a process leaves that died in the middle of an upload."""
    await put_old(store, machine)
    catalog = await machine.catalog()
    token = new_token(machine.clock.now(), machine.random.randbytes(10))
    key = str(ObjectKey(await catalog.installation(), "standard", ContentId("a"), token))
    await catalog.intents.declare(key, "standard", lease=Seconds(10.0))
    await catalog.aclose()
    await machine.objects.put(key, b"half", {})
    machine.clock.advance(Seconds(11.0))


async def refused(store: StorageOrchestrator, machine: Machine) -> None:
    """Send all of a content and have its commit refused: it is cleaned up at once."""
    with contextlib.suppress(PreconditionFailedError):
        await store.store_content("a", NEW, if_none_match="*")


async def refused_small(store: StorageOrchestrator, machine: Machine) -> None:
    with contextlib.suppress(PreconditionFailedError):
        await store.store_content("a", SMALL, if_match='"1"')


async def clean(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.cleaner.run()
    machine.clock.advance(Seconds(121.0))
    await store.services.cleaner.run()


OPERATIONS = (
    Operation("write", nothing, put_new, None, NEW),
    Operation("write one part", nothing, put_small, None, SMALL),
    Operation("overwrite", put_old, put_new, OLD, NEW),
    Operation("overwrite by one part", put_old, put_small, OLD, SMALL),
    Operation("refused", put_old, refused, OLD, OLD),
    Operation("refused one part", put_old, refused_small, OLD, OLD),
    Operation("delete", put_old, delete, OLD, None),
    Operation("erase", put_old, erase, OLD, None),
    Operation("change", put_old, change, OLD, OLD),
    Operation("expire", put_expiring, expire, None, None),
    Operation("deliver", overwrite_then_wait, deliver, NEW, NEW),
    Operation("clean", abandoned_upload, clean, OLD, OLD),
    Operation("sweep", put_old_beside_orphans, sweep, OLD, OLD),
)


async def points_of(operation: Operation, folder: Path) -> list[str]:
    """Return the port calls of the operation, in order, from a run without faults."""
    machine = Machine(folder)
    async with machine.process() as store:
        await operation.prepare(store, machine)
    faults = Faults()
    async with machine.process(faults) as store:
        faults.start()
        await operation.act(store, machine)
        await store.services.background.drain()
    assert await read(machine) == operation.after
    return list(faults.points)


async def strike(operation: Operation, point: str, mode: FaultMode, folder: Path) -> bool:
    """Run one cell and check the machine afterwards; whether the fault struck."""
    machine = Machine(folder)
    async with machine.process() as store:
        await operation.prepare(store, machine)
    faults = Faults({point: mode})
    acknowledged = False
    async with machine.process(faults) as store:
        faults.start()
        try:
            await operation.act(store, machine)
            acknowledged = True
            await store.services.background.drain()
        except (ProcessDied, asyncio.CancelledError, StorageError):
            pass
        died = faults.dead
        if not died:
            # Not every fault kills: what the same process shows right now must be one of the two states, too.
            assert await shown(store) in {operation.before, operation.after}
    await machine.recover()
    if mode in LATE:
        await faults.land()
        await machine.recover()
    now = await read(machine)
    allowed = {operation.after} if acknowledged else {operation.before, operation.after}
    assert now in allowed, f"{operation.name}, {point}, {mode}: shows {now!r}"
    stored, named, rows, intents = await machine.remains()
    assert stored == named, f"{operation.name}, {point}, {mode}: orphans {stored - named}, missing {named - stored}"
    assert (rows, intents) == (0, 0), f"{operation.name}, {point}, {mode}: {rows} outbox rows, {intents} intents"
    return bool(faults.fired)


async def read(machine: Machine) -> bytes | None:
    async with machine.process() as store:
        return await shown(store)


async def shown(store: StorageOrchestrator) -> bytes | None:
    try:
        return await store.retrieve_content("a")
    except ContentNotFoundError:
        return None


def modes_of(point: str) -> tuple[FaultMode, ...]:
    """Return how a call can fail. A commit that lands late is one whose acknowledgement was lost."""
    port, _, call = point.partition("#")[0].rpartition(".")
    return MODES + (LATE if port.startswith("objects") and call in CHANGES_THE_STORE else ())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_cell(operation: Operation, tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    points = asyncio.run(points_of(operation, tmp_path / "plan"))
    assert points, "the operation makes no port call"
    cells = [(point, mode) for point in points for mode in modes_of(point)]
    visited = []
    for number, (point, mode) in enumerate(cells):
        folder = tmp_path / str(number)
        folder.mkdir()
        if asyncio.run(strike(operation, point, mode, folder)):
            visited.append((point, mode))
    unvisited = set(cells) - set(visited)
    assert not unvisited, f"cells never struck: {sorted(unvisited)}"
    print(f"{operation.name}: {len(points)} port calls, {len(cells)} cells")  # noqa: T201 - the table of the run
