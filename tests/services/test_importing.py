"""Imports: what becomes a content and under which id, what is skipped, what is told, and going on after an end."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.machine import PART_SIZE, Machine
from tests.services.trees import BEGIN_NS, counts, plant
from thermocline import InvalidInputError, StorageOrchestrator, Visibility
from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.domain.errors import (
    BusyError,
    ContentNotFoundError,
    FileTreeError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.services.importing import ATTEMPTS
from thermocline.services.tree_reports import Outcome, TreeProgress
from thermocline.testing.faults import Faults

FILES = {"a.txt": b"a", "b/c.jpg": b"x" * 50, "b/empty": b"", "d": b"y" * (PART_SIZE * 3 + 5)}
"""One of them larger than a part."""

Scenario = Callable[[StorageOrchestrator], Coroutine[Any, Any, None]]


def with_store(folder: Path, scenario: Scenario, *, faults: Faults | None = None) -> Machine:
    machine = Machine(folder)

    async def run() -> None:
        async with machine.process(faults) as store:
            await scenario(store)

    asyncio.run(run())
    return machine


class CountingSystem(TreeSystem):
    """Counts the files that are opened for reading."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.between: Callable[[], None] = lambda: None

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_DIRECTORY:
            self.opened.append(str(path))
        return os.open(path, flags, mode, dir_fd=dir_fd)

    def pread(self, fd: int, size: int, start: int) -> bytes:
        data = os.pread(fd, size, start)
        self.between()
        return data


def counting(store: StorageOrchestrator) -> CountingSystem:
    """Let the store's imports go through a system that counts."""
    system = CountingSystem()
    store.services.importing.trees = LocalTrees(system=system)
    return system


