"""A cancelled call leaves open files, memory and names in order, whatever its thread was doing."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import Any

import pytest

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_system import System
from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import StorageError
from thermocline.ports.object_store import ObjectInfo, ObjectStore, Upload


class SlowSystem(System):
    """Holds one kind of call until `go`, before or after its effect, and tells when it was `reached`."""

    def __init__(self, name: str, *, after: bool = False) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        real = getattr(System, name)

        def held(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs) if after else None
            self.reached.set()
            assert self.go.wait(30)
            return result if after else real(*args, **kwargs)

        setattr(self, name, held)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def listed(store: ObjectStore) -> list[ObjectInfo]:
    return [info async for page in store.list_pages("") for info in page]


async def cancel_inside(system: SlowSystem, work: Awaitable[object]) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(system.reached.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("call", ["open", "writev", "fsync", "link", "unlink"])
def test_a_cancelled_put_takes_effect_or_leaves_what_delete_finds(tmp_path: Path, call: str) -> None:
    async def run() -> None:
        before = open_files()
        system = SlowSystem(call)
        store = LocalObjectStore(tmp_path, system=system)
        await cancel_inside(system, store.put("k", b"body", {}))
        system.go.set()
        await store.aclose()
        other = LocalObjectStore(tmp_path)
        assert await other.fetch("k", 0, 4) == b"body"
        assert not await other.delete(["k"])
        assert await listed(other) == []
        await other.aclose()
        del store, system, other
        assert open_files() <= before

    asyncio.run(run())


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_put_whose_key_is_deleted_meanwhile_comes_to_nothing(tmp_path: Path, call: str) -> None:
    async def run() -> None:
        system = SlowSystem(call)
        store, cleaner = LocalObjectStore(tmp_path, system=system), LocalObjectStore(tmp_path)
        if call == "fsync":
            system.go.set()
            await store.put("warm", b"", {})  # makes the folders, whose syncs would be held too
            await store.put("k/warm", b"", {})
            system.go.clear()
            system.reached.clear()
        putting = asyncio.ensure_future(store.put("k", b"body", {}))
        await asyncio.to_thread(system.reached.wait, 30)
        assert not await cleaner.delete(["k"])
        system.go.set()
        with pytest.raises(StorageError, match="deleted"):
            await putting
        assert await cleaner.head("k") is None
        assert [info for info in await listed(cleaner) if info.key == "k"] == []
        await store.aclose()
        await cleaner.aclose()

    asyncio.run(run())


async def write(upload: Upload) -> None:
    await upload.write(b"part")


async def complete(upload: Upload) -> None:
    await upload.complete()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("act", "call"), [(write, "writev"), (complete, "fsync"), (complete, "link")])
def test_an_abort_waits_for_the_call_that_was_cancelled_and_leaves_nothing(
    tmp_path: Path, act: Callable[[Upload], Awaitable[None]], call: str, *, after: bool
) -> None:
    async def run() -> None:
        system = SlowSystem(call, after=after)
        system.go.set()
        store = LocalObjectStore(tmp_path, system=system)
        upload = await store.begin_upload("k", {})
        await upload.write(b"part")
        system.go.clear()
        system.reached.clear()
        await cancel_inside(system, act(upload))
        aborting = asyncio.ensure_future(upload.abort())
        # Long enough for an abort that does not wait to look around.
        await asyncio.wait([aborting], timeout=0.05)
        assert not aborting.done()
        system.go.set()
        await aborting
        assert await listed(store) == []
        assert await store.head("k") is None
        await store.aclose()

    asyncio.run(run())


def test_streams_left_in_the_middle_close_their_files(tmp_path: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(tmp_path)
        await store.put("k", bytes(3 * CHUNK_BYTES), {})
        before = open_files()
        for _ in range(20):
            async with aclosing(store.stream("k", 0, 3 * CHUNK_BYTES)) as stream:
                await anext(stream)
        for _ in range(20):
            task = asyncio.ensure_future(anext(store.stream("k", 0, 3 * CHUNK_BYTES)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        async for _ in store.list_pages(""):
            break
        await store.aclose()
        assert open_files() <= before

    asyncio.run(run())


def test_nobody_is_told_of_a_block_that_nobody_waited_for(tmp_path: Path) -> None:
    async def run() -> list[object]:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        store = LocalObjectStore(tmp_path)
        await store.put("k", bytes(3 * CHUNK_BYTES), {})
        async with aclosing(store.stream("k", 0, 3 * CHUNK_BYTES)) as stream:
            await anext(stream)
            os.truncate(next((tmp_path / ".free").rglob("k~")), 2 * CHUNK_BYTES)
            await anext(stream)  # the block after this one is read ahead, and is not there
            await store.head("none")
            await store.head("none")
        del stream
        gc.collect()
        await asyncio.sleep(0)
        await store.aclose()
        return told

    assert asyncio.run(run()) == []


def test_an_upload_that_completes_while_it_is_listed_is_listed_once(tmp_path: Path) -> None:
    entered, go = threading.Event(), threading.Event()

    class Pausing(System):
        def scandir(self, fd: int) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
            if os.readlink(f"/proc/self/fd/{fd}").endswith("/.free"):  # noqa: PTH115
                entered.set()
                assert go.wait(30)
            return super().scandir(fd)

    async def run() -> None:
        store = LocalObjectStore(tmp_path, system=Pausing())
        await store.put("other", b"", {})
        upload = await store.begin_upload("k", {})
        listing = asyncio.ensure_future(listed(store))
        await asyncio.to_thread(entered.wait, 30)
        await upload.complete()
        go.set()
        assert sorted(info.key for info in await listing) == ["k", "other"]
        await store.aclose()

    asyncio.run(run())


def test_a_call_cancelled_before_its_thread_began_is_never_made(tmp_path: Path) -> None:
    async def run() -> None:
        system = SlowSystem("fsync")
        store = LocalObjectStore(tmp_path, writers=1, system=system)
        first = asyncio.ensure_future(store.put("first", b"", {}))
        await asyncio.to_thread(system.reached.wait, 30)
        second = asyncio.ensure_future(store.put("second", b"", {}))
        await asyncio.sleep(0)
        second.cancel()
        system.go.set()
        await first
        assert [info.key for info in await listed(store)] == ["first"]
        await store.aclose()

    asyncio.run(run())


def test_long_names_are_put_while_their_folders_are_removed(tmp_path: Path) -> None:
    async def run() -> None:
        stores = [LocalObjectStore(tmp_path), LocalObjectStore(tmp_path)]

        async def work(number: int) -> None:
            store = stores[number % 2]
            for step in range(12):
                key = "x" * 450 + f"{number}-{step}"
                await store.put(key, b"body", {})
                assert await store.fetch(key, 0, 4) == b"body"
                assert not await store.delete([key])

        await asyncio.gather(*(work(number) for number in range(8)))
        assert await listed(stores[0]) == []
        for store in stores:
            await store.aclose()

    asyncio.run(run())
