"""Folders as file trees: what a walk tells, what reading notices, what writing never does."""

import asyncio
import errno
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.adapters.objects.faulty_system import Died, FaultySystem
from thermocline.adapters.files.local_trees import LocalTrees
from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.domain.errors import FileChangedError, FileTreeError, OutOfSpaceError, StorageError
from thermocline.domain.file_stamps import FileStamp
from thermocline.domain.units import Bytes
from thermocline.ports.file_trees import EntryKind, FileTree, TreeEntry, WholeFile

T = TypeVar("T")
MTIME = 1_234_567_890_123_456_789


class FaultyTreeSystem(FaultySystem, TreeSystem):
    """File trees' system calls, recorded and failing on demand."""

    has_nameless = True


def on(root: Path, act: Callable[[FileTree], Awaitable[T]], trees: LocalTrees | None = None, **how: bool) -> T:
    """What `act` returns on the open tree."""

    async def run() -> T:
        async with (trees or LocalTrees()).open(str(root), **how) as tree:
            return await act(tree)

    return asyncio.run(run())


async def walked(tree: FileTree, leave_out: Callable[[str, bool], bool] = lambda *_: False) -> list[TreeEntry]:
    return [entry async for page in tree.walk(leave_out) for entry in page]


async def read(tree: FileTree, path: str, *, at_most: int) -> WholeFile | None:
    (found,) = await tree.read([path], at_most=at_most)
    if isinstance(found, StorageError):
        raise found
    return found


def write(path: str, body: Any, *, replace: bool = False) -> Callable[[FileTree], Awaitable[None]]:
    size = len(body) if isinstance(body, bytes) else 0
    return lambda tree: tree.write(path, body, FileStamp(Bytes(size), MTIME), replace=replace)


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_everything_comes_in_the_order_of_its_path(tmp_path: Path) -> None:
    paths = ["Z", "a-x", "a.b", "a/b-d/z", "a/b.c", "a/b/c", "a0", "b", "ä/1"]
    for path in reversed(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "empty").mkdir()
    assert paths == sorted(paths, key=str.encode)
    assert [(entry.path, entry.kind) for entry in on(tmp_path, walked)] == [(path, EntryKind.FILE) for path in paths]


def test_a_walk_goes_through_many_pages(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03}").touch()
    assert [entry.path for entry in on(tmp_path, walked)] == [f"{number:03}" for number in range(600)]


def test_two_walks_at_once_do_not_take_entries_from_each_other(tmp_path: Path) -> None:
    """Two readers of one open folder would share a position in it."""
    for number in range(10):
        (tmp_path / str(number)).touch()
    both_have_begun = threading.Barrier(2, timeout=20.0)

    class Together(TreeSystem):
        def scandir(self, fd: int) -> Any:
            entries = os.scandir(fd)
            both_have_begun.wait()
            return entries

    async def act(tree: FileTree) -> list[int]:
        return [len(entries) for entries in await asyncio.gather(walked(tree), walked(tree))]

    assert on(tmp_path, act, LocalTrees(system=Together())) == [10, 10]


def test_stamps_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", ns=(MTIME, MTIME))
    (entry,) = on(tmp_path, walked)
    assert entry.stamp == FileStamp(Bytes(5), MTIME)


def test_links_and_special_files_are_told_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "to-file").symlink_to(outside / "secret")
    (root / "to-folder").symlink_to(outside)
    (root / "to-nothing").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        kinds = {entry.path: entry.kind for entry in on(root, walked)}
    assert kinds == {
        "pipe": EntryKind.SPECIAL, "socket": EntryKind.SPECIAL,
        "to-file": EntryKind.LINK, "to-folder": EntryKind.LINK, "to-nothing": EntryKind.LINK,
    }  # fmt: skip
    for path in ("to-file", "to-folder/secret", "pipe", "to-nothing"):
        with pytest.raises(FileTreeError):
            on(root, lambda tree, path=path: read(tree, path, at_most=100))  # type: ignore[misc]


