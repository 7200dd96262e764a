"""Requests of restores are killed, and refused by the system, at every single system call."""

import asyncio
import contextlib
import errno
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.adapters.objects.faulty_system import Died, FaultySystem
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.errors import ObjectArchivedError, OutOfSpaceError, StorageError, UnavailableError
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore
from thermocline.domain.units import Seconds, later
from thermocline.testing.clock import ManualClock

pytestmark = pytest.mark.thorough

KEYS = {"usual": "inst/main/a/01kdvdna00f1w7gy3rf1w7gy3r", "long": "x" * 500, "longer beside": "x" * 199}
"""The name of the last fits into one piece, that of its file beside does not."""
HOUR = Seconds(3600.0)
DAY = Seconds(24 * HOUR)
CLASSES = {"GLACIER": dict.fromkeys(RestoreSpeed, HOUR)}
LONG_KEYS = ("long", "longer beside")
BEFORE = ("never asked for", "under way", "readable", "expired", "damaged")
LATER = {"under way": Seconds(60.0), "readable": Seconds(2 * HOUR), "expired": Seconds(3 * DAY)}


@asynccontextmanager
async def opened(root: Path, clock: ManualClock, system: FaultySystem | None = None) -> AsyncIterator[LocalObjectStore]:
    store = LocalObjectStore(root, archive_classes=CLASSES, clock=clock, system=system or FaultySystem())
    try:
        yield store
    finally:
        await store.aclose()


async def request(store: LocalObjectStore, key: str, days: int) -> None:
    await store.request_restore(key, speed=RestoreSpeed.STANDARD, days=days)


async def prepare(root: Path, clock: ManualClock, key: str, before: str) -> None:
    async with opened(root, clock) as store:
        await store.put(key, b"body", {}, storage_class="GLACIER")
        if before != "never asked for":
            await request(store, key, 1)
        if before == "damaged":
            (mark,) = [path for path in (root / ".restores").rglob("*") if path.is_file()]
            mark.write_bytes(b"damaged")
    clock.advance(LATER.get(before, Seconds(0.0)))


async def prepared(tmp_path: Path, key: str, before: str) -> tuple[Callable[[int], Path], ManualClock]:
    """Return what makes a copy of the prepared store for each attempt, and the time then."""
    clock = ManualClock()
    await prepare(tmp_path / "prepared", clock, key, before)

    def copied(number: int) -> Path:
        return shutil.copytree(tmp_path / "prepared", tmp_path / str(number))

    return copied, clock


def remains(root: Path) -> list[Path]:
    """Return files, and folders that should have gone with them."""
    return [path for path in root.rglob("*") if not path.is_dir() or path.name.endswith("+")]


async def states(root: Path, clock: ManualClock, key: str) -> tuple[StoreRestore, StoreRestore]:
    """Return what is said now and after the delay, by a new process; reads agree with it."""
    async with opened(root, clock) as store:
        found = []
        for delay in (0.0, HOUR):
            clock.jump(delay)
            state = await store.restore_state(key)
            found.append(state)
            if state.stage is RestoreStage.READABLE:
                assert await store.fetch(key, 0, 4) == b"body"
            else:
                with pytest.raises(ObjectArchivedError):
                    await store.fetch(key, 0, 4)
        clock.jump(-HOUR)
        return found[0], found[1]


async def check(root: Path, clock: ManualClock, key: str) -> None:
    """Check that the next request works, as does the deletion, and that nothing is left of either."""
    async with opened(root, clock) as store:
        await request(store, key, 300)
        clock.advance(HOUR)
        state = await store.restore_state(key)
        assert state.stage is RestoreStage.READABLE
        assert await store.fetch(key, 0, 4) == b"body"
        assert len([path for path in remains(root / ".restores") if path.is_file()]) == 1
        assert not await store.delete([key])
        assert remains(root) == []


@pytest.mark.parametrize(
    ("before", "key"),
    [*((before, "usual") for before in BEFORE), ("readable", "long"), *(("never asked for", key) for key in LONG_KEYS)],
)
def test_a_request_killed_at_every_system_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, before: str, key: str
) -> None:
    async def enumerate_deaths() -> None:
        seen = set()
        copied, start = await prepared(tmp_path, KEYS[key], before)
        old = await states(copied(-1), start, KEYS[key])
        for die_at in range(200):
            root, clock, system = copied(die_at), ManualClock(start.now()), FaultySystem()
            system.die_at = die_at
            async with opened(root, clock, system) as store:
                with contextlib.suppress(Died):
                    await request(store, KEYS[key], 7)
            done = len(system.calls) < die_at
            new = await states(root, clock, KEYS[key])
            seen.add(new)
            expected = {
                "under way": old,
                "readable": (StoreRestore(RestoreStage.READABLE, later(clock.now(), Seconds(7 * DAY))),) * 2,
            }.get(
                before,
                (
                    StoreRestore(RestoreStage.REQUESTED),
                    StoreRestore(RestoreStage.READABLE, later(clock.now(), Seconds(7 * DAY + HOUR))),
                ),
            )
            assert new in ((expected,) if done else (old, expected))
            await check(root, clock, KEYS[key])
            if done:
                # Open, read the object, look for the mark: the enumeration did not end early.
                assert die_at > (10 if before == "under way" else 20)
                assert seen == {old, expected}
                return
        raise AssertionError

    asyncio.run(enumerate_deaths())