def test_every_file_becomes_a_content(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        report = await store.import_tree(root, "users/42", initial_tier="cold", visibility="public")
        assert counts(report) == {"files": 4, "copied": 4}
        assert report.is_complete
        assert report.copied_bytes == sum(map(len, FILES.values()))
        for number, (path, data) in enumerate(FILES.items()):
            record = await store.stat(f"users/42/{path}")
            assert await store.retrieve_content(f"users/42/{path}") == data
            assert (record.tier, record.visibility) == ("cold", Visibility.PUBLIC)
            assert dict(record.metadata) == {"source": {"mtime_ns": BEGIN_NS + number}}
        assert (await store.stat("users/42/b/c.jpg")).headers.content_type == "image/jpeg"

    with_store(tmp_path, scenario)


def test_nothing_is_read_again_that_is_there(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        system = counting(store)
        await store.import_tree(root)
        versions = [record.version async for record in store.list_content()]
        system.opened.clear()
        assert counts(await store.import_tree(root)) == {"files": 4, "unchanged": 4}
        assert system.opened == []
        assert [record.version async for record in store.list_content()] == versions

        (root / "a.txt").write_bytes(b"b")  # as long as before, but later
        plant(root, {"new": b"n"})
        assert counts(await store.import_tree(root)) == {"files": 5, "copied": 1, "replaced": 1, "unchanged": 3}
        assert await store.retrieve_content("a.txt") == b"b"

    with_store(tmp_path, scenario)


def test_contents_that_were_written_otherwise_are_replaced(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a": b"new"})

    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"old", {"source": {"mtime_ns": BEGIN_NS, "size": 3}, "mine": 1})
        await store.store_content("a", b"old", {"album": "pets"})
        assert counts(await store.import_tree(root, dry_run=True)) == {"files": 1, "replaced": 1}
        assert counts(await store.import_tree(root)) == {"files": 1, "replaced": 1}
        await store.delete_content("a")
        assert counts(await store.import_tree(root)) == {"files": 1, "copied": 1}

    with_store(tmp_path, scenario)


def test_by_digest(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        await store.import_tree(root)
        revision = (await store.stat("a.txt")).revision
        os.utime(root / "a.txt", ns=(5, 5))
        # The same size and time, other bytes: only the digest tells.
        stamp = (root / "d").stat().st_mtime_ns
        (root / "d").write_bytes(b"z" * len(FILES["d"]))
        os.utime(root / "d", ns=(stamp, stamp))
        assert counts(await store.import_tree(root, checksum=True, dry_run=True)) == {
            "files": 4, "unchanged": 3, "replaced": 1,
        }  # fmt: skip
        assert counts(await store.import_tree(root, checksum=True)) == {"files": 4, "unchanged": 3, "replaced": 1}
        record = await store.stat("a.txt")
        assert (record.revision, dict(record.metadata)) == (revision, {"source": {"mtime_ns": 5}})
        assert await store.retrieve_content("d") == b"z" * len(FILES["d"])

    with_store(tmp_path, scenario)


def test_a_dry_run_changes_nothing_and_reads_nothing(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        system = counting(store)
        steps: list[TreeProgress] = []
        report = await store.import_tree(root, dry_run=True, progress=steps.append)
        assert counts(report) == {"files": 4, "copied": 4}
        assert report.dry_run
        assert sorted((step.path, step.outcome) for step in steps) == [(path, Outcome.COPIED) for path in sorted(FILES)]
        assert system.opened == []
        assert [record async for record in store.list_content()] == []

    with_store(tmp_path, scenario)


def test_names_that_no_id_can_have_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"good": b"x", "new\nline": b"x", os.fsdecode(b"\xff\xfe"): b"x"})
    long = "/".join(["x" * 200] * 4)
    plant(root, {f"{long}/{'y' * 120}": b"x"})

    async def scenario(store: StorageOrchestrator) -> None:
        report = await store.import_tree(root, "p")
        assert counts(report) == {"files": 4, "copied": 1, "refused": 3}
        assert not report.is_complete
        reasons = {problem.path[:8]: problem.reason for problem in report.problems}
        assert "control characters" in reasons["new\nline"]
        assert "valid UTF-8" in reasons[os.fsdecode(b"\xff\xfe")]
        assert "at most 900 bytes" in reasons["x" * 8]
        assert {problem.outcome for problem in report.problems} == {Outcome.REFUSED}

    with_store(tmp_path, scenario)


def test_what_is_no_file_is_left_out_and_told(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a": b"x", "skip/b": b"x", "c.tmp": b"x"})
    (root / "link").symlink_to("a")

    async def scenario(store: StorageOrchestrator) -> None:
        report = await store.import_tree(root, exclude=["skip", "*.tmp"])
        assert counts(report) == {"files": 1, "copied": 1, "left_out": 1, "excluded": 2}
        assert report.is_complete
        assert [(problem.path, problem.outcome) for problem in report.problems] == [("link", Outcome.LEFT_OUT)]

    with_store(tmp_path, scenario)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    async def scenario(store: StorageOrchestrator) -> None:
        for wrong in ({"prefix": "/a"}, {"prefix": "a//b"}, {"prefix": "../a"}, {"prefix": "a\n"}, {"jobs": 0},
                      {"jobs": 1000}, {"initial_tier": "tepid"}, {"visibility": "secret"}):  # fmt: skip
            with pytest.raises(InvalidInputError):
                await store.import_tree(tmp_path, **wrong)
        with pytest.raises(FileTreeError, match="no such folder"):
            await store.import_tree(tmp_path / "nothing")

    with_store(tmp_path, scenario)


def test_a_file_that_changes_once_is_read_again(tmp_path: Path) -> None:
    for name, data in (("small", b"x"), ("large", b"x" * (PART_SIZE * 3))):
        root = plant(tmp_path / name, {"a": data})

        async def scenario(store: StorageOrchestrator, root: Path = root, data: bytes = data) -> None:
            system = counting(store)

            def change() -> None:
                system.between = lambda: None
                (root / "a").write_bytes(data + b"!")

            system.between = change
            assert counts(await store.import_tree(root)) == {"files": 1, "copied": 1}
            assert await store.retrieve_content("a") == data + b"!"

        (tmp_path / f"{name}-store").mkdir()
        with_store(tmp_path / f"{name}-store", scenario)


def test_a_file_that_never_rests_is_told_and_not_stored(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"large": b"x" * (PART_SIZE * 3), "log": b"x", "z": b"x"})

    async def scenario(store: StorageOrchestrator) -> None:
        system = counting(store)

        def change() -> None:
            for name in ("large", "log"):
                with (root / name).open("ab") as file:
                    file.write(b"!")

        system.between = change
        report = await store.import_tree(root)
        assert {problem.path: problem.reason for problem in report.problems} == dict.fromkeys(
            ("large", "log"), "it changed while it was read"
        )
        assert counts(report) == {"files": 3, "copied": 1, "failed": 2}
        with pytest.raises(ContentNotFoundError):
            await store.stat("log")
        assert await store.services.adapters.catalog.intents.count() == 0

    with_store(tmp_path, scenario)


def test_a_held_content_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a": b"new", "b": b"new"})

    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"old")
        await store.update_metadata("a", held=True)
        report = await store.import_tree(root)
        assert counts(report) == {"files": 2, "copied": 1, "failed": 1}
        assert "on hold" in report.problems[0].reason
        assert await store.retrieve_content("a") == b"old"

    with_store(tmp_path, scenario)


def test_verifying_reads_both_sides(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", FILES)

    async def scenario(store: StorageOrchestrator) -> None:
        assert counts(await store.import_tree(root, verify=True)) == {"files": 4, "copied": 4, "verified": 4}
        assert counts(await store.import_tree(root, verify=True)) == {"files": 4, "unchanged": 4, "verified": 4}
        (root / "a.txt").write_bytes(b"b")
        os.utime(root / "a.txt", ns=(BEGIN_NS, BEGIN_NS))
        report = await store.import_tree(root, verify=True)
        assert counts(report) == {"files": 4, "unchanged": 3, "failed": 1, "verified": 3}
        assert "not what the file holds now" in report.problems[0].reason
        objects = store.services.adapters.stores["main"]
        key = (await store.stat("d")).object_key
        await objects.delete([key])
        report = await store.import_tree(root, verify=True)
        assert [(problem.path, "missing" in problem.reason) for problem in report.problems][1:] == [("d", True)]

    with_store(tmp_path, scenario)


class FullStore:
    """Raises what a full disk or a dead dependency does, from the n-th put on."""

    def __init__(self, store: StorageOrchestrator, error: StorageError, *, after: int, times: int = 10**6) -> None:
        self._objects = store.services.placements.all()[0].store
        self._real = self._objects.put
        self._error = error
        self._after = after
        self._times = times
        self.puts = 0
        self._objects.put = self._put  # type: ignore[method-assign]  # what it was, but for its failures

    async def _put(self, *args: Any, **named: Any) -> None:
        self.puts += 1
        if self._after < self.puts <= self._after + self._times:
            raise self._error
        await self._real(*args, **named)

    def heal(self) -> None:
        self._objects.put = self._real  # type: ignore[method-assign]  # as it was


def test_a_full_disk_ends_the_import_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    files = {f"{number:03}": str(number).encode() for number in range(100)}
    root = plant(tmp_path / "tree", files)

    async def scenario(store: StorageOrchestrator) -> None:
        full = FullStore(store, OutOfSpaceError("the disk is full; free space"), after=40)
        report = await store.import_tree(root, jobs=4)
        assert isinstance(report.stopped_by, OutOfSpaceError)
        assert report.as_dict()["stopped"] == "the disk is full; free space"
        assert not report.is_complete
        assert full.puts <= 40 + 4  # those under way, and no more
        assert counts(report) == {"files": 40, "copied": 40}
        there = [record.content_id async for record in store.list_content()]
        assert len(there) == 40
        assert await store.services.adapters.catalog.intents.count() == 0
        full.heal()
        assert counts(await store.import_tree(root)) == {"files": 100, "copied": 60, "unchanged": 40}
        for path, data in files.items():
            assert await store.retrieve_content(path) == data

    with_store(tmp_path, scenario)


@pytest.mark.parametrize("error", [UnavailableError("asleep"), BusyError("busy")])
def test_what_does_not_answer_is_asked_again(tmp_path: Path, error: StorageError) -> None:
    root = plant(tmp_path / "tree", {"a": b"x", "b": b"y" * PART_SIZE})
    machine = Machine(tmp_path)

    async def scenario() -> None:
        async with machine.process() as store:
            FullStore(store, error, after=0, times=ATTEMPTS - 1)
            importing = asyncio.ensure_future(store.import_tree(root, jobs=1))
            while not importing.done():
                await machine.clock.run_for(1.0)
                await asyncio.sleep(0.001)
            assert counts(await importing) == {"files": 2, "copied": 2}

    asyncio.run(scenario())


def test_what_stays_down_ends_the_import(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a": b"x", "b": b"y"})
    machine = Machine(tmp_path)

    async def scenario() -> None:
        async with machine.process() as store:
            full = FullStore(store, UnavailableError("the store does not answer"), after=0)
            importing = asyncio.ensure_future(store.import_tree(root, jobs=1))
            while not importing.done():
                await machine.clock.run_for(1.0)
                await asyncio.sleep(0.001)
            report = await importing
            assert str(report.stopped_by) == "the store does not answer"
            assert full.puts == ATTEMPTS

    asyncio.run(scenario())


@pytest.mark.parametrize("point", ["objects.put_all#3", "objects.upload.write#2"])
def test_an_interrupt_leaves_nothing_half_done(tmp_path: Path, point: str) -> None:
    files = {f"{number}": b"x" * (PART_SIZE * 4 if "write" in point else 5) for number in range(30)}
    root = plant(tmp_path / "tree", files)
    faults = Faults()
    gate = faults.gate(point)

    async def scenario(store: StorageOrchestrator) -> None:
        faults.start()
        importing = asyncio.ensure_future(store.import_tree(root, jobs=4))
        await gate.reached()
        importing.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await importing
        # No intent is left to a cleaner, and no object that nothing names.
        assert await store.services.adapters.catalog.intents.count() == 0
        there = [record.content_id async for record in store.list_content()]
        assert len(there) < len(files)
        objects = store.services.adapters.stores["main"]
        stored = [info async for page in objects.list_pages("") for info in page]
        assert len(stored) == len(there)
        report = await store.import_tree(root)
        assert (report.copied, report.unchanged) == (30 - len(there), len(there))

    with_store(tmp_path, scenario, faults=faults)


def test_progress_tells_every_file_and_at_last_how_many_there_are(tmp_path: Path) -> None:
    files = {f"{number}": b"x" * number for number in range(50)}
    root = plant(tmp_path / "tree", files)

    async def scenario(store: StorageOrchestrator) -> None:
        steps: list[TreeProgress] = []
        await store.import_tree(root, progress=steps.append)
        assert sorted(step.path for step in steps) == sorted(files)
        assert [step.files for step in steps] == list(range(1, 51))
        assert steps[-1].done_bytes == sum(range(50))
        assert (steps[-1].total_files, steps[-1].total_bytes) == (50, sum(range(50)))

    with_store(tmp_path, scenario)


def test_imported_contents_are_not_put_into_the_cache_unasked(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a": b"new"})

    async def scenario(store: StorageOrchestrator) -> None:
        await store.store_content("a", b"old")
        assert await store.retrieve_content("a") == b"old"
        await store.import_tree(root)
        await store.services.background.drain()
        assert store.services.cache.peek("a") is None
        assert await store.retrieve_content("a") == b"new"

    with_store(tmp_path, scenario)
