"""Bad input through the library, on real folders: a clear error that says what to do, and nothing changed or left."""

import asyncio
import errno
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from thermocline import (
    CatalogVersionError,
    ConfigurationError,
    ContentNotFoundError,
    ContentTooLargeError,
    DigestMismatchError,
    InstallationMismatchError,
    IntegrityError,
    InvalidContentIdError,
    InvalidInputError,
    InvalidRangeError,
    OutOfSpaceError,
    Settings,
    StorageError,
    StorageOrchestrator,
    TruncatedBodyError,
)
from thermocline.adapters.cache.memory import MemoryCache
from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.adapters.objects.local_system import System
from thermocline.domain.units import Bytes
from thermocline.testing.catalog import fresh_sqlite_catalog
from thermocline.testing.strategies import hostile_content_ids
from thermocline.wiring.build import running
from thermocline.wiring.services import Adapters, assemble


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    fresh_sqlite_catalog(folder / "catalog.db")
    return folder


def open_store(data: Path, **limits: Any) -> Any:
    return StorageOrchestrator.open(Settings.model_validate({"data": data, "limits": limits}))


def files_below(data: Path) -> list[Path]:
    """Return every object and unfinished upload in the folder store."""
    return [path for path in (data / "objects").rglob("*") if path.is_file() and path.name != ".installation"]


async def _open(store: StorageOrchestrator, content_id: str, start: int = 0) -> None:
    async with store.open_content(content_id, start=start) as content:
        async for _ in content:
            pytest.fail("bytes were given out")


EVERY_METHOD: list[Callable[[StorageOrchestrator, Any], Awaitable[object]]] = [
    lambda store, bad: store.store_content(bad, b"x"),
    lambda store, bad: store.retrieve_content(bad),
    lambda store, bad: store.stat(bad),
    lambda store, bad: store.delete_content(bad),
    lambda store, bad: store.erase_content(bad),
    lambda store, bad: store.update_metadata(bad, {"a": 1}),
    _open,
]


def test_every_method_refuses_bad_ids(data: Path) -> None:
    async def scenario() -> None:
        async with open_store(data) as store:

            @settings(max_examples=40)
            @given(hostile_content_ids())
            def refuses(bad: str | bytes) -> None:
                collected.append(bad)

            collected: list[str | bytes] = []
            refuses()
            for bad in [*collected, None, 5]:
                for method in EVERY_METHOD:
                    with pytest.raises(InvalidContentIdError):
                        await method(store, bad)
            assert files_below(data) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sha256": hashlib.sha256(b"other").digest()}, DigestMismatchError),
        ({"size": 3}, TruncatedBodyError),
        ({"size": 6_000_000}, TruncatedBodyError),
        ({"content_type": "nonsense"}, InvalidInputError),
        ({"content_disposition": "a\r\nb"}, InvalidInputError),
        ({"metadata": {"a": object()}}, InvalidInputError),
        ({"initial_tier": "tepid"}, InvalidInputError),
        ({"visibility": "secret"}, InvalidInputError),
        ({"if_match": "no quotes"}, InvalidInputError),
    ],
)
@pytest.mark.parametrize("size", [10, 5_000_000])
@pytest.mark.parametrize("streamed", [True, False])
def test_refused_writes_leave_nothing(
    data: Path, arguments: dict[str, Any], error: type[StorageError], size: int, streamed: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 1_000_000):
            yield b"x" * min(1_000_000, size - start)

    async def scenario() -> None:
        async with open_store(data) as store:
            with pytest.raises(error):
                await store.store_content("a", pieces() if streamed else b"x" * size, **arguments)
            with pytest.raises(ContentNotFoundError):
                await store.stat("a")
            assert await store.services.adapters.catalog.intents.count() == 0
        assert files_below(data) == []

    asyncio.run(scenario())


def test_a_body_that_breaks_off_leaves_nothing(data: Path) -> None:
    """The producer raises half-way: its error comes back, nothing is committed, nothing stays."""

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"x" * 1_000_000
        raise ConnectionResetError("the client has left")

    async def scenario() -> None:
        async with open_store(data) as store:
            with pytest.raises(ConnectionResetError):
                await store.store_content("a", broken())
            assert await store.services.adapters.catalog.intents.count() == 0
        assert files_below(data) == []

    asyncio.run(scenario())