@pytest.mark.parametrize("key", ["usual", "long"])
def test_a_deletion_killed_at_every_system_call_can_be_repeated(tmp_path: Path, key: str) -> None:
    async def enumerate_deaths() -> None:
        copied, clock = await prepared(tmp_path, KEYS[key], "readable")
        for die_at in range(200):
            root, system = copied(die_at), FaultySystem()
            system.die_at = die_at
            async with opened(root, clock, system) as store:
                with contextlib.suppress(Died):
                    assert not await store.delete([KEYS[key]])
            async with opened(root, clock) as store:
                assert not await store.delete([KEYS[key]])
            assert remains(root) == []
            if len(system.calls) < die_at:
                assert die_at > 10
                return
        raise AssertionError

    asyncio.run(enumerate_deaths())


@pytest.mark.parametrize(
    ("before", "key", "code"),
    [
        *((before, "usual", errno.ENOSPC) for before in BEFORE),
        *(("never asked for", key, errno.EIO) for key in KEYS),
        ("readable", "long", errno.ENOSPC),
    ],
)
def test_a_request_refused_at_every_system_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, before: str, key: str, code: int
) -> None:
    async def enumerate_refusals() -> None:
        copied, start = await prepared(tmp_path, KEYS[key], before)
        old = await states(copied(-1), start, KEYS[key])
        for fail_at in range(200):
            root, clock, system = copied(fail_at), ManualClock(start.now()), FaultySystem()
            system.fail_at = fail_at, code
            refused = True
            async with opened(root, clock, system) as store:
                with contextlib.suppress(StorageError):
                    await request(store, KEYS[key], 7)
                    refused = False
                new = await states(root, clock, KEYS[key])
                if not refused:
                    assert new == old if before == "under way" else new != old
                elif new != old:
                    # It has its name; what failed is making that durable, or looking whether the object is still there.
                    assert any(call.startswith("rename") for call in system.calls[:fail_at])
                beside = [path for path in remains(root / ".restores") if path.name.endswith("~~")]
                # Only what could not be locked, or not be looked at, may be another one's.
                assert not beside or system.calls[fail_at].startswith(("flock", "fstat", "stat"))
            await check(root, clock, KEYS[key])
            if len(system.calls) <= fail_at:
                return
        raise AssertionError

    asyncio.run(enumerate_refusals())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_named_as_the_cause(tmp_path: Path, code: int, key: str) -> None:
    async def run() -> None:
        clock, system = ManualClock(), FaultySystem()
        system.always("flock", code)
        async with opened(tmp_path, clock, system) as store:
            await store.put(KEYS[key], b"body", {}, storage_class="GLACIER")
            with pytest.raises(UnavailableError, match="flock"):
                await request(store, KEYS[key], 1)
            assert (await store.restore_state(KEYS[key])).stage is RestoreStage.ARCHIVED
            assert remains(tmp_path / ".restores") == []
        await check(tmp_path, clock, KEYS[key])

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"", b"restore 1 half a ma", bytes(1000)], ids=["empty", "half", "longer"])
@pytest.mark.parametrize("key", KEYS)
def test_what_a_dead_writer_left_is_in_nobodys_way(tmp_path: Path, key: str, content: bytes) -> None:
    async def run() -> None:
        clock, system = ManualClock(), FaultySystem()
        async with opened(tmp_path, clock, system) as store:
            await store.put(KEYS[key], b"body", {}, storage_class="GLACIER")
            system.die_at = 0
            for die_at in range(200):
                system.calls.clear()
                system.die_at = die_at
                with contextlib.suppress(Died):
                    await request(store, KEYS[key], 1)
                if any(path.is_file() for path in (tmp_path / ".restores").rglob("*")):
                    break
            system.die_at = None
            (left,) = [path for path in (tmp_path / ".restores").rglob("*") if path.is_file()]
            left.write_bytes(content)
            assert (await store.restore_state(KEYS[key])).stage is RestoreStage.ARCHIVED
        await check(tmp_path, clock, KEYS[key])

    asyncio.run(run())


def test_an_error_that_somebody_keeps_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def run() -> None:
        clock, system = ManualClock(), FaultySystem()
        async with opened(tmp_path, clock, system) as store, opened(tmp_path, clock) as other:
            await store.put("k", b"body", {}, storage_class="GLACIER")
            # Neither can it be written nor removed: it keeps its name.
            system.fail = {"writev": [errno.EIO], "unlink": [errno.EIO]}
            with pytest.raises(UnavailableError) as kept:
                await request(store, "k", 1)
            assert (tmp_path / ".restores" / "k~~").exists()
            await asyncio.wait_for(request(other, "k", 1), 10)
            assert (await other.restore_state("k")).stage is RestoreStage.REQUESTED
            del kept

    asyncio.run(run())


@pytest.mark.server
def test_a_full_disk_refuses_restores_and_loses_nothing(small_disk: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(small_disk / "objects", clock) as store:
            for key in ("restored", "archived"):
                await store.put(key, b"body", {}, storage_class="GLACIER")
            await request(store, "restored", 1)
            clock.advance(HOUR)
            filler = small_disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            for key in ("restored", "archived"):
                with pytest.raises(OutOfSpaceError, match="free space"):
                    await request(store, key, 30)
            assert await store.fetch("restored", 0, 4) == b"body"
            assert (await store.restore_state("archived")).stage is RestoreStage.ARCHIVED
            filler.unlink()
            for key in ("restored", "archived"):
                await request(store, key, 30)
            clock.advance(Seconds(29 * DAY))
            for key in ("restored", "archived"):
                assert await store.fetch(key, 0, 4) == b"body"
            assert not await store.delete(["restored", "archived"])

    asyncio.run(run())
