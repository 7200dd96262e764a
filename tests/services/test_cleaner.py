"""The intent cleaner deletes twice, forgets last, and lets no store that fails keep the others waiting."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    ConfigurationError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.keys import ObjectKey, new_token
from thermocline.domain.units import Seconds
from thermocline.services.placements import Placement, Placements
from thermocline.testing.faults import FaultMode, Faults

GRACE = Seconds(3 * 3600.0)


async def listed(machine: Machine) -> set[str]:
    return {info.key async for page in machine.objects.list_pages("") for info in page}


async def make_orphan(machine: Machine, placement: str, name: str) -> str:
    key = ObjectKey("test-installation", placement, ContentId(name), new_token(machine.clock.now(), b"0" * 10))
    await machine.objects.put(str(key), b"orphan", {})
    return str(key)


def add_placement(store: StorageOrchestrator, name: str, objects: object) -> None:
    placements: Placements = store.services.placements
    # First in order: what fails there must not keep the others waiting.
    mine = {name: Placement(name, name, objects)} if objects is not None else {}  # type: ignore[arg-type]
    placements._placements = mine | {**placements._placements, **mine}


class Failing:
    """A store that does not answer."""

    async def delete(self, _keys: Sequence[str]) -> Mapping[str, StorageError]:
        raise UnavailableError("down")

    async def put(self, _key: str, _data: bytes, _attributes: Mapping[str, str]) -> None:
        raise UnavailableError("down")


@pytest.mark.parametrize("gone", [False, True], ids=["down", "not in the settings"])
def test_a_placement_that_fails_keeps_no_other_waiting(tmp_path: Path, *, gone: bool) -> None:
    """Its own objects are not forgotten: they are cleaned once it answers again."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as store:
            services = store.services
            catalog = services.adapters.catalog
            add_placement(store, "attic", None if gone else Failing())
            intents = {place: await make_orphan(machine, place, "intent") for place in ("attic", "standard")}
            quarantined = {place: await make_orphan(machine, place, "swept") for place in ("attic", "standard")}
            for place in ("attic", "standard"):
                await catalog.intents.declare(intents[place], place, lease=Seconds(1))
                now = machine.clock.now()
                await catalog.sweeps.quarantine_unnamed([quarantined[place]], placement=place, delete_at=now)
            error: type[StorageError] = ConfigurationError if gone else UnavailableError
            for _ in range(2):
                machine.clock.advance(Seconds(121))
                with pytest.raises(error):
                    await services.cleaner.run()
                with pytest.raises(error):
                    await services.sweep.empty_quarantine()
            assert await listed(machine) == {intents["attic"], quarantined["attic"]}
            assert await catalog.intents.count() == 1
            if not gone:
                swept = await make_orphan(machine, "standard", "later")
                machine.clock.advance(GRACE)
                for _ in range(2):
                    with pytest.raises(UnavailableError):
                        await services.sweep.run()
                    machine.clock.advance(GRACE)
                with pytest.raises(UnavailableError):
                    await services.sweep.run()
                assert swept not in await listed(machine)
            add_placement(store, "attic", machine.objects)
            for _ in range(2):
                machine.clock.advance(Seconds(121))
                await services.cleaner.run()
            await services.sweep.empty_quarantine()
            assert await listed(machine) == set()
            assert await catalog.intents.count() == 0

    asyncio.run(scenario())


def test_a_crash_between_the_two_deletions_loses_neither(tmp_path: Path) -> None:
    """The first process dies after its first look; what landed since is found by the next."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        key = await make_orphan(machine, "standard", "a")
        async with machine.process() as store:
            await store.services.adapters.catalog.intents.declare(key, "standard", lease=Seconds(10))
            machine.clock.advance(Seconds(11))
            assert await store.services.cleaner.run() == 1
        await machine.objects.put(key, b"late", {})
        async with machine.process() as store:
            machine.clock.advance(Seconds(59))
            assert await store.services.cleaner.run() == 0
            machine.clock.advance(Seconds(1))
            assert await store.services.cleaner.run() == 1
            assert await listed(machine) == set()
            assert await store.services.adapters.catalog.intents.count() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("deletion", [1, 2])
def test_an_intent_is_settled_only_after_its_deletion(tmp_path: Path, deletion: int) -> None:
    """The process is cut off in the middle of either deletion: the row still leads to the object."""

    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        key = await make_orphan(machine, "standard", "a")
        faults = Faults({f"objects.delete#{deletion}": FaultMode.CANCELLED_BEFORE})
        async with machine.process(faults) as store:
            await store.services.adapters.catalog.intents.declare(key, "standard", lease=Seconds(10))
            faults.start()
            for number in (1, 2):
                machine.clock.advance(Seconds(61))
                if number == deletion:
                    with pytest.raises(asyncio.CancelledError):
                        await store.services.cleaner.run()
                    break
                await store.services.cleaner.run()
                await machine.objects.put(key, b"late", {})
            for _ in range(2):
                machine.clock.advance(Seconds(121))
                await store.services.cleaner.run()
            assert await listed(machine) == set()
            assert await store.services.adapters.catalog.intents.count() == 0

    asyncio.run(scenario())


def test_two_cleaners_share_no_intent(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = Machine(tmp_path, settings=Settings())
        async with machine.process() as here, machine.process() as there:
            for number in range(6):
                key = await make_orphan(machine, "standard", f"a{number}")
                await here.services.adapters.catalog.intents.declare(key, "standard", lease=Seconds(10))
            machine.clock.advance(Seconds(11))
            both = await asyncio.gather(here.services.cleaner.run(), there.services.cleaner.run())
            assert sum(both) == 6
            assert await there.services.cleaner.run() == 0, "claimed for as long as two requests may take"

    asyncio.run(scenario())