def test_too_large_contents_are_refused_as_soon_as_it_shows(data: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1_000_000
            yield b"x" * 1_000_000

    async def scenario() -> None:
        async with open_store(data, max_content_size="6MB", max_buffered="2MB") as store:
            with pytest.raises(ContentTooLargeError, match="max_content_size"):
                await store.store_content("a", endless())
            assert sent < 20_000_000
            await store.store_content("b", b"x" * 5_000_000)
            with pytest.raises(ContentTooLargeError, match="open_content"):
                await store.retrieve_content("b")

    asyncio.run(scenario())


@pytest.mark.parametrize(("start", "end"), [(10, None), (10, 20), (5, 5), (7, 3), (-3, -5), (11, 5)])
def test_ranges_without_a_byte(data: Path, start: int, end: int | None) -> None:
    async def scenario() -> None:
        async with open_store(data) as store:
            await store.store_content("a", b"0123456789")
            with pytest.raises(InvalidRangeError) as refusal:
                async with store.open_content("a", start=start, end=end):
                    pass
            assert refusal.value.size == 10

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [1000, 9_000_000])
def test_damage_is_found_before_it_leaves(data: Path, size: int) -> None:
    """One flipped bit: no read gives out the damaged chunk, and fsck lists the content."""

    async def scenario() -> None:
        async with open_store(data) as store:
            await store.store_content("a", os.urandom(size), initial_tier="cold")
            await store.store_content("b", b"intact")
            (path,) = [path for path in files_below(data) if path.name.startswith("a~")]
            with path.open("r+b") as file:
                file.seek(size - 5)
                damaged = file.read(1)[0] ^ 1
                file.seek(size - 5)
                file.write(bytes([damaged]))
            with pytest.raises(IntegrityError, match="fsck"):
                await store.retrieve_content("a")
            with pytest.raises(IntegrityError):
                await _open(store, "a", start=size - 10)
            if size > 4 * 2**20:
                async with store.open_content("a", start=0, end=1000) as content:
                    assert sum([len(piece) async for piece in content]) == 1000, "intact chunks can be read"
            findings = [finding async for finding in store.check()]
            assert [(finding.damage, finding.content_id) for finding in findings] == [("damaged", "a")]
            path.unlink()
            with pytest.raises(IntegrityError, match="missing"):
                await store.retrieve_content("a")
            findings = [finding async for finding in store.check(read_bytes=False)]
            assert [(finding.damage, finding.content_id) for finding in findings] == [("missing", "a")]

    asyncio.run(scenario())


def test_symbolic_links_lead_nowhere(data: Path, tmp_path: Path) -> None:
    """A link planted in place of an object, or of a folder of objects, is not followed."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")

    async def scenario() -> None:
        async with open_store(data) as store:
            await store.store_content("a", b"secret", initial_tier="cold")
            (path,) = files_below(data)
            kept = path.read_bytes()
            outside.write_bytes(kept)
            path.unlink()
            path.symlink_to(outside)
            with pytest.raises(StorageError):
                await store.retrieve_content("a")
            folder = path.parent
            path.unlink()
            folder.rmdir()
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            (elsewhere / path.name).write_bytes(kept)
            folder.symlink_to(elsewhere)
            with pytest.raises(StorageError):
                await store.retrieve_content("a")

    asyncio.run(scenario())


class FailingSystem(System):
    """A disk that refuses: every call that would take space, or change anything, fails while `failure` is set."""

    failure: int | None = None

    def _refuse(self) -> None:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))

    def writev(self, fd: int, buffers: Any) -> int:
        self._refuse()
        return os.writev(fd, buffers)

    def fsync(self, fd: int) -> None:  # type: ignore[override]
        self._refuse()
        os.fsync(fd)


@asynccontextmanager
async def store_on(system: System, data: Path) -> AsyncIterator[StorageOrchestrator]:
    from thermocline.adapters.catalog.sql import SqlCatalog
    from thermocline.adapters.clock import SystemClock

    clock = SystemClock()
    objects = LocalObjectStore(data / "objects", system=system)
    async with await SqlCatalog.open(f"sqlite:///{data / 'catalog.db'}") as catalog:
        adapters = Adapters(catalog, {"main": objects}, MemoryCache(clock, capacity=Bytes(10_000)), clock, os.urandom)
        async with running(await assemble(Settings(), adapters), work=False) as services:
            yield StorageOrchestrator(services)
        await objects.aclose()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("size", [10, 9_000_000])
def test_a_full_or_read_only_disk(data: Path, code: int, size: int) -> None:
    """The write fails with what to do; what was stored can be read; once there is room, writing goes on."""

    async def scenario() -> None:
        system = FailingSystem()
        async with store_on(system, data) as store:
            await store.store_content("kept", b"kept")
            before = files_below(data)
            system.failure = code
            with pytest.raises(OutOfSpaceError, match=r"disk|space|read-only|writable"):
                await store.store_content("a", b"x" * size)
            assert await store.retrieve_content("kept") == b"kept"
            with pytest.raises(ContentNotFoundError):
                await store.retrieve_content("a")
            system.failure = None
            await store.store_content("a", b"x" * size)
            assert len(await store.retrieve_content("a")) == size
            assert len([path for path in files_below(data) if path not in before]) <= 2

    asyncio.run(scenario())


def test_a_catalog_of_a_newer_version_is_left_alone(data: Path) -> None:
    with sqlite3.connect(data / "catalog.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = (data / "catalog.db").read_bytes()

    async def scenario() -> None:
        with pytest.raises(CatalogVersionError, match="newer"):
            async with open_store(data):
                pass

    asyncio.run(scenario())
    assert (data / "catalog.db").read_bytes() == before


def test_a_catalog_that_is_no_database(data: Path) -> None:
    (data / "catalog.db").write_bytes(b"this is a text file, not a database. " * 100)

    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match=r"not a|database"):
            async with open_store(data):
                pass

    asyncio.run(scenario())


def test_a_store_of_another_installation(data: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_store(data) as store:
            await store.store_content("a", b"mine")
        fresh_sqlite_catalog(data / "catalog.db", installation="somebody-else")
        with pytest.raises(InstallationMismatchError, match="somebody-else"):
            async with open_store(data):
                pass

    asyncio.run(scenario())


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"limits\.memroy"):
        Settings.load(flags={"limits": {"memroy": "1GiB"}})
