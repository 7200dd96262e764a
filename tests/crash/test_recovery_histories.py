"""Random histories, a backup at a random point, the catalog lost at the end: what was acknowledged comes back.

Operations follow one another, so the newest object of a content is the newest acknowledged, or one that a process
left which died in the middle of its upload: no store can tell these two apart.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crash.recovering import (
    MOMENT,
    adopt_all,
    confirm_and_settle,
    keys_in,
    lose_everything,
    restore_backup,
    shown_by,
    take_backup,
)
from tests.machine import Machine, settle
from thermocline import StorageOrchestrator
from thermocline.domain.units import Seconds
from thermocline.services.checking import Damage
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

pytestmark = pytest.mark.thorough

IDS = ("a", "a/b", "A", "ü")
STEPS = st.tuples(
    st.sampled_from(["write", "write", "write", "stream", "delete", "erase", "change", "time", "die", "backup"]),
    st.sampled_from(IDS),
)


@dataclass
class Known:
    """What was acknowledged of a content, and what processes left that died."""

    now: bytes | None = None
    at_backup: bytes | None = None
    all: set[bytes] = field(default_factory=set)
    """Ever, acknowledged or left behind."""
    left: set[bytes] = field(default_factory=set)
    """Left behind since the last acknowledged change."""
    revision: int = 0


class Lost:
    """A machine whose catalog will be lost, and what its users know."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder)
        self.known = {name: Known() for name in IDS}
        self.backup: Path | None = None
        self.bodies = 0

    def next_body(self) -> bytes:
        self.bodies += 1
        return f"body {self.bodies} ".encode() * (1 + self.bodies % 20)

    async def do(self, store: StorageOrchestrator, step: str, name: str) -> None:
        known, machine = self.known[name], self.machine
        machine.clock.advance(MOMENT)
        match step:
            case "write" | "stream":
                body = self.next_body()
                receipt = await store.store_content(name, body if step == "write" else in_pieces(body))
                known.now, known.revision = body, receipt.revision
                known.all.add(body)
                known.left.clear()
            case "delete" | "erase":
                await (store.delete_content(name) if step == "delete" else store.erase_content(name))
                known.now = None
                known.left.clear()
            case "change" if known.now is not None:
                await store.update_metadata(name, {"k": self.bodies}, visibility="public")
            case "time":
                await settle(store, machine.clock)
            case "die":
                body = await self.die_uploading(name)
                known.left.add(body)
                known.all.add(body)
            case "backup":
                self.backup = take_backup(machine)
                for one in self.known.values():
                    one.at_backup = one.now
            case _:
                pass  # a change of what is not there

    async def die_uploading(self, name: str) -> bytes:
        """Leave an object whose process died before its commit."""
        body = self.next_body()
        faults = Faults({"catalog.records.commit_write#1": FaultMode.BEFORE})
        with contextlib.suppress(ProcessDied):
            async with self.machine.process(faults) as other:
                faults.start()
                await other.store_content(name, body)
        return body

    async def check(self) -> None:
        """Recover, and compare with what users know."""
        machine = self.machine
        before = await keys_in(machine)
        async with machine.process() as store:
            await settle(store, machine.clock)
            outcomes = await adopt_all(store)
            assert not [one for one in outcomes if one.fate.needs_a_look]
            await settle(store, machine.clock)
            assert await keys_in(machine) == before, "nothing is deleted before somebody confirms"
            for name, known in self.known.items():
                self.compare(name, known, await shown_by(store, name))
            await confirm_and_settle(store, machine)
            for finding in [one async for one in store.check()]:
                # Only what users had deleted since the backup may be missing.
                assert finding.damage is Damage.MISSING
                assert self.known[str(finding.content_id)].now is None
            for name, known in self.known.items():
                self.compare(name, known, await shown_by(store, name))
                receipt = await store.store_content(name, b"after")
                assert receipt.revision > known.revision, "revisions go on above those of the lost time"
        stored, named, _, _ = await machine.remains()
        assert named <= stored

    def compare(self, name: str, known: Known, shown: bytes | None) -> None:
        if known.now is not None:
            assert shown in {known.now} | known.left, f"{name!r} shows {shown!r}, not {known}"
        elif shown is not None:
            # Deleted after the backup, or never acknowledged: deletions are what a restore may undo.
            assert shown in known.all, f"{name!r} shows {shown!r}, not {known}"


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50):
        yield body[start : start + 50]


async def live_and_recover(steps: list[tuple[str, str]], *, restore: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lost = Lost(Path(folder))
        async with lost.machine.process() as store:
            for step, name in steps:
                await lost.do(store, step, name)
        if restore and lost.backup is not None:
            restore_backup(lost.machine, lost.backup)
        else:
            lose_everything(lost.machine)
        await lost.check()


FEWER = settings(max_examples=settings().max_examples // 3)
"""Each makes and replaces whole catalogs, with every wait for the disk that this takes."""


@FEWER
@given(steps=st.lists(STEPS, min_size=1, max_size=14), rest=st.lists(STEPS, max_size=10))
def test_what_was_acknowledged_survives_the_restore_of_an_old_backup(
    steps: list[tuple[str, str]], rest: list[tuple[str, str]]
) -> None:
    after = [step for step in rest if step[0] != "backup"]
    asyncio.run(live_and_recover([*steps, ("backup", "a"), *after], restore=True))


@FEWER
@given(steps=st.lists(STEPS, min_size=1, max_size=16))
def test_what_is_live_survives_without_any_backup(steps: list[tuple[str, str]]) -> None:
    asyncio.run(live_and_recover(steps, restore=False))


def test_a_long_time_after_the_backup_nothing_live_is_lost(tmp_path: Path) -> None:
    """Everything was overwritten, and the old objects are gone: the backup's records all point to nothing."""

    async def scenario() -> None:
        lost = Lost(tmp_path)
        async with lost.machine.process() as store:
            for name in IDS:
                await lost.do(store, "write", name)
            await lost.do(store, "backup", "a")
            for name in IDS:
                await lost.do(store, "stream", name)
            lost.machine.clock.advance(Seconds(86400.0))
            await lost.do(store, "time", "a")
        assert lost.backup is not None
        restore_backup(lost.machine, lost.backup)
        await lost.check()

    asyncio.run(scenario())
