"""Restores in the folder store: what lies on disk, what others put there, what a read costs."""

import asyncio
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.adapters.objects.faulty_system import FaultySystem
from tests.adapters.objects.test_local_cancelling import SlowSystem
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_system import System
from thermocline.domain.errors import ObjectArchivedError, ObjectMissingError, UnavailableError
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.testing.clock import START, ManualClock

KEY = "inst/main/a/01kdvdna00f1w7gy3rf1w7gy3r"
NAME = "inst%2fmain%2fa%2f01kdvdna00f1w7gy3rf1w7gy3r~"
LONG = "x" * 500
HOUR = Seconds(3600.0)
DAY = Seconds(24 * HOUR)
CLASSES = {"GLACIER": dict.fromkeys(RestoreSpeed, HOUR)}
ARCHIVED = StoreRestore(RestoreStage.ARCHIVED)
REQUESTED = StoreRestore(RestoreStage.REQUESTED)
MARK = b"restore 1 0001767229200000000 0001767315600000000 4bfb1d7b\n"
"""Of `KEY`, asked for at `START` for a day."""


@asynccontextmanager
async def opened(
    root: Path,
    clock: ManualClock,
    *,
    classes: Mapping[str, Mapping[RestoreSpeed, Seconds]] = CLASSES,
    system: System | None = None,
) -> AsyncIterator[LocalObjectStore]:
    store = LocalObjectStore(root, archive_classes=classes, clock=clock, system=system or System())
    try:
        yield store
    finally:
        await store.aclose()


async def request(store: LocalObjectStore, key: str = KEY, days: int = 1) -> None:
    await store.request_restore(key, speed=RestoreSpeed.STANDARD, days=days)


def marks(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / ".restores")) for path in (root / ".restores").rglob("*"))


