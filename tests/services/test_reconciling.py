"""Sweeps and cleaning: nothing live is ever deleted, doubt stops a sweep, what is foreign is left alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    InstallationMismatchError,
    IntentLostError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds
from thermocline.ports.object_store import ObjectInfo
from thermocline.services import reconciling
from thermocline.testing.faults import Faults

GRACE = Seconds(3 * 3600.0)


@runtime_checkable
class NoStore(Protocol):
    """An ability that no store has."""

    def is_an_ability_of_no_store(self) -> None: ...


@pytest.fixture(autouse=True, params=["list_range", "list_pages"])
def listing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the store is listed: by ranges, for workers to share, or as a whole."""
    if request.param == "list_pages":
        monkeypatch.setattr(reconciling, "ListsRanges", NoStore)
    return str(request.param)


async def add_orphans(machine: Machine, store: StorageOrchestrator, count: int) -> list[str]:
    installation = store.services.placements.installation
    keys = []
    for number in range(count):
        token = new_token(machine.clock.now(), machine.random.randbytes(10))
        keys.append(str(ObjectKey(installation, "standard", ContentId(f"orphan/{number}"), token)))
        await machine.objects.put(keys[-1], b"orphan", {})
    return keys


async def listed(machine: Machine) -> set[str]:
    return {info.key async for page in machine.objects.list_pages("") for info in page}


def test_a_sweep_waits_two_graces_and_spares_what_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            receipt = await store.store_content("a", b"live")
            orphans = await add_orphans(machine, store, 3)
            await store.services.sweep.run()
            assert await listed(machine) == {receipt.object_key, *orphans}, "younger than the grace"
            machine.clock.advance(GRACE)
            report, _ = await store.services.sweep.run()
            assert (report.unnamed, report.quarantined, report.refused) == (3, 3, None)
            assert await listed(machine) == {receipt.object_key, *orphans}, "quarantined, not deleted"
            machine.clock.advance(GRACE)
            await store.services.sweep.run()
            assert await listed(machine) == {receipt.object_key}
            assert await store.retrieve_content("a") == b"live"

    asyncio.run(scenario())


def test_what_is_named_again_leaves_quarantine_alive(tmp_path: Path) -> None:
    """An intent that appears for a quarantined key (a very slow sender) saves its object."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            (key,) = await add_orphans(machine, store, 1)
            machine.clock.advance(GRACE)
            await store.services.sweep.run()
            catalog = store.services.adapters.catalog
            machine.clock.advance(GRACE)
            await catalog.intents.declare(key, "standard", lease=Seconds(60))
            await store.services.sweep.empty_quarantine()
            assert key in await listed(machine)

    asyncio.run(scenario())


def test_a_sweep_that_would_take_too_much_stops_and_asks(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            for number in range(20):
                await store.store_content(f"c{number}", b"live")
            orphans = await add_orphans(machine, store, 11)
            machine.clock.advance(GRACE)
            report, _ = await store.services.sweep.run()
            assert report.refused is not None
            assert "--confirm" in report.refused
            machine.clock.advance(GRACE)
            await store.services.sweep.run()
            assert set(orphans) <= await listed(machine)
            report, _ = await store.services.sweep.run(confirmed=True)
            assert report.quarantined == 11
            machine.clock.advance(GRACE)
            await store.services.sweep.run()
            assert len(await listed(machine)) == 20

    asyncio.run(scenario())


def test_a_listing_that_breaks_takes_nothing(tmp_path: Path, listing: str) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            orphans = await add_orphans(machine, store, 2)
            machine.clock.advance(GRACE)
            whole = getattr(machine.objects, listing)

            async def broken(prefix: str, **given: Any) -> AsyncIterator[Sequence[ObjectInfo]]:
                async for page in whole(prefix, **given):
                    yield page[:1]
                    raise UnavailableError("the listing broke off")

            setattr(machine.objects, listing, broken)
            with pytest.raises(UnavailableError):
                await store.services.sweep.run()
            setattr(machine.objects, listing, whole)
            catalog = store.services.adapters.catalog
            assert await catalog.sweeps.due(now=machine.clock.now(), limit=10) == []
            assert set(orphans) <= await listed(machine)

    asyncio.run(scenario())


def test_foreign_objects_are_never_touched(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            installation = store.services.placements.installation
            foreign = {"photos/cat.jpg", f"{installation}/standard/not-ours", f"other/standard/a/{'0' * 26}"}
            for key in foreign:
                await machine.objects.put(key, b"foreign", {})
            for _ in range(3):
                machine.clock.advance(GRACE)
                await store.services.sweep.run(confirmed=True)
            assert await listed(machine) == foreign

    asyncio.run(scenario())


def test_a_request_that_lands_after_its_sender_died_is_removed(tmp_path: Path) -> None:
    """The cleaner deletes twice: what was on its way at the first time is gone at the second."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            installation = store.services.placements.installation
            key = str(ObjectKey(installation, "standard", ContentId("a"), new_token(machine.clock.now(), b"0" * 10)))
            await store.services.adapters.catalog.intents.declare(key, "standard", lease=Seconds(10))
            machine.clock.advance(Seconds(11))
            assert await store.services.cleaner.run() == 1
            await machine.objects.put(key, b"late", {})
            assert await store.services.cleaner.run() == 0, "the longest request has not passed yet"
            machine.clock.advance(Seconds(61))
            assert await store.services.cleaner.run() == 1
            assert await listed(machine) == set()
            assert await store.services.adapters.catalog.intents.count() == 0

    asyncio.run(scenario())


