"""What lies in a bucket already: copied, or adopted where it lies and never deleted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PART_SIZE, Machine, settle
from tests.services.trees import counts
from thermocline import InvalidInputError, StorageOrchestrator, StorageTier
from thermocline.domain.errors import FileTreeError, IntegrityError, StorageError, UnavailableError
from thermocline.domain.units import Seconds
from thermocline.domain.work import OutboxKind
from thermocline.services import placements
from thermocline.services.object_trees import ImportSources
from thermocline.testing.faults import FaultMode, Faults, ProcessDied

FILES = {
    "old/a.txt": b"a",
    "old/b/c.jpg": b"x" * 50,
    "old/b/empty": b"",
    "old/d": b"y" * (PART_SIZE * 3 + 5),
    "older/not": b"of this prefix",
}
WANTED = {key.removeprefix("old/"): data for key, data in FILES.items() if key.startswith("old/")}

Scenario = Callable[[StorageOrchestrator, Machine], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened(machine: Machine, faults: Faults | None = None) -> AsyncIterator[StorageOrchestrator]:
    async with machine.process(faults) as store:
        services = store.services
        buckets = {"media": ("main", services.adapters.stores["main"])}
        services.importing.trees = ImportSources(services.adapters.trees, buckets, services.placements.is_ours)
        yield store


def run(folder: Path, scenario: Scenario) -> None:
    machine = Machine(folder)

    async def main() -> None:
        for key, data in FILES.items():
            await machine.objects.put(key, data, {"colour": "blue"})
        async with opened(machine) as store:
            await scenario(store, machine)

    asyncio.run(main())


async def _contents(store: StorageOrchestrator) -> dict[str, bytes]:
    ids = [record.content_id async for record in store.list_content()]
    return {content_id: await store.retrieve_content(content_id) for content_id in ids}


async def _foreign(machine: Machine) -> dict[str, bytes]:
    found = {}
    async for page in machine.objects.list_pages("old"):
        for info in page:
            found[info.key] = await machine.objects.fetch(info.key, 0, info.size)
    return found


@pytest.mark.parametrize("in_place", [False, True])
def test_a_bucket_is_imported_and_again(tmp_path: Path, *, in_place: bool) -> None:
    async def scenario(store: StorageOrchestrator, _machine: Machine) -> None:
        report = await store.import_tree("s3://media/old", in_place=in_place)
        assert counts(report) == {"files": 4, "copied": 4}
        assert await _contents(store) == WANTED
        report = await store.import_tree("s3://media/old/", in_place=in_place, verify=True)
        assert counts(report) == {"files": 4, "unchanged": 4, "verified": 4}

    run(tmp_path, scenario)


def test_in_place_no_object_is_made(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        before = set(machine.objects._contents.objects)
        await store.import_tree("s3://media/old", "new", in_place=True)
        assert set(machine.objects._contents.objects) == before
        record = await store.stat("new/b/c.jpg")
        assert (record.object_key, record.placement, record.tier) == ("old/b/c.jpg", "standard", StorageTier.HOT)
        assert (await store.stat("new/a.txt")).headers.content_type == "text/plain"

    run(tmp_path, scenario)


def _delete(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.delete_content("d")


def _erase(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.erase_content("d")


def _overwrite(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.store_content("d", b"new")


def _move(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.set_tier("d", StorageTier.COLD)


def _expire(store: StorageOrchestrator) -> Coroutine[Any, Any, Any]:
    return store.update_metadata("d", {}, expires_in=60)


@pytest.mark.parametrize("end", [_delete, _erase, _overwrite, _move, _expire])
def test_whatever_becomes_of_the_content_its_object_stays(
    tmp_path: Path, end: Callable[[StorageOrchestrator], Coroutine[Any, Any, Any]]
) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await store.import_tree("s3://media/old", in_place=True)
        await end(store)
        for _ in range(3):
            await settle(store, machine.clock)
            machine.clock.advance(Seconds(7 * 86400.0))
        assert await _foreign(machine) == FILES
        catalog = store.services.adapters.catalog
        assert sum(row.waiting + row.dead for row in await catalog.outbox.state()) == 0
        # And our own objects do go, beside them.
        await store.store_content("own", b"own")
        own = (await store.stat("own")).object_key
        await store.delete_content("own")
        await settle(store, machine.clock)
        assert await machine.objects.head(own) is None

    run(tmp_path, scenario)


TWO = {"old/a.txt": b"a", "old/d": FILES["old/d"]}
ENDS = (FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST, FaultMode.CANCELLED)


async def _adopt(machine: Machine, faults: Faults) -> None:
    for key, data in TWO.items():
        await machine.objects.put(key, data, {})
    async with opened(machine, faults) as store:
        faults.start()
        passing = asyncio.ensure_future(_pass_time(machine))  # what does not answer is asked again later
        with suppress(ProcessDied, asyncio.CancelledError, StorageError):
            await store.import_tree("s3://media/old", in_place=True, jobs=1)
        passing.cancel()


async def _pass_time(machine: Machine) -> None:
    while True:
        await asyncio.sleep(0.001)
        machine.clock.advance(1.0)


async def _clean(store: StorageOrchestrator, machine: Machine) -> None:
    for _ in range(3):
        machine.clock.advance(Seconds(3 * 3600.0))
        await store.services.cleaner.run()
        await store.services.outbox.deliver(OutboxKind.DELETE_OBJECT)


@pytest.mark.thorough
def test_killed_at_any_call_it_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    """What was committed stays, the rest follows, the intents end, and no object comes to harm."""

    async def main() -> None:
        trial = Faults()
        await _adopt(Machine(tmp_path), trial)
        points = list(trial.points)
        assert len(points) > 10
        for point, mode in product(points, ENDS):
            machine = Machine(tmp_path)
            faults = Faults({point: mode})
            await _adopt(machine, faults)
            assert faults.fired, (point, mode)
            async with opened(machine) as store:
                report = await store.import_tree("s3://media/old", in_place=True)
                assert report.is_complete, (point, mode, report.problems)
                assert await _contents(store) == {key.removeprefix("old/"): data for key, data in TWO.items()}
                await _clean(store, machine)
                assert await store.services.adapters.catalog.intents.count() == 0, (point, mode)
            assert await _foreign(machine) == TWO, (point, mode)

    asyncio.run(main())


def test_an_object_that_changed_is_adopted_again_and_until_then_refused(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await store.import_tree("s3://media/old", in_place=True)
        machine.clock.advance(Seconds(5.0))
        machine.objects._contents.remove("old/a.txt")
        await machine.objects.put("old/a.txt", b"b", {})
        with pytest.raises(IntegrityError):
            await store.retrieve_content("a.txt")
        report = await store.import_tree("s3://media/old", in_place=True)
        assert counts(report) == {"files": 4, "unchanged": 3, "replaced": 1}
        assert await store.retrieve_content("a.txt") == b"b"
        await settle(store, machine.clock)
        assert await store.retrieve_content("a.txt") == b"b"

    run(tmp_path, scenario)


def test_where_no_tier_is_placed_nothing_can_stay(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        await machine.objects.put("else/x", b"x", {}, storage_class="ONEZONE_IA")
        report = await store.import_tree("s3://media/else", in_place=True)
        assert counts(report) == {"files": 1, "failed": 1}
        assert "'ONEZONE_IA' of the store 'main', where no tier is placed" in report.problems[0].reason
        await machine.objects.put("cold/x", b"x", {}, storage_class="STANDARD_IA")
        assert (await store.import_tree("s3://media/cold", "cold", in_place=True)).is_complete
        assert (await store.stat("cold/x")).tier is StorageTier.COLD
        await machine.objects.put("ice/x", b"x", {}, storage_class="GLACIER")
        for in_place in (True, False):
            report = await store.import_tree("s3://media/ice", "ice", in_place=in_place)
            assert "is archived; have its store restore it" in report.problems[0].reason

    run(tmp_path, scenario)


def test_our_own_objects_are_no_files(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, _machine: Machine) -> None:
        await store.store_content("mine", b"mine")
        report = await store.import_tree("s3://media", "all", in_place=True, exclude=["older"])
        assert counts(report) == {"files": 4, "copied": 4, "left_out": 1, "excluded": 1}

    run(tmp_path, scenario)


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, _machine: Machine) -> None:
        with pytest.raises(FileTreeError, match=r"is the bucket 'other' \(they have: media\); add \[objects.NAME\]"):
            await store.import_tree("s3://other/x")
        with pytest.raises(InvalidInputError, match="only what lies in an object store can stay in place"):
            await store.import_tree(tmp_path, in_place=True)
        with pytest.raises(FileTreeError, match="imported from, not exported to"):
            async with store.services.importing.trees.open("s3://media/old") as tree:
                await tree.write("x", b"", await tree.look("a.txt"), replace=True)  # type: ignore[arg-type]

    run(tmp_path, scenario)


def test_a_store_that_does_not_answer_ends_it_and_it_goes_on(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator, machine: Machine) -> None:
        find = machine.objects.head

        async def silent(key: str) -> Any:
            if key == "old/d":
                raise UnavailableError("no answer", retry_after=Seconds(0.0))
            return await find(key)

        store.services.adapters.stores["main"].head = silent  # type: ignore[method-assign]
        report = await store.import_tree("s3://media/old", in_place=True)
        assert not report.is_complete
        assert isinstance(report.stopped_by, UnavailableError)
        store.services.adapters.stores["main"].head = find  # type: ignore[method-assign]
        assert (await store.import_tree("s3://media/old", in_place=True)).is_complete
        assert await _contents(store) == WANTED

    run(tmp_path, scenario)


def test_every_deletion_of_the_services_asks_whose_object_it_is() -> None:
    services = Path(placements.__file__).parent
    direct = [
        path.name
        for path in services.glob("*.py")
        if "store.delete(" in path.read_text() and path.name != "placements.py"
    ]
    assert direct == []