def test_what_is_left_out_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "skip" / "deep").mkdir(parents=True)
    (tmp_path / "keep").touch()
    system = FaultyTreeSystem()
    trees = LocalTrees(system=system)
    entries = on(tmp_path, lambda tree: walked(tree, lambda path, is_folder: is_folder and path == "skip"), trees)
    assert [(entry.path, entry.kind) for entry in entries] == [("keep", EntryKind.FILE), ("skip", EntryKind.EXCLUDED)]
    assert not [call for call in system.calls if "deep" in call]


def test_the_stores_own_data_is_told_and_never_entered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "objects").mkdir(parents=True)
    (tmp_path / "catalog").touch()
    trees = LocalTrees(own=[data / "objects", tmp_path / "catalog", tmp_path / "missing"], around=[data])
    assert [(entry.path, entry.kind) for entry in on(tmp_path, walked, trees)] == [
        ("catalog", EntryKind.OWN),
        ("data", EntryKind.OWN),
    ]
    for inside in (data, data / "objects", data / "objects" / "new"):
        with pytest.raises(FileTreeError, match="own data"):
            on(inside, walked, trees, make=inside.name == "new")
    assert not (data / "objects" / "new").exists()
    (data / "photos").mkdir()
    assert on(data / "photos", walked, trees) == []


def test_roots_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    assert on(tmp_path / "link", walked) == []
    for path, make, what in (
        ("nothing", False, "there is no such folder"),
        ("file", False, "it is no folder"),
        ("file", True, "it is no folder"),
        ("file/x", True, "it is no folder"),
        ("nul\0", False, "is no path"),
    ):
        with pytest.raises(FileTreeError, match=what):
            on(tmp_path / path, walked, make=make)


def test_a_missing_folder_can_be_looked_at_as_if_it_were_empty(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert on(missing, lambda tree: tree.look("a/b"), may_be_missing=True) is None
    assert not missing.exists()


def test_names_that_are_not_text_come_as_they_are(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).write_text("x")
    (entry,) = on(tmp_path, walked)
    assert os.fsencode(entry.path) == b"\xff"
    whole = on(tmp_path, lambda tree: read(tree, entry.path, at_most=10))
    assert whole is not None
    assert whole.data == b"x"


def test_a_tree_deeper_than_an_id_is_long_is_not_followed_to_its_end(tmp_path: Path) -> None:
    """Each level on the way is one open file."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (entry,) = on(tmp_path, walked)
    assert entry.kind is EntryKind.TOO_LONG
    assert 900 <= len(entry.path) <= 905


@pytest.mark.parametrize("call", ["stat", "open", "scandir"])
def test_what_cannot_be_looked_at_is_told_and_the_rest_goes_on(tmp_path: Path, call: str) -> None:
    """Root may read everything, so the system is told to refuse."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inner").touch()
    (tmp_path / "b").touch()
    system = FaultyTreeSystem()
    # The root is opened twice and listed first.
    system.fail[call] = [None] * {"stat": 0, "open": 2, "scandir": 1}[call] + [errno.EACCES]
    entries = on(tmp_path, walked, LocalTrees(system=system))
    assert [(entry.path, entry.kind, entry.detail) for entry in entries] == [
        ("a", EntryKind.UNREADABLE, "permission denied"),
        ("b", EntryKind.FILE, ""),
    ]


def test_what_vanishes_during_the_walk_never_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    system = FaultyTreeSystem()
    system.fail["stat"] = [errno.ENOENT]
    assert [entry.path for entry in on(tmp_path, walked, LocalTrees(system=system))] == ["b"]


def test_a_file_that_is_gone_when_it_is_read_is_told(tmp_path: Path) -> None:
    for act in (lambda tree: read(tree, "a", at_most=1), lambda tree: tree.digest("a")):
        with pytest.raises(FileTreeError, match="it is gone"):
            on(tmp_path, act)


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 2_500_000])
def test_files_are_read_whole_in_pieces_and_digested(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)

    async def act(tree: FileTree) -> None:
        whole = await read(tree, "a", at_most=size)
        assert whole is not None
        assert (whole.data, whole.stamp.size) == (data, size)
        assert size == 0 or await read(tree, "a", at_most=size - 1) is None
        async with tree.open("a") as file:
            pieces = [bytes(piece) async for piece in file]
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= 2**20

    on(tmp_path, act)


