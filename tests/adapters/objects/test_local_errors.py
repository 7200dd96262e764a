"""What the operating system refuses becomes an error of ours that says what to do, and leaves nothing behind."""

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.adapters.objects.faulty_system import FaultySystem
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_format import FOOTER_BYTES
from thermocline.adapters.objects.local_system import System
from thermocline.domain.errors import OutOfSpaceError, StorageError, UnavailableError, UnsafePathError
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import NewObject, ObjectStore, PutsMany

TABLE = [
    (errno.ENOSPC, OutOfSpaceError, "free space"),
    (errno.EDQUOT, OutOfSpaceError, "quota"),
    (errno.EFBIG, OutOfSpaceError, "ulimit -f"),
    (errno.EROFS, OutOfSpaceError, "read-only"),
    (errno.EACCES, UnavailableError, "chown"),
    (errno.EIO, UnavailableError, "input/output"),
    (errno.EMFILE, UnavailableError, "ulimit -n"),
    (errno.ENAMETOOLONG, UnavailableError, "names"),
    (errno.ESTALE, UnavailableError, "mounted"),
    (errno.ELOOP, UnsafePathError, "followed"),
    (errno.ENOTDIR, UnsafePathError, "followed"),
    (errno.ENODEV, UnavailableError, "No such device"),
]


async def put(store: ObjectStore) -> None:
    await store.put("new", b"1234", {})


async def put_all(store: ObjectStore) -> None:
    assert isinstance(store, PutsMany)
    for error in await store.put_all([NewObject("new", b"1234", {})]):
        if error is not None:
            raise error


async def upload(store: ObjectStore) -> None:
    pending = await store.begin_upload("new", {})
    try:
        await pending.write(b"12")
        await pending.complete()
    except StorageError:
        await pending.abort()
        raise


async def fetch(store: ObjectStore) -> None:
    await store.fetch("old", 0, 4)


async def stream(store: ObjectStore) -> None:
    async for _ in store.stream("old", 0, 4):
        pass


async def head(store: ObjectStore) -> None:
    await store.head("old")


async def listing(store: ObjectStore) -> None:
    async for _ in store.list_pages(""):
        pass


async def delete(store: ObjectStore) -> None:
    for error in (await store.delete(["old"])).values():
        raise error


async def claim(store: ObjectStore) -> None:
    await store.claim("i")


WHERE: list[tuple[Callable[[ObjectStore], Awaitable[None]], str]] = [
    *((put, call) for call in ("open", "writev", "fsync", "mkdir", "link")),
    *((put_all, call) for call in ("open", "writev", "fsync", "mkdir", "link")),
    *((upload, call) for call in ("open", "writev", "fsync", "mkdir", "link")),
    *((fetch, call) for call in ("open", "fstat", "pread")),
    *((stream, call) for call in ("open", "fstat", "pread")),
    *((head, call) for call in ("open", "fstat", "pread")),
    *((listing, call) for call in ("open", "scandir")),
    *((delete, call) for call in ("open", "stat", "unlink", "fsync")),
    *((claim, call) for call in ("open", "writev", "fsync", "link")),
]


CELLS = [(act, call, *TABLE[0]) for act, call in WHERE] + [(put, "writev", *row) for row in TABLE[1:]]


@pytest.mark.parametrize(("act", "call", "code", "kind", "advice"), CELLS)
def test_every_error_is_explained(
    tmp_path: Path,
    act: Callable[[ObjectStore], Awaitable[None]],
    call: str,
    code: int,
    kind: type[StorageError],
    advice: str,
) -> None:
    async def run() -> None:
        plain = LocalObjectStore(tmp_path)
        await plain.put("old", b"1234", {})
        system = FaultySystem()
        store = LocalObjectStore(tmp_path, part_size=Bytes(2), system=system)
        system.always(call, code)
        with pytest.raises(StorageError) as caught:
            await act(store)
        assert type(caught.value) is kind
        assert advice in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert caught.value.retryable == issubclass(kind, UnavailableError)
        system.fail.clear()
        if act is not delete:
            assert [info.key async for page in store.list_pages("") for info in page] == ["old"]
            assert await store.fetch("old", 0, 4) == b"1234"
        await store.put("new", b"fine", {})
        await store.aclose()
        await plain.aclose()

    asyncio.run(run())


def test_a_temporary_file_that_cannot_be_removed_is_an_unfinished_upload(tmp_path: Path) -> None:
    async def run() -> None:
        system = FaultySystem()
        store = LocalObjectStore(tmp_path, system=system)
        system.fail = {"fsync": [None, errno.EIO], "unlink": [errno.EIO]}
        with pytest.raises(UnavailableError):
            await store.put("a", b"1234", {})
        assert [(info.key, info.finished) async for page in store.list_pages("") for info in page] == [("a", False)]
        with pytest.raises(UnavailableError, match="under way"):
            await store.put("a", b"1234", {})
        assert not await store.delete(["a"])
        await store.put("a", b"1234", {})
        await store.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_file_systems_without_hard_links_are_served_by_renaming(tmp_path: Path, code: int) -> None:
    async def run() -> None:
        system = FaultySystem()
        system.always("link", code)
        store = LocalObjectStore(tmp_path, system=system)
        assert await store.claim("i") == "i"
        assert await store.claim("j") == "i"
        for _ in range(2):
            await store.put("a", b"1234", {})
        with pytest.raises(UnsafePathError, match="never reused"):
            await store.put("a", b"other", {})
        assert await store.fetch("a", 0, 4) == b"1234"
        assert [info.finished async for page in store.list_pages("") for info in page] == [True]
        await store.aclose()

    asyncio.run(run())


def test_file_systems_that_cannot_sync_folders_are_served(tmp_path: Path) -> None:
    async def run() -> None:
        system = FaultySystem()
        system.fail["fsync"] = [errno.EINVAL, None, errno.EINVAL, errno.EINVAL, errno.EINVAL]
        store = LocalObjectStore(tmp_path, system=system)
        await store.put("a", b"1234", {})
        assert await store.fetch("a", 0, 4) == b"1234"
        await store.aclose()

    asyncio.run(run())


def test_writes_that_are_cut_short_go_on(tmp_path: Path) -> None:
    class Stingy(System):
        def __init__(self) -> None:
            vars(self)["writev"] = lambda fd, buffers: os.write(fd, bytes(buffers[0][:3]))
            vars(self)["pread"] = lambda fd, size, at: os.pread(fd, min(size, 5) if size != FOOTER_BYTES else size, at)

    async def run() -> None:
        store = LocalObjectStore(tmp_path, system=Stingy())
        await store.put("a", b"0123456789", {"a": "b"})
        assert await store.fetch("a", 1, 10) == b"123456789"
        found = await store.head("a")
        assert found is not None
        assert found.attributes == {"a": "b"}
        await store.aclose()

    asyncio.run(run())


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(tmp_path / "root")
        await store.put("a", b"1", {})
        for gone in (".uploads", ".free", ""):
            shutil.rmtree(tmp_path / "root" / gone)
            await store.put("a", b"1", {})
            await store.put("b", b"1", {})
            assert await store.fetch("a", 0, 1) == b"1"
            await store.delete(["b"])
        await store.aclose()

    asyncio.run(run())