def test_an_upload_that_outlives_its_lease_sends_nothing_more(tmp_path: Path) -> None:
    """Without renewal the upload ends by itself; with renewal it may take as long as it likes."""

    async def scenario(*, renewed: bool) -> None:
        machine = Machine(tmp_path / str(renewed), settings=Settings())
        async with machine.process() as store:

            async def slow_body() -> AsyncIterator[bytes]:
                for _ in range(5):
                    yield b"x" * 64
                    for _ in range(3 if renewed else 1):
                        machine.clock.advance(Seconds(30 if renewed else 90))
                        if renewed:
                            await store.services.keeper.renew()
                    await store.services.cleaner.run()

            if renewed:
                await store.store_content("a", slow_body())
                assert await store.retrieve_content("a") == b"x" * 320
            else:
                with pytest.raises(IntentLostError):
                    await store.store_content("a", slow_body())
                machine.clock.advance(Seconds(200))
                await store.services.cleaner.run()
                machine.clock.advance(Seconds(200))
                await store.services.cleaner.run()
                assert await listed(machine) == set()

    for renewed in (True, False):
        (tmp_path / str(renewed)).mkdir()
        asyncio.run(scenario(renewed=renewed))


def test_two_installations_on_one_store_refuse_to_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "first").mkdir()
        (tmp_path / "second").mkdir()
        first, second = Machine(tmp_path / "first"), Machine(tmp_path / "second", installation="other-installation")
        second.objects = first.objects
        async with first.process() as store:
            await store.store_content("a", b"mine")
        with pytest.raises(InstallationMismatchError, match="belongs to installation"):
            async with second.process():
                pass
        async with first.process() as store:
            assert await store.retrieve_content("a") == b"mine"

    asyncio.run(scenario())


