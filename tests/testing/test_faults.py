"""The fault injector: every call is a point, every mode does what it says, the dead do nothing."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from thermocline.adapters.objects.memory import MemoryObjectStore
from thermocline.domain.errors import CommitUnknownError, UnavailableError
from thermocline.domain.restores import RestoreSpeed, RestoreStage
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.object_store import ObjectStore, Restorable
from thermocline.testing.clock import ManualClock
from thermocline.testing.faults import FaultMode, Faults, ProcessDied, random_chooser

DIES = (FaultMode.BEFORE, FaultMode.AFTER, FaultMode.DIED_LATE)
TAKES_EFFECT = (FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED)
LATE = (FaultMode.DIED_LATE, FaultMode.CANCELLED_LATE)


class Records:
    def __init__(self) -> None:
        self.commits = 0

    async def commit_write(self) -> int:
        self.commits += 1
        return self.commits

    async def find(self) -> int:
        return self.commits


class Catalog:
    def __init__(self) -> None:
        self.records = Records()
        self.note = "plain"

    async def installation(self) -> str:
        return "i"


def store() -> MemoryObjectStore:
    return MemoryObjectStore(ManualClock(), part_size=Bytes(2))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def everything(objects: ObjectStore) -> None:
    await objects.put("a", b"1234", {})
    upload = await objects.begin_upload("b", {})
    await upload.write(b"12")
    await upload.write(b"3")
    await upload.complete()
    assert [block async for block in objects.stream("b", 0, 3)] == [b"123"]
    assert [len(page) async for page in objects.list_pages("")] == [2]
    assert await objects.delete(["a", "b"]) == {}


POINTS = [
    "objects.put#1",
    "objects.begin_upload#1",
    "objects.upload.write#1",
    "objects.upload.write#2",
    "objects.upload.complete#1",
    "objects.stream.next#1",
    "objects.stream.next#2",
    "objects.list_pages.next#1",
    "objects.list_pages.next#2",
    "objects.delete#1",
]


def test_an_empty_plan_records_every_point_and_changes_nothing() -> None:
    faults = Faults()
    objects = faults.wrap("objects", store())
    run(everything(objects))
    assert faults.points == []
    faults.start()
    run(everything(objects))
    assert faults.points == POINTS
    faults.start()
    run(everything(objects))
    assert faults.points == POINTS
    assert not faults.fired
    assert isinstance(objects, MemoryObjectStore)
    assert objects.part_size == 2
    objects.part_size = Bytes(3)
    assert objects.part_size == 3


class WithoutRestores:
    async def head(self, key: str) -> None:
        """Have one method, so that it is a port."""


def test_the_abilities_of_a_store_are_seen_through_and_are_points() -> None:
    faults = Faults({"objects.request_restore#1": FaultMode.LOST})
    real = MemoryObjectStore(ManualClock(), archive_classes={"COLD": {RestoreSpeed.BULK: Seconds(5.0)}})
    objects: ObjectStore = faults.wrap("objects", real)
    assert isinstance(objects, Restorable)
    assert not isinstance(faults.wrap("objects", WithoutRestores()), Restorable)

    async def restore() -> None:
        assert isinstance(objects, Restorable)
        await objects.put("a", b"1", {}, storage_class="COLD")
        faults.start()
        with pytest.raises(UnavailableError):
            await objects.request_restore("a", speed=RestoreSpeed.BULK, days=1)
        assert (await objects.restore_state("a")).stage is RestoreStage.REQUESTED

    run(restore())
    assert faults.points == ["objects.request_restore#1", "objects.restore_state#1"]


@pytest.mark.parametrize("mode", FaultMode)
@pytest.mark.parametrize("point", POINTS)
def test_every_point_can_be_struck_in_every_mode(point: str, mode: FaultMode) -> None:
    faults = Faults({point: mode})
    objects = faults.wrap("objects", store())
    faults.start()
    with pytest.raises((ProcessDied, asyncio.CancelledError, UnavailableError)) as caught:
        run(everything(objects))
    assert faults.fired == [(point, mode)]
    assert faults.points[-1] == point
    assert faults.dead == (mode in DIES) == isinstance(caught.value, ProcessDied)


@pytest.mark.parametrize("mode", FaultMode)
def test_what_takes_effect_and_when(mode: FaultMode) -> None:
    async def strike() -> None:
        real = store()
        faults = Faults({"objects.put#1": mode})
        objects = faults.wrap("objects", real)
        faults.start()
        with pytest.raises((ProcessDied, asyncio.CancelledError, UnavailableError)):
            await objects.put("a", b"1", {})
        assert (await real.head("a") is not None) == (mode in TAKES_EFFECT)
        await faults.land()
        assert (await real.head("a") is not None) == (mode in TAKES_EFFECT + LATE)

    run(strike())


def test_the_dead_do_nothing() -> None:
    async def die() -> None:
        real = store()
        faults = Faults({"objects.head#1": FaultMode.BEFORE})
        objects, other = faults.wrap("objects", real), faults.wrap("catalog", Catalog())
        upload = await objects.begin_upload("u", {})
        steps = objects.list_pages("")
        faults.start()
        with pytest.raises(ProcessDied):
            await objects.head("x")
        for attempt in (
            lambda: objects.put("a", b"1", {}),
            upload.abort,
            lambda: anext(steps),
            other.records.commit_write,
            other.installation,
        ):
            with pytest.raises(ProcessDied):
                await attempt()
        with pytest.raises(ProcessDied):
            objects.list_pages("")
        assert [info.key async for page in real.list_pages("") for info in page] == ["u"]

    run(die())


def test_a_lost_commit_is_unknown_and_a_lost_read_unavailable() -> None:
    async def lose() -> None:
        real = Catalog()
        faults = Faults({"catalog.records.commit_write#1": FaultMode.LOST, "catalog.records.find#2": FaultMode.LOST})
        catalog = faults.wrap("catalog", real)
        faults.start()
        with pytest.raises(CommitUnknownError):
            await catalog.records.commit_write()
        assert await catalog.records.find() == 1
        with pytest.raises(UnavailableError):
            await catalog.records.find()
        assert catalog.note == "plain"

    run(lose())


def test_a_gate_interleaves_two_operations() -> None:
    async def interleave() -> list[str]:
        faults, order = Faults(), list[str]()
        objects = faults.wrap("objects", store())
        before, after = faults.gate("objects.put#1"), faults.gate("objects.head#1", after=True)
        faults.start()

        async def writer() -> None:
            await objects.put("a", b"1", {})
            order.append("put")

        async def reader() -> None:
            assert await objects.head("a") is None
            order.append("head")

        tasks = [asyncio.create_task(writer()), asyncio.create_task(reader())]
        await before.reached()
        await after.reached()
        before.open()
        await asyncio.wait([tasks[0]])
        after.open()
        await asyncio.gather(*tasks)
        return order

    assert run(interleave()) == ["put", "head"]


def test_who_was_waiting_when_the_process_died_is_dead_too() -> None:
    async def die() -> None:
        real = store()
        faults = Faults({"objects.head#1": FaultMode.BEFORE})
        objects = faults.wrap("objects", real)
        gate = faults.gate("objects.put#1")
        faults.start()
        writer = asyncio.create_task(objects.put("a", b"1", {}))
        await gate.reached()
        with pytest.raises(ProcessDied):
            await objects.head("a")
        gate.open()
        await asyncio.wait([writer])
        assert isinstance(writer.exception(), ProcessDied)
        assert await real.head("a") is None

    run(die())


def test_random_faults_repeat_with_their_seed() -> None:
    def fired(seed: int) -> list[tuple[str, FaultMode]]:
        faults = Faults(chooser=random_chooser(seed, rate=0.3, modes=(FaultMode.LOST,)))
        objects = faults.wrap("objects", store())
        faults.start()

        async def work() -> None:
            for number in range(40):
                with contextlib.suppress(UnavailableError):
                    await objects.head(str(number))

        run(work())
        return faults.fired

    assert fired(1) == fired(1)
    assert fired(1) != fired(2)
    assert 3 < len(fired(3)) < 25