def test_many_files_are_read_at_once_each_with_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "large").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    found = on(tmp_path, lambda tree: tree.read(["a", "gone", "large", "link", "a"], at_most=4))
    first, gone, large, link, last = found
    assert isinstance(first, WholeFile)
    assert first == last
    assert large is None
    assert [str(each) for each in (gone, link)] == ["it is gone", "a symbolic link has its name; it was not followed"]
    assert on(tmp_path, lambda tree: tree.read([], at_most=4)) == []


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def _rewrite(path: Path) -> None:
    path.write_bytes(b"y" * path.stat().st_size)
    os.utime(path, ns=(MTIME, MTIME))


@pytest.mark.parametrize("change", [_append, _rewrite, lambda path: os.truncate(path, 1)])
@pytest.mark.parametrize("how", ["read", "open", "digest"])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    tmp_path: Path, change: Callable[[Path], None], how: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)

    class Meanwhile(TreeSystem):
        def pread(self, fd: int, size: int, start: int) -> bytes:
            data = os.pread(fd, size, start)
            if start == 0:
                change(path)
            return data

    async def act(tree: FileTree) -> None:
        if how == "read":
            await read(tree, "a", at_most=5000)
        elif how == "digest":
            await tree.digest("a")
        else:
            async with tree.open("a") as file:
                async for _ in file:
                    pass

    with pytest.raises(FileChangedError):
        on(tmp_path, act, LocalTrees(system=Meanwhile()))


@pytest.fixture(params=["nameless", "named"])
def system(request: pytest.FixtureRequest) -> FaultyTreeSystem:
    """The system, and one that has no files without a name."""
    system = FaultyTreeSystem()
    if request.param == "named":
        real = system.open

        def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "")
            return real(path, flags, *args, **kwargs)

        system.has_nameless = False
        system.open = refuse
    return system


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_a_file_is_written_with_its_folders_and_its_time(tmp_path: Path, system: FaultyTreeSystem) -> None:
    trees = LocalTrees(system=system)
    root = tmp_path / "new" / "root"
    on(root, write("a/b/c", b"whole"), trees, make=True)
    on(root, write("a/d", _pieces(b"in ", b"pieces")), trees)
    assert everything(root) == {"a/b/c": b"whole", "a/d": b"in pieces"}
    assert {path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == {MTIME}
    assert on(root, lambda tree: tree.look("a/b/c"), trees) == FileStamp(Bytes(5), MTIME)
    assert on(root, lambda tree: tree.look("a/x/c"), trees) is None


def test_the_bytes_are_durable_before_the_file_has_its_name(tmp_path: Path, system: FaultyTreeSystem) -> None:
    on(tmp_path, write("a", b"x"), LocalTrees(system=system))
    calls = [call.split()[0] for call in system.calls]
    assert calls.index("writev") < calls.index("fsync") < calls.index("link")


def test_a_file_is_only_replaced_when_asked(tmp_path: Path, system: FaultyTreeSystem) -> None:
    trees = LocalTrees(system=system)
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o640)
    with pytest.raises(FileTreeError, match="exists by now"):
        on(tmp_path, write("a", b"new"), trees)
    assert everything(tmp_path) == {"a": b"old"}
    on(tmp_path, write("a", b"new", replace=True), trees)
    assert everything(tmp_path) == {"a": b"new"}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_nothing_outside_is_ever_written(tmp_path: Path, system: FaultyTreeSystem) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "file")
    (root / "file").touch()
    (root / "folder").mkdir()
    trees = LocalTrees(system=system)
    absolute = str(outside / "x")
    for path in (
        "link/x",
        "../outside/x",
        "a/../../x",
        absolute,
        "",
        ".",
        "a//b",
        "nul\0",
        "to-file",
        "file/x",
        "folder",
    ):
        for replace in (False, True):
            with pytest.raises(FileTreeError):
                on(root, write(path, b"x", replace=replace), trees)
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in root.iterdir()) == ["file", "folder", "link", "to-file"]
    for path in ("link/x", "to-file", "folder", "file/x"):
        with pytest.raises(FileTreeError):
            on(root, lambda tree, path=path: tree.look(path), trees)  # type: ignore[misc]


