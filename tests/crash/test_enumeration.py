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

from tests.counts import SOAK
from tests.machine import DELETES_ADOPTED, SETTINGS, Machine, read_whole
from tests.port_calls import call_of, only_reads
from tests.services.optimizing import policy_settings
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.content import ALWAYS, Condition
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ContentArchivedError,
    ContentNotFoundError,
    PreconditionFailedError,
    StorageError,
)
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds
from thermocline.services.bulk_writing import BulkItem
from thermocline.services.transferring import WriteRequest
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

OLD, NEW = b"old " * 50, b"new " * 70
"""Both larger than a part: uploads of several parts."""
SMALL = b"small"
ARCHIVED = b"archived"
"""Stands for content that must be restored before it is read."""
MODES = (FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED, FaultMode.CANCELLED_BEFORE)
LATE = (FaultMode.DIED_LATE, FaultMode.CANCELLED_LATE)
READ_MODES = (FaultMode.LOST, FaultMode.CANCELLED)
CHANGES_THE_STORE = ("put", "put_all", "begin_upload", "write", "complete", "abort", "delete", "copy")


@dataclass(frozen=True)
class Operation:
    """One operation under test: what precedes it, what it does, and what may be true afterwards."""

    name: str
    prepare: Callable[[StorageOrchestrator, Machine], Awaitable[object]]
    act: Callable[[StorageOrchestrator, Machine], Awaitable[object]]
    before: bytes | None
    after: bytes | None
    tiers: tuple[str, str] | None = None
    """The tier before, and after it all has come to its end; None: the content is not moved."""
    copies: bool = False
    """Whether the store copies by itself."""
    adopts: bool = False
    """Whether the store deletes what contents have adopted."""
    keeps: frozenset[str] = frozenset()
    """Objects of others that must be in the store whatever happens."""
    settings: Settings | None = None
    """Others than the usual ones."""

    def machine(self, folder: Path) -> Machine:
        """Return a machine for this operation."""
        settings = self.settings or (DELETES_ADOPTED if self.adopts else SETTINGS)
        return Machine(folder, copies=self.copies, settings=settings)


async def nothing(store: StorageOrchestrator, machine: Machine) -> None:
    """Prepare nothing."""