def test_a_commit_after_condemnation_aborts(tmp_path: Path) -> None:
    """The writer pauses before its commit until the cleaner has condemned its intent: it must not commit."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as other:
            gate = faults.gate("catalog.records.commit_write#1")
            faults.start()
            writing = asyncio.create_task(store.store_content("a", b"paused"))
            await gate.reached()
            await store.services.keeper.close()  # the paused process renews nothing either
            machine.clock.advance(Seconds(121))
            assert await other.services.cleaner.run() == 1
            gate.open()
            with pytest.raises(IntentLostError):
                await writing
            machine.clock.advance(Seconds(121))
            await other.services.cleaner.run()
            assert await listed(machine) == set()

    asyncio.run(scenario())


def test_objects_that_fail_to_be_deleted_stay_in_quarantine(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            kept, *_ = await add_orphans(machine, store, 3)
            machine.clock.advance(GRACE)
            await store.services.sweep.run()
            machine.clock.advance(GRACE)
            delete = machine.objects.delete

            async def refuse_one(keys: Sequence[str]) -> Mapping[str, StorageError]:
                await delete([key for key in keys if key != kept])
                return {key: UnavailableError("not now") for key in keys if key == kept}

            machine.objects.delete = refuse_one  # type: ignore[method-assign]
            assert await store.services.sweep.empty_quarantine() == 2
            assert await listed(machine) == {kept}
            machine.objects.delete = delete  # type: ignore[method-assign]
            assert await store.services.sweep.empty_quarantine() == 1
            assert await listed(machine) == set()
            assert await store.services.sweep.empty_quarantine() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("ahead", [-7 * 86400.0, 7 * 86400.0])
def test_age_is_reckoned_by_the_stores_own_time(tmp_path: Path, ahead: float) -> None:
    """This machine's clock is wrong by days: a fresh upload is not taken for an old orphan."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            store_time = machine.clock.now()
            machine.objects._contents.now = lambda: store_time  # type: ignore[method-assign]
            machine.clock.jump(ahead)
            await add_orphans(machine, store, 1)
            report, _ = await store.services.sweep.run()
            assert (report.listed, report.unnamed) == (1, 0)
            machine.objects._contents.now = lambda: store_time + 3 * 3600 * 1_000_000  # type: ignore[method-assign, assignment, return-value]
            report, _ = await store.services.sweep.run()
            assert report.quarantined == 1

    asyncio.run(scenario())


def test_what_a_commit_named_after_the_listing_is_spared(tmp_path: Path, listing: str) -> None:
    """Listed first, asked afterwards: a write that commits in between is named, or was never listed."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        faults = Faults()
        async with machine.process(faults) as store, machine.process() as writer:
            await writer.store_content("old", b"x")
            machine.clock.advance(GRACE)
            gate = faults.gate(f"objects.{listing}.next#1")
            faults.start()
            sweeping = asyncio.create_task(store.services.sweep.run(confirmed=True))
            await gate.reached()
            receipt = await writer.store_content("new", b"x")
            machine.objects._contents.objects[receipt.object_key] = type(
                machine.objects._contents.objects[receipt.object_key]
            )(b"x", machine.clock.now() - 10 * 3600 * 1_000_000, {})  # type: ignore[arg-type]
            gate.open()
            report, _ = await sweeping
            assert (report.listed, report.unnamed, report.quarantined) == (2, 0, 0)

    asyncio.run(scenario())


def test_a_sweep_bounds_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str) -> None:
    """Of ranges only counts are kept, so that there is no bound on what they find."""

    async def scenario() -> None:
        monkeypatch.setattr(reconciling, "MOST_CANDIDATES", 2)
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            await add_orphans(machine, store, 3)
            machine.clock.advance(GRACE)
            if listing == "list_range":
                report, _ = await store.services.sweep.run(confirmed=True)
                assert report.quarantined == 3
                return
            with pytest.raises(StorageError, match="Nothing was quarantined"):
                await store.services.sweep.run(confirmed=True)
            catalog = store.services.adapters.catalog
            later = machine.clock.now() + 10**12
            assert await catalog.sweeps.due(now=later, limit=9) == []  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_a_sweep_may_take_its_share_unasked(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings.model_validate({"limits": {"sweep_max_share": 0.5}}))
        async with machine.process() as store:
            for number in range(11):
                await store.store_content(f"c{number}", b"live")
            await add_orphans(machine, store, 11)
            machine.clock.advance(GRACE)
            report, _ = await store.services.sweep.run()
            assert (report.refused, report.quarantined) == (None, 11)

    asyncio.run(scenario())


def test_a_sweep_refuses_before_it_quarantines_anything(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            await add_orphans(machine, store, 11)
            machine.clock.advance(GRACE)
            report, _ = await store.services.sweep.run()
            assert (report.unnamed, report.quarantined) == (11, 0)
            assert report.refused
            catalog = store.services.adapters.catalog
            later = machine.clock.now() + 10**12
            assert await catalog.sweeps.due(now=later, limit=99) == []  # type: ignore[arg-type]
            assert len(await listed(machine)) == 11, "the probe of the store's time is gone, too"

    asyncio.run(scenario())
