"""Damaged marks of restores, and whatever somebody else puts in their place."""

import asyncio
from pathlib import Path

import pytest

from tests.adapters.objects.test_local_restores import (
    ARCHIVED,
    HOUR,
    KEY,
    LONG,
    MARK,
    NAME,
    REQUESTED,
    marks,
    opened,
    request,
)
from tests.adapters.objects.test_local_unsafe import make_special, snapshot
from thermocline.domain.errors import ObjectArchivedError, UnsafePathError
from thermocline.testing.clock import ManualClock


def damaged(mark: bytes) -> dict[str, bytes]:
    """Return what may be in the mark's place: damage of every byte, other lengths, other things."""
    flipped = {
        f"bit {bit}": bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(mark))
        for bit in range(len(mark) * 8)
    }
    cut = {f"cut at {size}": mark[:size] for size in range(len(mark))}
    other = {
        "longer": mark + b"\n",
        "twice": mark * 2,
        "nonsense": b"\xff" * len(mark),
        "zeros": bytes(len(mark)),
        "newer": mark.replace(b"restore 1", b"restore 2"),
        "upper case": mark.replace(b"4bfb1d7b", b"A6EA5E2E"),
        "huge": bytes(1 << 20),
    }
    return {**flipped, **cut, **other}


def test_a_damaged_mark_makes_nothing_readable_and_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / ".restores" / NAME

    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            path.parent.mkdir()
            for number, (name, content) in enumerate(damaged(MARK).items()):
                clock.jump(HOUR)
                path.write_bytes(content)
                assert await store.restore_state(KEY) == ARCHIVED, name
                with pytest.raises(ObjectArchivedError):
                    await store.fetch(KEY, 0, 4)
                clock.jump(-HOUR)
                if number % 50 == 0:
                    await request(store)
                    assert path.read_bytes() == MARK
            path.write_bytes(b"damaged")
            assert not await store.delete([KEY])
            assert marks(tmp_path) == []

    asyncio.run(run())


def test_the_mark_of_another_object_is_none(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store:
            for key in ("a", "b"):
                await store.put(key, b"body", {}, storage_class="GLACIER")
            await request(store, "a")
            clock.advance(HOUR)
            (tmp_path / ".restores" / "a~").rename(tmp_path / ".restores" / "b~")
            assert await store.restore_state("a") == await store.restore_state("b") == ARCHIVED

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "socket", "folder"])
@pytest.mark.parametrize("name", [NAME, NAME + "~"])
def test_what_lies_in_the_place_of_a_mark_is_never_followed(tmp_path: Path, name: str, kind: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    # A valid mark, so that whoever followed the link would read it.
    (outside / "mark").write_bytes(MARK)
    before = snapshot(outside)

    async def run() -> None:
        clock = ManualClock()
        async with opened(root, clock) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            (root / ".restores").mkdir()
            make_special(root / ".restores" / name, kind, outside / "mark")
            clock.jump(HOUR)
            assert await asyncio.wait_for(store.restore_state(KEY), 10) == ARCHIVED
            with pytest.raises(ObjectArchivedError):
                await asyncio.wait_for(store.fetch(KEY, 0, 4), 10)
            if kind == "folder":
                with pytest.raises(UnsafePathError, match=r"\.restores|root"):
                    await asyncio.wait_for(request(store), 10)
                assert marks(root) == [name]
                assert await store.restore_state(KEY) == ARCHIVED
                (root / ".restores" / name).rmdir()
            await asyncio.wait_for(request(store), 10)
            assert await store.restore_state(KEY) == REQUESTED
            assert marks(root) == [NAME]
            (root / ".restores" / NAME).unlink()
            make_special(root / ".restores" / name, kind, outside / "mark")
            assert not await asyncio.wait_for(store.delete([KEY]), 10)
            assert marks(root) == ([name] if kind == "folder" else [])

    asyncio.run(run())
    assert snapshot(outside) == before


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_the_folder_of_marks_is_not_followed_either(tmp_path: Path, kind: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / NAME).write_bytes(MARK)
    before = snapshot(outside)

    async def run() -> None:
        clock = ManualClock()
        async with opened(root, clock) as store:
            await store.put(KEY, b"body", {}, storage_class="GLACIER")
            clock.advance(HOUR)
            make_special(root / ".restores", kind, outside)
            with pytest.raises((ObjectArchivedError, UnsafePathError)):
                await asyncio.wait_for(store.fetch(KEY, 0, 4), 10)
            with pytest.raises(UnsafePathError):
                await asyncio.wait_for(request(store), 10)
            failed = await asyncio.wait_for(store.delete([KEY]), 10)
            assert isinstance(failed[KEY], UnsafePathError)
            (root / ".restores").unlink()
            assert not await store.delete([KEY])

    asyncio.run(run())
    assert snapshot(outside) == before


def test_a_folder_of_marks_that_is_replaced_under_a_running_store_is_seen(tmp_path: Path) -> None:
    async def run() -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock) as store, opened(tmp_path, clock) as other:
            for key in (KEY, LONG):
                await store.put(key, b"body", {}, storage_class="GLACIER")
                await request(store, key)
            (tmp_path / ".restores").rename(tmp_path / "aside")
            for key in (KEY, LONG):
                assert await store.restore_state(key) == ARCHIVED
                await request(other, key)
                assert await store.restore_state(key) == REQUESTED
                await request(store, key)

    asyncio.run(run())
