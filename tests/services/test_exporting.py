"""Exports: which file a content becomes, what is never overwritten, what is told, and going on after an end."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.files.test_local_trees import FaultyTreeSystem
from tests.machine import PART_SIZE
from tests.services.test_importing import FILES, with_store
from tests.services.trees import counts, picture, plant
from thermocline import StorageOrchestrator
from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.domain.errors import FileTreeError, InvalidInputError, OutOfSpaceError, UnavailableError
from thermocline.services.stored_bytes import StoredBytes
from thermocline.services.tree_reports import Outcome, TreeProgress
from thermocline.testing.faults import FaultMode, Faults


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        await store.import_tree(root, "p")
        await store.store_content("other", b"x")
        report = await store.export_tree(tmp_path / "out", "p")
        assert counts(report) == {"files": 4, "copied": 4}
        assert picture(tmp_path / "out") == picture(root)
        assert counts(await store.export_tree(tmp_path / "out", "p/", verify=True)) == {
            "files": 4, "unchanged": 4, "verified": 4,
        }  # fmt: skip

    with_store(tmp_path, scenario)


def test_files_that_differ_are_only_replaced_when_asked(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"new")
        await store.store_content("b", b"b")
        out = plant(tmp_path / "out", {"a": b"mine"})
        report = await store.export_tree(out)
        assert counts(report) == {"files": 2, "copied": 1, "refused": 1}
        assert "--force" in report.problems[0].reason
        assert (out / "a").read_bytes() == b"mine"
        report = await store.export_tree(out, replace=True, verify=True)
        assert counts(report) == {"files": 2, "replaced": 1, "unchanged": 1, "verified": 2}
        assert (out / "a").read_bytes() == b"new"
        # Without a source's time a file has that of the write, so it is known again.
        assert counts(await store.export_tree(out)) == {"files": 2, "unchanged": 2}

    with_store(tmp_path, scenario)


def test_contents_that_cannot_be_files_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        long = "x" * 300
        for content_id in ("a", "a-b", "a/b", "a/c/d", "ab", long, f"b/{long}/c", "b/c"):
            await store.store_content(content_id, b"x")
        out = tmp_path / "out"
        report = await store.export_tree(out)
        assert counts(report) == {"files": 8, "copied": 4, "refused": 4}
        assert sorted(picture(out)) == ["a", "a-b", "ab", "b/c"]
        reasons = {problem.path: problem.reason for problem in report.problems}
        assert reasons["a/b"] == reasons["a/c/d"] == "the content 'a' is a file where this needs a folder"
        assert "255 bytes" in reasons[long]

    with_store(tmp_path, scenario)


def test_what_stands_in_the_way_is_never_touched(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        for content_id in ("file/x", "folder", "link/x", "to-file", "good"):
            await store.store_content(content_id, b"x")
        outside = plant(tmp_path / "outside", {"kept": b"kept"})
        out = plant(tmp_path / "out", {"file": b"mine", "folder/in": b"mine"})
        (out / "link").symlink_to(outside)
        (out / "to-file").symlink_to(outside / "kept")
        for replace in (False, True):
            report = await store.export_tree(out, replace=replace)
            assert report.refused == 4
            assert {problem.path for problem in report.problems} == {"file/x", "folder", "link/x", "to-file"}
        assert picture(outside).keys() == {"kept"}
        assert (outside / "kept").read_bytes() == b"kept"
        assert (out / "file").read_bytes() == b"mine"
        assert (out / "good").read_bytes() == b"x"

    with_store(tmp_path, scenario)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a/b", b"x")
        report = await store.export_tree(tmp_path / "out", dry_run=True)
        assert counts(report) == {"files": 1, "copied": 1}
        assert not (tmp_path / "out").exists()
        out = plant(tmp_path / "out", {"a/b": b"mine"})
        assert counts(await store.export_tree(out, dry_run=True)) == {"files": 1, "refused": 1}
        assert counts(await store.export_tree(out, dry_run=True, replace=True)) == {"files": 1, "replaced": 1}
        assert (out / "a/b").read_bytes() == b"mine"

    with_store(tmp_path, scenario)


def test_damage_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        for content_id in ("missing", "good"):
            await store.store_content(content_id, b"x" * (PART_SIZE * 3))
        await store.services.adapters.stores["main"].delete([(await store.stat("missing")).object_key])
        report = await store.export_tree(tmp_path / "out")
        assert counts(report) == {"files": 2, "copied": 1, "failed": 1}
        assert "missing" in report.problems[0].reason
        assert sorted(picture(tmp_path / "out")) == ["good"]

    with_store(tmp_path, scenario)


def test_contents_that_change_during_the_export(tmp_path: Path) -> None:
    """One is overwritten and its old bytes are gone, one is deleted, between the listing and the reading."""

    async def scenario(store: StorageOrchestrator) -> None:
        for content_id in ("a", "b", "c"):
            await store.store_content(content_id, b"old")
        listed = store.services.exporting.listing
        real = listed.page

        async def page(**how: Any) -> Any:
            found = await real(**how)
            key = (await store.stat("a")).object_key
            await store.store_content("a", b"newer")
            await store.services.adapters.stores["main"].delete([key])
            await store.erase_content("b")
            return found

        listed.page = page  # type: ignore[method-assign]  # what it was, and something happens
        report = await store.export_tree(tmp_path / "out", verify=True)
        assert counts(report) == {"files": 2, "copied": 2, "verified": 2}
        assert {path: data for path, (data, _) in picture(tmp_path / "out").items()} == {"a": b"newer", "c": b"old"}

    with_store(tmp_path, scenario)


def test_archived_contents_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("cold", b"x", initial_tier="archive")
        await store.store_content("large", b"x" * (PART_SIZE * 3), initial_tier="archive")
        await store.store_content("warm", b"x")
        report = await store.export_tree(tmp_path / "out")
        assert counts(report) == {"files": 3, "copied": 1, "failed": 2}
        assert {problem.path: problem.reason for problem in report.problems} == {
            name: f"content {name!r} is archived; restore it before reading" for name in ("cold", "large")
        }

    with_store(tmp_path, scenario)


def test_a_catalog_that_does_not_answer_ends_the_export_in_its_report(tmp_path: Path) -> None:
    faults = Faults({f"catalog.records.page#{number}": FaultMode.LOST for number in (1, 2)})

    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"x")
        faults.start()
        report = await store.export_tree(tmp_path / "out", progress=lambda _: None)
        assert isinstance(report.stopped_by, UnavailableError)
        assert not report.is_complete

    with_store(tmp_path, scenario, faults=faults)


def test_exports_are_not_counted_as_reads(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"x")
        await store.services.background.drain()
        store.services.tracker.drain()
        await store.export_tree(tmp_path / "out", verify=True)
        assert store.services.tracker.drain() == {}

    with_store(tmp_path, scenario)


def test_a_full_disk_ends_the_export_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    system = FaultyTreeSystem()

    async def scenario(store: StorageOrchestrator) -> None:
        for number in range(30):
            await store.store_content(f"{number:02}", b"x" * number)
        store.services.exporting.trees = LocalTrees(system=system)
        system.fail["writev"] = [None] * 10 + [errno.ENOSPC] * 1000
        report = await store.export_tree(tmp_path / "out", jobs=2)
        assert isinstance(report.stopped_by, OutOfSpaceError)
        assert "free space" in str(report.stopped_by)
        there = picture(tmp_path / "out")
        assert report.copied == len(there) < 30
        system.fail.clear()
        report = await store.export_tree(tmp_path / "out")
        assert (report.copied, report.unchanged) == (30 - len(there), len(there))
        assert {path: len(data) for path, (data, _) in picture(tmp_path / "out").items()} == {
            f"{number:02}": number for number in range(30)
        }

    with_store(tmp_path, scenario)


@pytest.mark.parametrize("point", ["objects.fetch#3", "objects.stream.next#2"])
def test_an_interrupt_leaves_whole_files_only(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults()
    gate = faults.gate(point)
    size = 5
    if "stream" in point:
        size = 100
        for module in ("stored_bytes", "verifying"):
            monkeypatch.setattr(f"thermocline.services.{module}.CHUNK_BYTES", 16)

    async def scenario(store: StorageOrchestrator) -> None:
        for number in range(20):
            await store.store_content(f"{number:02}", b"x" * size, initial_tier="cold")
        faults.start()
        exporting = asyncio.ensure_future(store.export_tree(tmp_path / "out", jobs=3))
        await gate.reached()
        exporting.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        there = list((tmp_path / "out").iterdir())
        assert all(path.stat().st_size == size for path in there)
        assert len(there) < 20

    if "stream" in point:
        # Chunks of 16 bytes have no digests here: what is looked at is how the stream ends.
        monkeypatch.setattr("thermocline.services.verifying.chunk_is_intact", lambda *_, **__: True)
    with_store(tmp_path, scenario, faults=faults)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"x")
        (tmp_path / "file").touch()
        for wrong in ({"prefix": "/a"}, {"prefix": "a//"}, {"jobs": 0}):
            with pytest.raises(InvalidInputError):
                await store.export_tree(tmp_path / "out", **wrong)
        with pytest.raises(FileTreeError, match="no folder"):
            await store.export_tree(tmp_path / "file")

    with_store(tmp_path, scenario)


def test_progress_tells_every_content(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        for number in range(20):
            await store.store_content(f"{number:02}", b"x")
        steps: list[TreeProgress] = []
        await store.export_tree(tmp_path / "out", progress=steps.append)
        assert sorted(step.path for step in steps) == [f"{number:02}" for number in range(20)]
        assert {step.outcome for step in steps} == {Outcome.COPIED}
        assert (steps[-1].files, steps[-1].total_files, steps[-1].total_bytes) == (20, 20, 20)

    with_store(tmp_path, scenario)


def test_large_contents_are_digested_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        data = bytes(range(256)) * 3
        await store.store_content("a", data)
        record = await store.stat("a")
        stored: StoredBytes = store.services.exporting.stored
        assert await stored.digest(record) == record.digest
        async with stored.open(record) as content:
            assert content.body == data

    with_store(tmp_path, scenario)
