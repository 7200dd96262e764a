"""Recoveries crashed at every port call, backups and restores at every call to the system.

For the services a run without faults lists the port calls, as in `test_enumeration`; each cell then strikes one of
them on a fresh machine, a new process recovers, and the machine must be whole. For the files a run lists what is
asked of the system; each cell dies before or after one of these, and nothing of the dead takes effect any more.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.recovering import (
    MOMENT,
    adopt_all,
    confirm_and_settle,
    file_of,
    keys_in,
    put_object,
    restore_backup,
    shown_by,
    take_backup,
)
from tests.crash.test_enumeration import LATE, MODES, modes_of
from tests.machine import Machine
from thermocline import StorageOrchestrator
from thermocline.adapters.catalog.backing_up import back_up
from thermocline.adapters.catalog.migrating import status_of
from thermocline.adapters.catalog.putting_back import put_back
from thermocline.adapters.catalog.sqlite_connections import SqliteFile
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

pytestmark = pytest.mark.thorough

OLD, NEW = b"old " * 50, b"new " * 70
SMALL = b"small"


async def lose_the_catalog(machine: Machine) -> None:
    """Back up, go on writing, restore: `kept`, `over` (overwritten since), `new`, `lost` (only a copy is left)."""
    async with machine.process() as store:
        for name in ("kept", "over", "lost"):
            await store.store_content(name, OLD, metadata={"k": name})
            machine.clock.advance(MOMENT)
        backup = take_backup(machine)
        await store.store_content("over", NEW)
        await store.store_content("new", SMALL)
        lost = await store.stat("lost")
        await put_object(machine, "lost", OLD, sha256=lost.digest, revision=lost.revision)
        await machine.objects.delete([lost.object_key])
        machine.clock.advance(MOMENT)
    restore_backup(machine, backup)


async def break_two(machine: Machine) -> None:
    """In the normal state: `a`'s object is gone, another with the same bytes is there; so for `b`, in one part."""
    async with machine.process() as store:
        for name, body in (("a", OLD), ("b", SMALL)):
            await store.store_content(name, body)
            record = await store.stat(name)
            await put_object(machine, name, body[:-1] + b"!", sha256=record.digest)
            await put_object(machine, name, body)
            await machine.objects.delete([record.object_key])


async def adopt(store: StorageOrchestrator, _machine: Machine) -> None:
    await adopt_all(store)


async def lose_and_adopt(machine: Machine) -> None:
    await lose_the_catalog(machine)
    async with machine.process() as store:
        await adopt_all(store)


async def confirm(store: StorageOrchestrator, _machine: Machine) -> None:
    await store.services.sweep.run(confirmed=True)


async def mend(store: StorageOrchestrator, _machine: Machine) -> None:
    results = [one async for one in store.services.mending.mend([ContentId("a"), ContentId("b")])]
    assert all(one.object_key for one in results)


@dataclass(frozen=True)
class Recovery:
    """One recovery under test, and what must be readable once another process has finished it."""

    name: str
    prepare: Callable[[Machine], Coroutine[Any, Any, None]]
    act: Callable[[StorageOrchestrator, Machine], Awaitable[None]]
    finish: Callable[[StorageOrchestrator, Machine], Awaitable[None]]
    bodies: dict[str, bytes]


RESTORED = {"kept": OLD, "over": NEW, "new": SMALL, "lost": OLD}


async def finish_adopting(store: StorageOrchestrator, machine: Machine) -> None:
    await adopt_all(store)
    await confirm_and_settle(store, machine)


async def finish_mending(store: StorageOrchestrator, machine: Machine) -> None:
    broken = [ContentId(name) for name in "ab" if await shown_by(store, name) is None]
    _ = [one async for one in store.services.mending.mend(broken)]
    await confirm_and_settle(store, machine)


RECOVERIES = (
    Recovery("adopt", lose_the_catalog, adopt, finish_adopting, RESTORED),
    Recovery("confirm", lose_and_adopt, confirm, finish_adopting, RESTORED),
    Recovery("mend", break_two, mend, finish_mending, {"a": OLD, "b": SMALL}),
)


async def points_of(recovery: Recovery, prepared: Machine, folder: Path) -> list[str]:
    machine = prepared.twin(folder)
    faults = Faults()
    async with machine.process(faults) as store:
        faults.start()
        await recovery.act(store, machine)
        faults.stop()
        for name, body in recovery.bodies.items():
            assert await shown_by(store, name) == body
    return list(faults.points)


async def strike(recovery: Recovery, prepared: Machine, point: str, mode: FaultMode, folder: Path) -> bool:
    machine = prepared.twin(folder)
    before = await keys_in(machine)
    faults = Faults({point: mode})
    async with machine.process(faults) as store:
        faults.start()
        with contextlib.suppress(ProcessDied, asyncio.CancelledError, StorageError):
            await recovery.act(store, machine)
    told = f"{recovery.name}, {point}, {mode}"
    # Nothing is deleted by a recovery itself, whatever happens to it; a confirmation quarantines only.
    assert before <= await keys_in(machine), told
    if mode in LATE:
        await faults.land()
    async with machine.process() as store:
        await recovery.finish(store, machine)
        for name, body in recovery.bodies.items():
            assert await shown_by(store, name) == body, f"{told}: {name}"
        if "kept" in recovery.bodies:
            assert (await store.stat("lost")).metadata == {"k": "lost"}, told
        assert [finding async for finding in store.check()] == [], told
    stored, named, rows, intents = await machine.remains()
    assert stored == named, f"{told}: orphans {stored - named}, missing {named - stored}"
    assert (rows, intents) == (0, 0), told
    return bool(faults.fired)


