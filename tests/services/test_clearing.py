"""Deleting by prefix: everything under it, nothing else, held contents kept and told."""

import asyncio
from pathlib import Path

import pytest

from tests.services.test_importing import with_store
from thermocline import InvalidInputError, StorageOrchestrator
from thermocline.domain.errors import UnavailableError
from thermocline.services import clearing
from thermocline.testing.faults import FaultMode, Faults


async def fill(store: StorageOrchestrator) -> None:
    for number in range(25):
        await store.store_content(f"p/{number:02}", b"x" * number)
    for other in ("o", "p", "q/1"):
        await store.store_content(other, b"x")


async def ids(store: StorageOrchestrator) -> list[str]:
    return [record.content_id async for record in store.list_content()]


@pytest.mark.parametrize("erase", [False, True])
def test_everything_under_the_prefix_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, erase: bool) -> None:
    monkeypatch.setattr(clearing, "MAX_PAGE", 4)

    async def scenario(store: StorageOrchestrator) -> None:
        await fill(store)
        told: list[str] = []
        report = await store.delete_prefix("p/", erase=erase, progress=lambda record: told.append(record.content_id))
        assert (report.deleted, report.deleted_bytes, report.kept) == (25, sum(range(25)), 0)
        assert report.is_complete
        assert sorted(told) == [f"p/{number:02}" for number in range(25)]
        assert await ids(store) == ["o", "p", "q/1"]
        objects = store.services.adapters.stores["main"]
        assert len([info async for page in objects.list_pages("") for info in page]) == (3 if erase else 28)
        assert (await store.delete_prefix("p/")).deleted == 0

    with_store(tmp_path, scenario)


def test_a_dry_run_deletes_nothing(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await fill(store)
        await store.update_metadata("p/03", held=True)
        report = await store.delete_prefix("p", dry_run=True)
        assert (report.deleted, report.kept, report.dry_run) == (25, 1, True)
        assert len(await ids(store)) == 28

    with_store(tmp_path, scenario)


def test_held_contents_are_kept_and_told(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await fill(store)
        await store.update_metadata("p/03", held=True)
        report = await store.delete_prefix("p/")
        assert report.as_dict()["problems"] == [
            {"content_id": "p/03", "reason": "content 'p/03' is on hold; release the hold first"}
        ]
        assert (report.deleted, report.kept, report.is_complete) == (24, 1, False)
        assert "p/03" in await ids(store)

    with_store(tmp_path, scenario)


def test_a_dependency_that_is_down_ends_it(tmp_path: Path) -> None:
    faults = Faults({"catalog.records.commit_delete#3": FaultMode.LOST})

    async def scenario(store: StorageOrchestrator) -> None:
        await fill(store)
        faults.start()
        report = await store.delete_prefix("p/")
        assert isinstance(report.stopped_by, UnavailableError)
        assert not report.is_complete
        await store.delete_prefix("p/")
        assert await ids(store) == ["o", "p", "q/1"]

    with_store(tmp_path, scenario, faults=faults)


def test_an_interrupt_lets_deletions_under_way_end(tmp_path: Path) -> None:
    faults = Faults()
    gate = faults.gate("catalog.records.commit_delete#5")

    async def scenario(store: StorageOrchestrator) -> None:
        await fill(store)
        faults.start()
        told: list[str] = []
        clearing_it = asyncio.ensure_future(
            store.delete_prefix("p/", progress=lambda record: told.append(record.content_id))
        )
        await gate.reached()
        clearing_it.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await clearing_it
        assert len(await ids(store)) == 28 - len(told)

    with_store(tmp_path, scenario, faults=faults)


def test_prefixes_that_cannot_be(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        with pytest.raises(InvalidInputError):
            await store.delete_prefix("a\n")

    with_store(tmp_path, scenario)
