"""A disk that is really full, and one that is really read-only: a small file system mounted for the test."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.errors import OutOfSpaceError

pytestmark = pytest.mark.server


async def is_full(store: LocalObjectStore, key: str, body: bytes) -> bool:
    """Put one more object; whether there was no room for it."""
    try:
        await store.put(key, body, {})
    except OutOfSpaceError as exc:
        return "free space" in str(exc)
    return False


def test_a_full_disk_refuses_writes_and_loses_nothing(small_disk: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(small_disk / "objects")
        stored: list[int] = []
        while not await is_full(store, f"k{len(stored)}", bytes([len(stored)]) * 100_000):
            stored.append(len(stored))
        upload = await store.begin_upload("upload", {})
        with pytest.raises(OutOfSpaceError):
            await upload.write(bytes(1_000_000))
        await upload.abort()
        assert len(stored) > 10
        for number in stored:
            assert await store.fetch(f"k{number}", 0, 100_000) == bytes([number]) * 100_000
        assert len([info async for page in store.list_pages("") for info in page]) == len(stored)
        assert not await store.delete(["k0", "k1"])
        await store.put("again", bytes(100_000), {})
        await store.aclose()

    asyncio.run(run())


def test_a_read_only_disk_serves_reads(small_disk: Path) -> None:
    async def run() -> None:
        store = LocalObjectStore(small_disk / "objects")
        await store.put("k", b"body", {})
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: ASYNC221 - a test
        with pytest.raises(OutOfSpaceError, match="read-only"):
            await store.put("other", b"", {})
        failed = await store.delete(["k"])
        assert isinstance(failed["k"], OutOfSpaceError)
        assert await store.fetch("k", 0, 4) == b"body"
        await store.aclose()

    asyncio.run(run())
