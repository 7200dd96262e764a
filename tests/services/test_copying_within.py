"""Copies that the store makes by itself: hardly a byte is read, and what is not the same is never committed."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.services.moves import ARCHIVE, COLD, check_only_live_objects, run, tier_of
from thermocline import StorageTier
from thermocline.adapters.objects.memory import CopyingMemoryObjectStore
from thermocline.domain.digests import Buffer
from thermocline.ports.object_store import ObjectHead
from thermocline.services.copying import PROBE_BYTES

SIZES = pytest.mark.parametrize("size", [0, 1, PROBE_BYTES, PROBE_BYTES + 1, 10 * PROBE_BYTES])
LARGEST_PARTS = 10 * PROBE_BYTES


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Watched(CopyingMemoryObjectStore):
    """Counts the bytes that are read, and copies wrongly when told to."""

    read = 0
    wrong = ""
    checksums: Mapping[str, str | None] = {}

    async def fetch(self, key: str, start: int, end: int) -> bytes:
        self.read += end - start
        return await super().fetch(key, start, end)

    async def head(self, key: str) -> ObjectHead | None:
        head = await super().head(key)
        name = key.split("/")[1]
        return None if head is None else replace(head, checksum=self.checksums.get(name))

    async def copy(self, source: str, target: str, *args: object, **kwargs: object) -> None:
        await super().copy(source, target, *args, **kwargs)  # type: ignore[arg-type]
        stored = self._contents.objects[target]
        data: Buffer = {
            "": stored.data,
            "short": stored.data[:-1],
            "long": stored.data + b"x",
            "end": stored.data[:-1] + b"\xff",
        }[self.wrong]
        self._contents.objects[target] = replace(stored, data=bytes(data))


def machine_of(folder: Path) -> tuple[Machine, Watched]:
    machine = Machine(folder)
    watched = Watched(machine.clock, part_size=machine.objects.part_size, archive_classes={"GLACIER": {}})
    machine.objects = watched
    return machine, watched


@SIZES
@pytest.mark.parametrize("tier", [COLD, ARCHIVE])
def test_at_most_a_probe_is_read(tmp_path: Path, size: int, tier: StorageTier) -> None:
    async def scenario() -> None:
        machine, store_of_objects = machine_of(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", body_of(size), initial_tier="hot")
            store_of_objects.read = 0
            outcome = await store.set_tier("a", tier)
            assert (outcome.error, outcome.planned) == (None, False)
            assert store_of_objects.read <= (PROBE_BYTES if tier is COLD else 0)
            await check_only_live_objects(machine)

    run(scenario)


@pytest.mark.parametrize("wrong", ["short", "long", "end"])
@pytest.mark.parametrize("size", [1, PROBE_BYTES, 3 * PROBE_BYTES])
def test_a_copy_that_is_not_the_same_gets_no_record(tmp_path: Path, wrong: str, size: int) -> None:
    async def scenario() -> None:
        machine, store_of_objects = machine_of(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", body_of(size), initial_tier="hot")
            store_of_objects.wrong = wrong
            outcome = await store.set_tier("a", COLD)
            assert outcome.error is not None
            assert await tier_of(store) is StorageTier.HOT
            assert await store.retrieve_content("a") == body_of(size)
            await asyncio.sleep(0)
            await check_only_live_objects(machine)
            store_of_objects.wrong = ""
            machine.clock.advance(7200.0)
            await store.services.moving.run()
            assert await tier_of(store) is COLD

    run(scenario)


@SIZES
@pytest.mark.parametrize("tier", [COLD, ARCHIVE])
def test_a_source_that_was_cut_is_called_damaged(tmp_path: Path, size: int, tier: StorageTier) -> None:
    async def scenario() -> None:
        machine, store_of_objects = machine_of(tmp_path)
        async with machine.process() as store:
            key = (await store.store_content("a", body_of(size + 1), initial_tier="hot")).object_key
            stored = store_of_objects._contents.objects[key]
            store_of_objects._contents.objects[key] = replace(stored, data=bytes(stored.data[:-1]))
            outcome = await store.set_tier("a", tier)
            assert outcome.error is not None
            assert outcome.error.startswith("IntegrityError: content 'a' is damaged")
            assert await tier_of(store) is StorageTier.HOT

    run(scenario)


@pytest.mark.parametrize(("size", "tier"), [(5, ARCHIVE), (PROBE_BYTES + 1, ARCHIVE), (PROBE_BYTES + 1, COLD)])
@pytest.mark.parametrize(
    ("checksums", "moved"),
    [
        (("1", "1"), True),
        (("1", "2"), False),
        (("1", None), True),
        ((None, "2"), True),
    ],
)
def test_checksums_of_the_store_are_compared_where_it_has_both(
    tmp_path: Path, size: int, tier: StorageTier, checksums: tuple[str | None, str | None], moved: bool
) -> None:
    async def scenario() -> None:
        machine, store_of_objects = machine_of(tmp_path)
        async with machine.process() as store:
            await store.store_content("a", body_of(size), initial_tier="hot")
            placements = ("standard", "infrequent" if tier is COLD else "archive")
            store_of_objects.checksums = dict(zip(placements, checksums, strict=True))
            outcome = await store.set_tier("a", tier)
            assert (outcome.error is None) == moved
            assert (await tier_of(store) is tier) == moved

    run(scenario)