async def put_old(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", OLD)
    await store.services.background.drain()


async def put_new(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", NEW)


async def put_small(store: StorageOrchestrator, machine: Machine) -> None:
    await store.store_content("a", SMALL)


async def put_among_others(store: StorageOrchestrator, machine: Machine) -> None:
    """One of three contents that share their transactions; another is refused."""
    items = [
        BulkItem(WriteRequest(ContentId(name), StorageTier.HOT, condition=condition), SMALL)
        for name, condition in (("other", ALWAYS), ("a", ALWAYS), ("refused", Condition(if_exists=True)))
    ]
    _, answer, refused = await store.services.importing.storing.bulk.store(items)
    if isinstance(answer, StorageError):
        raise answer
    assert isinstance(refused, StorageError)


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


async def hold(store: StorageOrchestrator, machine: Machine) -> None:
    await store.update_metadata("a", held=True, pinned=True)


async def put_twice(store: StorageOrchestrator, machine: Machine) -> None:
    """An older revision waits for its deletion."""
    await put_old(store, machine)
    await put_new(store, machine)
    await store.services.background.drain()


def move_to(tier: str) -> Callable[[StorageOrchestrator, Machine], Awaitable[object]]:
    async def move(store: StorageOrchestrator, machine: Machine) -> None:
        await store.set_tier("a", tier)

    return move


def put_in(tier: str, body: bytes = OLD) -> Callable[[StorageOrchestrator, Machine], Awaitable[object]]:
    async def put(store: StorageOrchestrator, machine: Machine) -> None:
        await store.store_content("a", body, initial_tier=tier)
        await store.services.background.drain()

    return put


async def plan_cold(store: StorageOrchestrator, machine: Machine) -> None:
    await put_old(store, machine)
    assert (await store.set_tier("a", "cold", wait=False)).planned


async def make_moves(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.moving.run()


async def plan_archive_instead(store: StorageOrchestrator, machine: Machine) -> None:
    """A newer wish replaces the one that a worker has already claimed."""
    await store.set_tier("a", "archive", wait=False)
    await store.services.moving.run()


async def restore(store: StorageOrchestrator, machine: Machine) -> None:
    await store.restore_content("a")
    machine.clock.advance(Seconds(3601.0))
    await store.services.restoring.run()


async def put_restored(store: StorageOrchestrator, machine: Machine) -> None:
    await put_in("archive")(store, machine)
    await restore(store, machine)


async def put_restored_long_ago(store: StorageOrchestrator, machine: Machine) -> None:
    await put_restored(store, machine)
    machine.clock.advance(Seconds(3 * 86400.0))


async def end_restores(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.restoring.run()


async def read_archived(store: StorageOrchestrator, machine: Machine) -> None:
    """Ask for the restore by reading."""
    with contextlib.suppress(ContentArchivedError):
        await store.retrieve_content("a")


async def move_out_of_archive(store: StorageOrchestrator, machine: Machine) -> None:
    await store.set_tier("a", "warm")
    machine.clock.advance(Seconds(3601.0))
    await store.services.restoring.run()
    await store.services.moving.run()


async def clean(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.cleaner.run()
    machine.clock.advance(Seconds(121.0))
    await store.services.cleaner.run()


LEGACY = "legacy/a"
"""The key of an object that was there before us."""


async def put_foreign(store: StorageOrchestrator, machine: Machine) -> None:
    await machine.objects.put(LEGACY, OLD, {"colour": "blue"})


def adopt_below(prefix: str) -> Callable[[StorageOrchestrator, Machine], Awaitable[object]]:
    async def adopt(store: StorageOrchestrator, machine: Machine) -> None:
        bucket = getattr(store.services.settings.objects["main"], "bucket")  # noqa: B009 - of one of several kinds
        passing = asyncio.ensure_future(pass_time(machine))  # what does not answer is asked again later
        try:
            report = await store.import_tree(f"s3://{bucket}/legacy", prefix, in_place=True)
        finally:
            passing.cancel()
        if report.stopped_by is not None:
            raise report.stopped_by
        if report.copied + report.replaced + report.unchanged != 1:
            # A listing whose task alone is cancelled, as only this test does, ends like one that found nothing.
            raise StorageError("it was not adopted")

    return adopt


async def pass_time(machine: Machine) -> None:
    while True:
        await asyncio.sleep(0.001)
        machine.clock.advance(Seconds(1.0))


async def adopt_old(store: StorageOrchestrator, machine: Machine) -> None:
    await put_foreign(store, machine)
    await adopt_below("")(store, machine)
    await store.services.background.drain()


async def adopt_twice(store: StorageOrchestrator, machine: Machine) -> None:
    await adopt_old(store, machine)
    await adopt_below("twin")(store, machine)
    await store.services.background.drain()


def then_deliver(
    act: Callable[[StorageOrchestrator, Machine], Awaitable[object]],
) -> Callable[[StorageOrchestrator, Machine], Awaitable[object]]:
    """Let the grace pass after it, and do what it queued."""

    async def both(store: StorageOrchestrator, machine: Machine) -> None:
        await act(store, machine)
        machine.clock.advance(Seconds(3 * 3600.0))
        await deliver(store, machine)

    return both


async def delete_twin(store: StorageOrchestrator, machine: Machine) -> None:
    await store.delete_content("twin/a")


def put_and_wait(days: float) -> Callable[[StorageOrchestrator, Machine], Awaitable[object]]:
    async def put(store: StorageOrchestrator, machine: Machine) -> None:
        await put_old(store, machine)
        machine.clock.advance(Seconds(days * 86400.0))

    return put


async def optimize(store: StorageOrchestrator, machine: Machine) -> None:
    await store.optimize_storage_tiers()


async def optimize_in_the_background(store: StorageOrchestrator, machine: Machine) -> None:
    await store.services.optimizing.work()


POLICY = policy_settings(daily_usd=1.0)
ONE_PLACEMENT = Settings.model_validate(
    {
        "limits": {"sweep_max_share": 1.0},
        "placements": {"standard": {"objects": "main"}},
        "tiers": {"archive": {"placement": "standard"}},
    }
)
"""A sweep goes through one placement after the other, and does the same in each: a soak has three."""

OPERATIONS = (
    Operation("write", nothing, put_new, None, NEW),
    Operation("write one part", nothing, put_small, None, SMALL),
    Operation("overwrite", put_old, put_new, OLD, NEW),
    Operation("overwrite by one part", put_old, put_small, OLD, SMALL),
    Operation("write among others", nothing, put_among_others, None, SMALL),
    Operation("overwrite among others", put_old, put_among_others, OLD, SMALL),
    Operation("refused", put_old, refused, OLD, OLD),
    Operation("refused one part", put_old, refused_small, OLD, OLD),
    Operation("delete", put_old, delete, OLD, None),
    Operation("erase", put_old, erase, OLD, None),
    Operation("change", put_old, change, OLD, OLD),
    Operation("erase two revisions", put_twice, erase, NEW, None),
    Operation("hold and pin", put_old, hold, OLD, OLD),
    Operation("move in place", put_old, move_to("warm"), OLD, OLD, ("hot", "warm")),
    Operation("move into memory", put_in("warm", SMALL), move_to("hot"), SMALL, SMALL, ("warm", "hot")),
    Operation("copy", put_old, move_to("cold"), OLD, OLD, ("hot", "cold")),
    Operation("copy one part", put_in("cold", SMALL), move_to("warm"), SMALL, SMALL, ("cold", "warm")),
    Operation("copy within", put_old, move_to("cold"), OLD, OLD, ("hot", "cold"), copies=True),
    Operation("archive within", put_old, move_to("archive"), OLD, OLD, ("hot", "archive"), copies=True),
    Operation("make planned moves", plan_cold, make_moves, OLD, OLD, ("cold", "cold")),
    Operation("plan anew", plan_cold, plan_archive_instead, OLD, OLD, ("cold", "archive")),
    Operation("archive", put_old, move_to("archive"), OLD, OLD, ("hot", "archive")),
    Operation("optimize in place", put_and_wait(8), optimize, OLD, OLD, ("hot", "warm"), settings=POLICY),
    Operation("optimize", put_and_wait(40), optimize, OLD, OLD, ("hot", "cold"), settings=POLICY),
    Operation(
        "a pass of the policy", put_and_wait(40), optimize_in_the_background, OLD, OLD, ("hot", "cold"), settings=POLICY
    ),
    Operation("restore", put_in("archive"), restore, OLD, OLD),
    Operation("restore by reading", put_in("archive"), read_archived, OLD, OLD),
    Operation("end a restore", put_restored_long_ago, end_restores, OLD, OLD),
    Operation("move what is restored", put_restored, move_to("hot"), OLD, OLD, ("archive", "hot")),
    Operation("move out of the archive", put_in("archive"), move_out_of_archive, OLD, OLD, ("archive", "warm")),
    Operation("expire", put_expiring, expire, None, None),
    Operation("deliver", overwrite_then_wait, deliver, NEW, NEW),
    Operation("clean", abandoned_upload, clean, OLD, OLD),
    Operation("sweep", put_old_beside_orphans, sweep, OLD, OLD, settings=None if SOAK else ONE_PLACEMENT),
    Operation("adopt", put_foreign, adopt_below(""), None, OLD, adopts=True, keeps=frozenset({LEGACY})),
    Operation("delete adopted", adopt_old, then_deliver(delete), OLD, None, adopts=True),
    Operation("erase adopted", adopt_old, erase, OLD, None, adopts=True),
    Operation("overwrite adopted", adopt_old, then_deliver(put_small), OLD, SMALL, adopts=True),
    Operation("copy adopted", adopt_old, then_deliver(move_to("cold")), OLD, OLD, ("hot", "cold"), adopts=True),
    Operation(
        "delete its twin", adopt_twice, then_deliver(delete_twin), OLD, OLD, adopts=True, keeps=frozenset({LEGACY})
    ),
)


async def points_of(operation: Operation, machine: Machine) -> list[str]:
    """Return the port calls of the operation, in order, from a run without faults."""
    async with machine.process() as store:
        await operation.prepare(store, machine)
    faults = Faults()
    async with machine.process(faults) as store:
        faults.start()
        await operation.act(store, machine)
        await store.services.background.drain()
    points = list(faults.points)
    assert await read(machine) == operation.after
    await machine.recover()
    await check_tier(operation, machine, acknowledged=True)
    await machine.close()
    return points


async def strike(operation: Operation, point: str, mode: FaultMode, machine: Machine) -> bool:
    """Run one cell and check the machine afterwards; whether the fault struck."""
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
            assert await shown(store) in {operation.before, operation.after, ARCHIVED}
    await machine.recover()
    if mode in LATE:
        await faults.land()
        await machine.recover()
    now = await read(machine)
    allowed = {operation.after} if acknowledged else {operation.before, operation.after}
    assert now in allowed, f"{operation.name}, {point}, {mode}: shows {now!r}"
    await check_tier(operation, machine, acknowledged=acknowledged)
    if (await machine.work_left())["restores"]:
        # Looking at archived content has restored it.
        await machine.recover()
    stored, named, rows, intents = await machine.remains()
    assert stored >= operation.keeps, f"{operation.name}, {point}, {mode}: deleted {operation.keeps - stored}"
    stored -= operation.keeps - named
    assert stored == named, f"{operation.name}, {point}, {mode}: orphans {stored - named}, missing {named - stored}"
    assert (rows, intents) == (0, 0), f"{operation.name}, {point}, {mode}: {rows} outbox rows, {intents} intents"
    await machine.close()
    return bool(faults.fired)


async def check_tier(operation: Operation, machine: Machine, *, acknowledged: bool) -> None:
    """Every wish that was acknowledged has come true, once, and nothing waits any more."""
    left = await machine.work_left()
    assert left["moves"] == 0, left
    if operation.tiers is None:
        assert left["ledger"] == 0, left
        return
    async with machine.process() as store:
        record = await store.stat("a")
        entries = await store.services.adapters.catalog.moves.ledger(content_id=record.content_id, limit=9)
    before, after = operation.tiers
    assert record.tier.value == after if acknowledged else record.tier.value in {before, after}, record.tier
    assert store.services.placements.of_tier(record.tier).name == record.placement
    path = [entry.to_tier.value for entry in reversed(entries)]
    assert path[-1:] == [record.tier.value] or (not path and record.tier.value == before), path
    assert len(path) == len(set(path)), f"moved twice: {path}"


async def read(machine: Machine) -> bytes | None:
    async with machine.process() as store:
        return await read_whole(store, machine.clock)


async def shown(store: StorageOrchestrator) -> bytes | None:
    try:
        return await store.retrieve_content("a")
    except ContentNotFoundError:
        return None
    except ContentArchivedError:
        return ARCHIVED


def modes_of(point: str) -> tuple[FaultMode, ...]:
    """Return how a call can fail. A commit that lands late is one whose acknowledgement was lost.

    Whoever dies or leaves beside a call that only reads leaves what it had left after its last change, which is a
    cell of its own; a soak tries these, too.
    """
    if not SOAK and only_reads(point):
        return READ_MODES
    port, call = call_of(point)
    return MODES + (LATE if port.startswith("objects") and call in CHANGES_THE_STORE else ())


QUICK = {"delete"}
"""Tried in every run, in seconds; the others in all but the fast one."""


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(each, id=each.name, marks=[] if each.name in QUICK else [pytest.mark.thorough])
        for each in OPERATIONS
    ],
)
def test_every_cell(operation: Operation, tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    points = asyncio.run(points_of(operation, operation.machine(tmp_path / "plan")))
    assert points, "the operation makes no port call"
    cells = [(point, mode) for point in points for mode in modes_of(point)]
    visited = []
    for number, (point, mode) in enumerate(cells):
        folder = tmp_path / str(number)
        folder.mkdir()
        if asyncio.run(strike(operation, point, mode, operation.machine(folder))):
            visited.append((point, mode))
    unvisited = set(cells) - set(visited)
    assert not unvisited, f"cells never struck: {sorted(unvisited)}"
    print(f"{operation.name}: {len(points)} port calls, {len(cells)} cells")  # noqa: T201 - the table of the run