@pytest.mark.parametrize(("call", "code"), [("writev", errno.ENOSPC), ("fsync", errno.EIO), ("link", errno.EACCES)])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, system: FaultyTreeSystem, call: str, code: int, *, in_pieces: bool
) -> None:
    system.fail[call] = [code]
    with pytest.raises(OutOfSpaceError if code == errno.ENOSPC else FileTreeError):
        on(tmp_path, write("a", _pieces(b"x") if in_pieces else b"x"), LocalTrees(system=system))
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_fails_leaves_nothing(tmp_path: Path, system: FaultyTreeSystem) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        on(tmp_path, write("a", body()), LocalTrees(system=system))
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_write_leaves_nothing(tmp_path: Path, system: FaultyTreeSystem) -> None:
    async def act(tree: FileTree) -> None:
        begun = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            begun.set()
            await asyncio.Event().wait()

        writing = asyncio.ensure_future(write("a", body())(tree))
        await begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    on(tmp_path, act, LocalTrees(system=system))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("replace", [False, True])
def test_a_crash_at_any_moment_leaves_whole_files(tmp_path: Path, system: FaultyTreeSystem, *, replace: bool) -> None:
    """Where files without names exist nothing else is left either, but for the moment of a replacement."""
    moment = 0
    while True:
        root = tmp_path / f"{replace}-{moment}"
        root.mkdir()
        if replace:
            (root / "a").write_bytes(b"old")
        system.calls.clear()
        system.die_at = moment
        died = False
        try:
            on(root, write("a", b"new", replace=replace), LocalTrees(system=system))
        except Died:
            died = True
        system.die_at = None
        left = everything(root)
        assert left.pop("a", b"old") in {b"old", b"new"}
        assert all(name.startswith(".thermocline-") for name in left)
        assert not left or replace or not system.has_nameless
        if not died:
            break
        moment += 1
    assert moment > 4
    assert left == {}


@pytest.mark.parametrize("system", ["named"], indirect=True)
def test_a_file_system_without_links_renames(tmp_path: Path, system: FaultyTreeSystem) -> None:
    trees = LocalTrees(system=system)
    system.always("link", errno.EPERM)
    on(tmp_path, write("a", b"x"), trees)
    with pytest.raises(FileTreeError, match="exists by now"):
        on(tmp_path, write("a", b"y"), trees)
    assert everything(tmp_path) == {"a": b"x"}


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path, system: FaultyTreeSystem) -> None:
    async def act(tree: FileTree) -> None:
        await write("a/b/1", b"x")(tree)
        (tmp_path / "a" / "b" / "1").unlink()
        (tmp_path / "a" / "b").rmdir()
        (tmp_path / "a").rmdir()
        await write("a/b/2", b"y")(tree)

    on(tmp_path, act, LocalTrees(system=system))
    assert everything(tmp_path) == {"a/b/2": b"y"}


def test_a_name_that_this_system_cannot_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileTreeError, match="too long"):
        on(tmp_path, write("x" * 256, b""))
    with pytest.raises(FileTreeError, match="no file can have its time"):
        on(tmp_path, lambda tree: tree.write("a", b"", FileStamp(Bytes(0), 2**100), replace=False))
    assert list(tmp_path.iterdir()) == []


def test_more_folders_than_are_kept_open(tmp_path: Path) -> None:
    async def act(tree: FileTree) -> None:
        await asyncio.gather(*(write(f"{number % 200}/{number}", b"x")(tree) for number in range(400)))

    on(tmp_path, act)
    assert len(everything(tmp_path)) == 400