@pytest.mark.parametrize("recovery", RECOVERIES, ids=lambda recovery: recovery.name)
def test_every_cell_of_a_recovery(recovery: Recovery, tmp_path: Path) -> None:
    for name in ("prepared", "plan"):
        (tmp_path / name).mkdir()
    prepared = Machine(tmp_path / "prepared")
    asyncio.run(recovery.prepare(prepared))
    points = asyncio.run(points_of(recovery, prepared, tmp_path / "plan"))
    cells = [(point, mode) for point in points for mode in modes_of(point)]
    assert len(cells) >= len(MODES) * 8
    unvisited = []
    for number, (point, mode) in enumerate(cells):
        folder = tmp_path / str(number)
        folder.mkdir()
        if not asyncio.run(strike(recovery, prepared, point, mode, folder)):
            unvisited.append((point, mode))
    assert not unvisited, f"cells never struck: {unvisited}"
    print(f"{recovery.name}: {len(points)} port calls, {len(cells)} cells")  # noqa: T201 - the table of the run


# --- files -----------------------------------------------------------------------------------------------------------


class Doom:
    """Dies at one call to the system, before or after it; from then on no call has an effect."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.calls: list[str] = []
        self._at = at
        self._after = after
        self._dead = False

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._dead:
                raise ProcessDied
            self.calls.append(name)
            if len(self.calls) != self._at:
                return function(*args, **kwargs)
            if self._after:
                function(*args, **kwargs)
            self._dead = True
            raise ProcessDied(name)

        return call


@contextlib.contextmanager
def doomed(doom: Doom) -> Iterator[None]:
    """Let what changes files for good pass through `doom`."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
            patch.setattr(owner, name, doom.wrap(name, getattr(owner, name)))
        from thermocline.adapters.catalog import backing_up, putting_back

        for module, name in (
            (backing_up, "copy_catalog"),
            (backing_up, "make_ready"),
            (putting_back, "copy_catalog"),
            (putting_back, "make_ready"),
            (putting_back, "upgrade_file"),
        ):
            patch.setattr(module, name, doom.wrap(name, getattr(module, name)))
        yield


def bodies_in(catalog: Path) -> dict[str, str]:
    with closing(sqlite3.connect(catalog)) as raw:
        return dict(raw.execute("SELECT content_id, hex(digest) FROM contents"))


async def two_states(machine: Machine) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Return a backup, what it knows, and what the catalog that goes on knows."""
    async with machine.process() as store:
        await store.store_content("a", OLD)
        backup = take_backup(machine)
        old = bodies_in(machine.database)
        await store.store_content("a", NEW)
        await store.store_content("b", SMALL)
    return backup, old, bodies_in(machine.database)


@pytest.mark.parametrize("replace", [False, True], ids=["new", "replaced"])
def test_a_backup_is_whole_or_not_there_wherever_it_dies(tmp_path: Path, replace: bool) -> None:
    machine = Machine(tmp_path)
    backup, _, new = asyncio.run(two_states(machine))
    old_bytes = backup.read_bytes()
    target = backup if replace else backup.with_name("new.db")

    def run(doom: Doom) -> None:
        with doomed(doom), contextlib.suppress(ProcessDied):
            back_up(file_of(machine), target, machine.clock.now, replace=replace)

    plan = Doom()
    run(plan)
    assert len(plan.calls) > 4
    for at in range(1, len(plan.calls) + 1):
        for after in (False, True):
            target.unlink(missing_ok=True)
            if replace:
                target.write_bytes(old_bytes)
            run(Doom(at, after=after))
            if target.exists() and target.read_bytes() != old_bytes:
                assert status_of(SqliteFile(target)).is_usable
                assert bodies_in(target) == new
                with closing(sqlite3.connect(target)) as raw:
                    assert raw.execute("SELECT recovering FROM installation").fetchone() == (1,)
            elif replace:
                assert target.read_bytes() == old_bytes, "the old backup is not given up before the new one is whole"
            take_backup(machine, "another.db")
            assert list(tmp_path.glob(".*partial*")) == [], "the next backup removes what the dead one left"


def test_a_restore_is_whole_or_did_not_happen_wherever_it_dies(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    backup, old, new = asyncio.run(two_states(machine))
    present = machine.database.read_bytes()

    def run(doom: Doom) -> None:
        with doomed(doom), contextlib.suppress(ProcessDied):
            put_back(file_of(machine), backup, machine.clock.now, approve=lambda _: None)

    plan = Doom()
    run(plan)
    assert len(plan.calls) > 6
    outcomes = set()
    for at in range(1, len(plan.calls) + 1):
        for after in (False, True):
            for leftover in tmp_path.glob("catalog.db*"):
                leftover.unlink()
            machine.database.write_bytes(present)
            run(Doom(at, after=after))
            shown = bodies_in(machine.database)
            assert shown in (old, new), f"at {at} {plan.calls[at - 1]}"
            outcomes.add(shown == old)
            if shown == old:
                (aside,) = tmp_path.glob("catalog.db.replaced-*")
                assert bodies_in(aside) == new, "the old catalog is kept"

            async def go_on() -> None:
                async with machine.process() as store:
                    await adopt_all(store)  # without effect where the catalog does not recover
                    assert await store.retrieve_content("a") == NEW
                    assert await store.retrieve_content("b") == SMALL

            asyncio.run(go_on())
    assert outcomes == {True, False}
