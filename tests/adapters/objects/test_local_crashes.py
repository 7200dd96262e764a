"""The folder store is killed at every single system call; what remains is whole, or can be deleted."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.adapters.objects.faulty_system import Died, FaultySystem
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import ObjectInfo, ObjectStore

pytestmark = pytest.mark.thorough

KEYS = {"usual": "inst/main/a/01kdvdna00f1w7gy3rf1w7gy3r", "free": "a", "long": "x" * 500}
BODY = b"0123456789"
ATTRIBUTES = {"content-id": "a"}


async def put(store: ObjectStore, key: str) -> None:
    await store.put(key, BODY, ATTRIBUTES)


async def upload(store: ObjectStore, key: str) -> None:
    pending = await store.begin_upload(key, ATTRIBUTES)
    await pending.write(BODY[:5])
    await pending.write(BODY[5:])
    await pending.complete()


async def abort(store: ObjectStore, key: str) -> None:
    pending = await store.begin_upload(key, ATTRIBUTES)
    await pending.write(BODY[:5])
    await pending.abort()


async def put_and_delete(store: ObjectStore, key: str) -> None:
    await store.put(key, BODY, ATTRIBUTES)
    assert not await store.delete([key])


async def listed(store: ObjectStore) -> list[ObjectInfo]:
    return [info async for page in store.list_pages("") for info in page]


async def run_until(
    root: Path, act: Callable[[ObjectStore, str], Awaitable[None]], key: str, die_at: int | None
) -> int:
    """Run `act` in a process that dies at its `die_at`-th system call; how many it made."""
    system = FaultySystem()
    system.die_at = die_at
    store = LocalObjectStore(root, part_size=Bytes(5), system=system)
    try:
        await act(store, key)
    except Died:
        assert die_at is not None
    await store.aclose()
    return len(system.calls)


def remains(root: Path) -> list[Path]:
    """Return files, and folders that should have gone with them."""
    return [path for path in root.rglob("*") if not path.is_dir() or path.name.endswith("+")]


async def survive(root: Path, key: str, *, acknowledged: bool, gone: bool) -> None:
    """Check what a new process finds: the whole object or no object, and nothing after a deletion."""
    store = LocalObjectStore(root)
    head = await store.head(key)
    infos = await listed(store)
    assert [info.key for info in infos] in ([], [key])
    assert [info.finished for info in infos if info.finished] == ([True] if head else [])
    if head is not None:
        assert await store.fetch(key, 0, head.size) == BODY
        assert head.attributes == ATTRIBUTES
    if acknowledged:
        assert (head is None) == gone
    assert not await store.delete([key])
    assert await listed(store) == []
    assert remains(root) == []
    # What is left of a dead attempt is never in the way of another.
    await store.put(key, BODY, ATTRIBUTES)
    assert await store.fetch(key, 0, len(BODY)) == BODY
    await store.aclose()


@pytest.mark.parametrize("act", [put, upload, abort, put_and_delete])
@pytest.mark.parametrize(("kind", "fresh"), [*((kind, True) for kind in KEYS), ("usual", False)])
def test_killed_at_every_system_call(
    tmp_path: Path, act: Callable[[ObjectStore, str], Awaitable[None]], kind: str, *, fresh: bool
) -> None:
    async def enumerate_deaths() -> int:
        for die_at in range(1000):
            root = tmp_path / str(die_at)
            root.mkdir()
            if not fresh:
                await run_until(root, put_and_delete, KEYS[kind], None)
            made = await run_until(root, act, KEYS[kind], die_at)
            acknowledged = made < die_at
            await survive(root, KEYS[kind], acknowledged=acknowledged, gone=act in {abort, put_and_delete})
            if acknowledged:
                return die_at
        raise AssertionError

    # At least open, write, fsync, link, unlink, fsync: the enumeration did not end early.
    assert asyncio.run(enumerate_deaths()) > 6


def test_a_claim_killed_at_every_system_call_can_be_repeated(tmp_path: Path) -> None:
    async def enumerate_deaths() -> None:
        for die_at in range(100):
            root = tmp_path / str(die_at) / "made"
            system = FaultySystem()
            system.die_at = die_at
            store = LocalObjectStore(root, system=system)
            owner = None
            with contextlib.suppress(Died):
                owner = await store.claim("first")
            await store.aclose()
            store = LocalObjectStore(root)
            second = await store.claim("second")
            assert second in {"first", "second"}
            assert await store.claim("third") == second
            await store.aclose()
            if owner is not None:
                assert (owner, second) == ("first", "first")
                return
        raise AssertionError

    asyncio.run(enumerate_deaths())


def test_every_name_is_durable_before_the_answer(tmp_path: Path) -> None:
    async def put_twice() -> tuple[list[str], list[str]]:
        system = FaultySystem()
        store = LocalObjectStore(tmp_path, system=system)
        await store.put(KEYS["usual"], BODY, {})
        first, system.calls = system.calls, []
        await store.put(KEYS["usual"].replace("kdv", "kdw"), BODY, {})
        await store.aclose()
        return first, system.calls

    first, second = asyncio.run(put_twice())
    name, temporary = "a~01kdvdna00f1w7gy3rf1w7gy3r", "inst%2fmain%2fa%2f01kdvdna00f1w7gy3rf1w7gy3r~"
    order = [call for call in first if not call.startswith(("open", "close", "fstat"))]
    assert order == [
        "mkdir .uploads",
        f"fsync {tmp_path.name}",
        f"writev {temporary}",
        f"fsync {temporary}",
        "mkdir inst",
        f"fsync {tmp_path.name}",
        "mkdir main",
        "fsync inst",
        "mkdir 43",
        "fsync main",
        f"link {name}",
        f"unlink {temporary}",
        "fsync 43",
    ]
    name, temporary = name.replace("kdv", "kdw"), temporary.replace("kdv", "kdw")
    assert second == [
        f"open {temporary}",
        f"writev {temporary}",
        f"fsync {temporary}",
        "open 43",
        f"link {name}",
        f"unlink {temporary}",
        "fsync 43",
    ]


def test_deletions_are_durable_before_the_answer(tmp_path: Path) -> None:
    async def delete() -> list[str]:
        system = FaultySystem()
        store = LocalObjectStore(tmp_path, system=system)
        await store.put("a", BODY, {})
        await store.put("A", BODY, {})
        await store.put(KEYS["long"], BODY, {})
        system.calls.clear()
        assert not await store.delete(["a", "A", "none", KEYS["long"]])
        await store.aclose()
        return [call for call in system.calls if call.startswith(("unlink", "fsync", "rmdir"))]

    calls = asyncio.run(delete())
    folders = {path.name for path in (tmp_path / ".free").iterdir()}
    removed = [number for number, call in enumerate(calls) if call.startswith("unlink")]
    assert len(removed) == 3
    synced = {call.removeprefix("fsync ") for call in calls[removed[-1] :] if call.startswith("fsync")}
    assert folders <= synced
