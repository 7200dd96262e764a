"""Whatever somebody else puts into the folder is never followed, never waited for, never deleted."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.errors import ObjectMissingError, UnsafePathError
from thermocline.ports.object_store import ObjectStore

KEY = "inst/main/a/01kdvdna00f1w7gy3rf1w7gy3r"
FOLDERS = ("inst", "inst/main", "inst/main/43")
FILE = "inst/main/43/a~01kdvdna00f1w7gy3rf1w7gy3r"


async def put(store: ObjectStore) -> None:
    await store.put(KEY, b"mine", {})


async def fetch(store: ObjectStore) -> None:
    await store.fetch(KEY, 0, 1)


async def stream(store: ObjectStore) -> None:
    async for _ in store.stream(KEY, 0, 1):
        pass


async def head(store: ObjectStore) -> None:
    await store.head(KEY)


async def listing(store: ObjectStore) -> None:
    async for _ in store.list_pages("inst/main/"):
        pass


async def delete(store: ObjectStore) -> None:
    for error in (await store.delete([KEY])).values():
        raise error


ACTS = (put, fetch, stream, head, listing, delete)


async def refused(root: Path, act: Callable[[ObjectStore], Awaitable[None]]) -> None:
    store = LocalObjectStore(root)
    with pytest.raises(UnsafePathError):
        await asyncio.wait_for(act(store), 10)
    await store.aclose()


def outside(tmp_path: Path) -> Path:
    """Return a folder that must stay as it is: it holds a whole store of the same shape."""

    async def fill() -> None:
        store = LocalObjectStore(tmp_path / "outside")
        await store.put(KEY, b"secret", {})
        await store.aclose()

    asyncio.run(fill())
    return tmp_path / "outside"


def snapshot(folder: Path) -> list[tuple[str, bytes | None]]:
    return sorted((str(path), path.read_bytes() if path.is_file() else None) for path in folder.rglob("*"))


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("linked", FOLDERS)
def test_a_linked_folder_is_not_followed(
    tmp_path: Path, act: Callable[[ObjectStore], Awaitable[None]], linked: str
) -> None:
    target = outside(tmp_path)
    before = snapshot(target)
    link = tmp_path / "root" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(target / linked)
    asyncio.run(refused(tmp_path / "root", act))
    assert snapshot(target) == before
    assert link.is_symlink()


def test_a_folder_that_becomes_a_link_under_a_running_store_is_not_followed(tmp_path: Path) -> None:
    target = outside(tmp_path)
    root = tmp_path / "root"

    async def run() -> None:
        store = LocalObjectStore(root)
        await store.put(KEY, b"mine", {})
        for folder in (FOLDERS[2], FOLDERS[0]):
            (root / folder).rename(root / "aside")
            (root / folder).symlink_to(target / folder)
            for act in (put, fetch, head, delete, listing):
                # What was opened before may still be used: it is ours, wherever it was moved.
                with contextlib.suppress(UnsafePathError, ObjectMissingError):
                    await act(store)
            (root / folder).unlink()
            (root / "aside").rename(root / folder)
        await store.aclose()

    before = snapshot(target)
    asyncio.run(run())
    assert snapshot(target) == before


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "socket"])
def test_what_is_not_a_regular_file_is_not_touched(
    tmp_path: Path, act: Callable[[ObjectStore], Awaitable[None]], kind: str
) -> None:
    target = outside(tmp_path)
    before = snapshot(target)
    path = tmp_path / "root" / FILE
    path.parent.mkdir(parents=True)
    make_special(path, kind, target / FILE)
    asyncio.run(refused(tmp_path / "root", act))
    assert snapshot(target) == before
    assert os.path.lexists(path)


def make_special(path: Path, kind: str, target: Path) -> None:
    if kind == "link":
        path.symlink_to(target)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        import socket

        # The name is longer than a socket's address may be: bind it from inside its folder.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(f"/proc/self/fd/{folder}/s")
        finally:
            os.close(folder)
        (path.parent / "s").rename(path)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_the_uploads_folder_is_not_followed_either(tmp_path: Path, kind: str) -> None:
    root, target = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    target.mkdir()
    if kind == "folder":
        (root / ".uploads" / "inst%2fmain%2fa%2f01kdvdna00f1w7gy3rf1w7gy3r~").mkdir(parents=True)
        acts: tuple[Callable[[ObjectStore], Awaitable[None]], ...] = (listing, delete)
    else:
        make_special(root / ".uploads", kind, target)
        acts = (put, listing, delete)
    for act in acts:
        asyncio.run(refused(root, act))
    assert snapshot(target) == []


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "empty", "binary"])
def test_a_false_marker_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "target").write_text("theirs\n")
    if kind in {"empty", "binary"}:
        (root / ".installation").write_bytes(b"" if kind == "empty" else b"\xff\xfe")
    else:
        make_special(root / ".installation", kind, tmp_path / "target")

    async def claim(store: ObjectStore) -> None:
        await store.claim("mine")

    asyncio.run(refused(root, claim))
    assert (tmp_path / "target").read_text() == "theirs\n"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")

    async def run() -> None:
        store = LocalObjectStore(tmp_path / "root")
        assert await store.claim("mine") == "mine"
        await put(store)
        await fetch(store)
        await store.aclose()

    asyncio.run(run())
    assert (tmp_path / "real" / FILE).is_file()


def test_foreign_files_are_neither_listed_nor_deleted(tmp_path: Path) -> None:
    foreign = (
        "README", "notes.txt", "lost+found/x", "inst/readme", "inst/main/43/.DS_Store", "inst/main/43/thumbs.db",
        "inst/main/43/a~short", "inst/main/43/%41%2G~01kdvdna00f1w7gy3rf1w7gy3r", "inst/main/43/folder/x",
        "inst/main/43/%61~01kdvdna00f1w7gy3rf1w7gy3r", "inst/main/zz/a~01kdvdna00f1w7gy3rf1w7gy3r",
        "inst/main/44/a~01kdvdna00f1w7gy3rf1w7gy3r", "inst/Main/43/a~01kdvdna00f1w7gy3rf1w7gy3r",
        ".free/43/a", ".free/44/a~", ".free/43/a~01kdvdna00f1w7gy3rf1w7gy3r", ".uploads/x", ".uploads/%ff~",
        "inst/main/43/" + "x" * 200 + "+/short", ".trash/43/a~", "inst/main/43/~01kdvdna00f1w7gy3rf1w7gy3r",
    )  # fmt: skip
    for name in foreign:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("foreign")

    async def run() -> None:
        store = LocalObjectStore(tmp_path)
        await put(store)
        assert [info.key async for page in store.list_pages("") for info in page] == [KEY]
        assert not await store.delete([KEY, *foreign])
        await store.aclose()

    asyncio.run(run())
    for name in foreign:
        assert (tmp_path / name).read_text() == "foreign"