def test_a_mark_is_a_small_file_that_outlives_every_process(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            await request(store)
        assert (tmp_path / ".restores" / NAME).read_bytes() == MARK
        assert (tmp_path / ".restores" / NAME).stat().st_mode & 0o777 == 0o600
        assert marks(tmp_path) == [NAME]
        async with opened(tmp_path, clock) as store:
            assert await store.restore_state(KEY) == REQUESTED
            clock.advance(HOUR)
            assert await store.fetch(KEY, 0, 4) == b"body"

    asyncio.run(run())


def test_the_payload_of_an_archived_object_stays_readable_by_any_program(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path, ManualClock()) as store:
            await store.put("k", b"\x89PNG payload", {"type": "image/png"}, storage_class="GLACIER")
            await store.put("ordinary", b"\x89PNG payload", {"type": "image/png"}, storage_class="STANDARD_IA")

    asyncio.run(run())
    for name, storage_class, version in (("k~", "GLACIER", 2), ("ordinary~", "STANDARD_IA", 1)):
        (path,) = (tmp_path / ".free").rglob(name)
        raw = path.read_bytes()
        head = b'\x89PNG payload{":storage-class":"%s","type":"image/png"}' % storage_class.encode()
        assert raw.startswith(head)
        assert struct.unpack_from("<QII", raw, len(head)) == (12, len(head) - 12, version)
        assert raw.endswith(b"\x89THERMO\n")


def test_what_needs_a_restore_is_decided_when_it_is_stored(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store:
            await store.put("archived", b"body", {}, storage_class="GLACIER")
            await store.put("ordinary", b"body", {}, storage_class="COLDLINE")
        async with opened(tmp_path, clock, classes={"COLDLINE": CLASSES["GLACIER"]}) as store:
            # A class that came to be one: what was stored before is read at once.
            assert await store.fetch("ordinary", 0, 4) == b"body"
            with pytest.raises(ValueError, match="needs no restore"):
                await request(store, "ordinary")
            await store.put("new", b"body", {}, storage_class="COLDLINE")
            assert await store.restore_state("new") == ARCHIVED
            # A class that is none any more: what was stored before still needs a restore, which takes no time.
            with pytest.raises(ObjectArchivedError):
                await store.fetch("archived", 0, 4)
            await store.request_restore("archived", speed=RestoreSpeed.EXPEDITED, days=1)
            assert await store.restore_state("archived") == StoreRestore(RestoreStage.READABLE, later(START, DAY))
            assert await store.fetch("archived", 0, 4) == b"body"
            clock.advance(DAY)
            assert await store.restore_state("archived") == ARCHIVED

    asyncio.run(run())


def test_the_attribute_of_the_class_is_ours(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path, ManualClock()) as store:
            with pytest.raises(ValueError, match=":storage-class"):
                await store.put("k", b"", {":storage-class": "GLACIER"})
            assert await store.head("k") is None

    asyncio.run(run())
    assert not list(tmp_path.iterdir())


def test_time_is_the_systems_unless_it_is_given(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(tmp_path, archive_classes={"NOW": dict.fromkeys(RestoreSpeed, Seconds(0.0))})
        await store.put("k", b"body", {}, storage_class="NOW")
        await request(store, "k")
        head, state = await store.head("k"), await store.restore_state("k")
        assert head is not None
        assert state.readable_until is not None
        assert 0 <= state.readable_until - later(head.modified_at, DAY) < 60_000_000
        assert await store.fetch("k", 0, 4) == b"body"
        await store.aclose()

    asyncio.run(run())


def test_a_clock_that_jumps_back_makes_nothing_readable_too_early(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store:
            await store.put("k", b"body", {}, storage_class="GLACIER")
            await request(store, "k")
            clock.jump(HOUR)
            assert (await store.restore_state("k")).stage is RestoreStage.READABLE
            clock.jump(-HOUR)
            await request(store, "k", days=30)
            assert await store.restore_state("k") == REQUESTED
            clock.jump(HOUR)
            assert await store.restore_state("k") == StoreRestore(
                RestoreStage.READABLE, later(START, Seconds(DAY + HOUR))
            )

    asyncio.run(run())


def test_a_read_costs_no_more_than_before_there_were_restores(tmp_path: Path) -> None:
    async def run() -> None:
        system, clock = FaultySystem(), ManualClock()
        async with opened(tmp_path, clock, system=system) as store:

            async def calls_of_a_read(key: str) -> list[str]:
                system.calls.clear()
                assert await store.fetch(key, 0, 4) == b"body"
                fetched, system.calls = system.calls, []
                assert [block async for block in store.stream(key, 0, 4)] == [b"body"]
                assert [call.partition(" ")[0] for call in system.calls] == [call.partition(" ")[0] for call in fetched]
                return fetched

            file = "a~01kdvdna00f1w7gy3rf1w7gy3r"
            plain = ["open 43", f"open {file}", f"fstat {file}", f"pread {file}", f"pread {file}"]
            for storage_class in ("STANDARD", "STANDARD_IA"):
                await store.put(KEY, b"body", {"a": "b"}, storage_class=storage_class)
                assert await calls_of_a_read(KEY) == plain
                await store.delete([KEY])
            await store.put(KEY, b"body", {"a": "b"}, storage_class="GLACIER")
            await request(store)
            clock.advance(HOUR)
            mark = ["open .restores", f"open {NAME}", f"fstat {NAME}", f"pread {NAME}"]
            assert await calls_of_a_read(KEY) == plain[:4] + mark + plain[4:]

    asyncio.run(run())


def test_a_deletion_costs_little_more_where_nothing_was_restored(tmp_path: Path) -> None:
    async def run() -> None:
        system = FaultySystem()
        async with opened(tmp_path, ManualClock(), system=system) as store:
            keys = [str(number) for number in range(20)]
            for key in keys:
                await store.put(key, b"body", {})
            system.calls.clear()
            assert not await store.delete(keys)
            assert len([call for call in system.calls if ".restores" in call]) == 1

    asyncio.run(run())


def test_a_request_is_durable_before_the_answer(tmp_path: Path) -> None:
    async def run() -> None:
        system, clock = FaultySystem(), ManualClock()

        async def order(store: LocalObjectStore) -> list[str]:
            system.calls.clear()
            await request(store)
            return [call for call in system.calls if not call.startswith(("open", "fstat", "stat", "pread"))]

        async with opened(tmp_path, clock, system=system) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            write = [f"flock {NAME}~", f"writev {NAME}~", f"fsync {NAME}~", f"rename {NAME}", f"flock {NAME}"]
            write.append("fsync .restores")
            assert await order(store) == ["mkdir .restores", f"fsync {tmp_path.name}", *write]
            # One that changes nothing: whoever wrote the mark may have died before it was durable.
            assert await order(store) == ["fsync .restores"]
            clock.advance(Seconds(2 * HOUR))
            assert await order(store) == write
            system.calls.clear()
            assert not await store.delete([KEY])
            gone = [call for call in system.calls if call.startswith(("unlink", "fsync"))]
            assert gone == [
                "unlink a~01kdvdna00f1w7gy3rf1w7gy3r",
                f"unlink {NAME}~",
                f"unlink {NAME}",
                "fsync .restores",
                "fsync 43",
            ]

    asyncio.run(run())


def test_a_request_waits_for_the_one_that_is_being_written_and_keeps_to_it(tmp_path: Path) -> None:
    async def run() -> None:
        clock, system = ManualClock(), SlowSystem("rename")
        async with opened(tmp_path, clock, system=system) as slow, opened(tmp_path, clock) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            first = asyncio.ensure_future(request(slow, days=1))
            await asyncio.to_thread(system.reached.wait, 30)
            second = asyncio.ensure_future(request(store, days=30))
            # Long enough for one that does not wait to finish.
            await asyncio.wait([second], timeout=0.05)
            assert not second.done()
            system.go.set()
            await asyncio.gather(first, second)
            assert (tmp_path / ".restores" / NAME).read_bytes() == MARK
            assert marks(tmp_path) == [NAME]

    asyncio.run(run())


@pytest.mark.parametrize("key", [KEY, LONG])
@pytest.mark.parametrize("call", ["flock", "writev", "fsync", "rename"])
def test_an_object_that_is_deleted_while_its_restore_is_requested_leaves_no_mark(
    tmp_path: Path, call: str, key: str
) -> None:
    async def run() -> None:
        clock, system = ManualClock(), SlowSystem(call)
        async with opened(tmp_path, clock, system=system) as slow, opened(tmp_path, clock) as store:
            await store.put(key, b"body", {}, storage_class="GLACIER")
            requesting = asyncio.ensure_future(request(slow, key))
            await asyncio.to_thread(system.reached.wait, 30)
            assert not await store.delete([key])
            system.go.set()
            with pytest.raises(ObjectMissingError):
                await requesting
            assert marks(tmp_path) == []

    asyncio.run(run())


def test_a_name_that_always_means_another_file_is_an_error_not_a_hang(tmp_path: Path) -> None:
    class Elsewhere(System):
        def __init__(self) -> None:
            # What the name of the new mark says is never what was opened.
            vars(self)["stat"] = lambda *_args, **_kwargs: tmp_path.stat()

    async def run() -> None:
        async with opened(tmp_path, ManualClock(), system=Elsewhere()) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            with pytest.raises(UnavailableError, match="try again"):
                await request(store)

    asyncio.run(run())


REQUESTS = """
import asyncio, sys
from pathlib import Path
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Seconds

async def main(root, first):
    store = LocalObjectStore(Path(root), archive_classes={"A": dict.fromkeys(RestoreSpeed, Seconds(0.0))})
    print("ready", flush=True)
    sys.stdin.readline()
    for key in range(20):
        days = range(first, first + 8)
        await asyncio.gather(
            *(store.request_restore(str(key), speed=RestoreSpeed.BULK, days=number) for number in days)
        )
    await store.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.server
def test_processes_that_request_at_the_same_time_make_one_valid_mark(tmp_path: Path) -> None:
    async def fill() -> None:
        store = LocalObjectStore(tmp_path, archive_classes={"A": {}})
        for key in range(20):
            await store.put(str(key), b"body", {}, storage_class="A")
        await store.aclose()

    async def check(since: Timestamp) -> None:
        store = LocalObjectStore(tmp_path)
        for key in range(20):
            state = await store.restore_state(str(key))
            assert state.stage is RestoreStage.READABLE
            assert state.readable_until is not None
            # Everybody's days: the longest of 23 holds, whoever came last.
            assert 0 <= state.readable_until - later(since, Seconds(23 * DAY)) < 120_000_000
            assert await store.fetch(str(key), 0, 4) == b"body"
        await store.aclose()

    asyncio.run(fill())
    start = Timestamp(next((tmp_path / ".free").rglob("*~")).stat().st_mtime_ns // 1000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REQUESTS, str(tmp_path), str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (1, 16, 8)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=60)
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    asyncio.run(check(start))
    assert marks(tmp_path) == sorted(f"{key}~" for key in range(20))
