"""The synchronous face: the same names and parameters as the asynchronous one, the same results."""

import hashlib
import inspect
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thermocline import (
    ConfigurationError,
    ContentNotFoundError,
    DigestMismatchError,
    IntegrityError,
    InvalidContentIdError,
    PreconditionFailedError,
    Settings,
    StorageOrchestrator,
    StorageTier,
    StoreCache,
    SyncStorageOrchestrator,
    SyncStoreCache,
)

PART = 4 * 2**20
OUTSIDE_PARAMETERS = {"content_data", "compute"}
"""Parameters whose type differs on purpose."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data")


@pytest.fixture
def store(settings: Settings) -> Iterator[SyncStorageOrchestrator]:
    with SyncStorageOrchestrator.open(settings) as opened:
        yield opened


def _public(face: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(value) for name, value in inspect.getmembers(face, callable) if name[0] != "_"}


FACES: dict[type, type] = {StorageOrchestrator: SyncStorageOrchestrator, StoreCache: SyncStoreCache}
METHODS = [(face, name) for face in FACES for name in _public(face)]


@pytest.mark.parametrize("face", FACES)
def test_both_faces_have_the_same_methods(face: type) -> None:
    assert set(_public(FACES[face])) == set(_public(face))


@pytest.mark.parametrize(("face", "name"), METHODS)
def test_both_faces_take_the_same_parameters(face: type, name: str) -> None:
    asynchronous = _public(face)[name].parameters
    synchronous = _public(FACES[face])[name].parameters
    assert list(synchronous) == list(asynchronous)
    for parameter, theirs in asynchronous.items():
        ours = synchronous[parameter]
        assert (ours.kind, ours.default) == (theirs.kind, theirs.default), parameter
        if parameter not in OUTSIDE_PARAMETERS:
            assert ours.annotation == theirs.annotation, parameter


@pytest.mark.parametrize(("face", "name"), METHODS)
def test_every_method_is_documented(face: type, name: str) -> None:
    assert getattr(FACES[face], name).__doc__


def test_values_are_cached(store: SyncStorageOrchestrator) -> None:
    assert store.cache.cache_content("a", b"1", 60, "metadata")
    assert store.cache.get("a", "metadata") == b"1"
    threads = set()

    def compute() -> bytes:
        threads.add(threading.get_ident())
        return b"2"

    assert store.cache.fetch("b", compute, cache_type="metadata") == b"2"
    assert store.cache.fetch("b", compute, cache_type="metadata") == b"2"
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert store.cache.invalidate_cache("?", "metadata") == 2
    assert store.cache.stats()["metadata"]["hits"] == 2
    store.store_content("c", b"3", None, "warm")
    report = store.cache.warm_cache([{"content_id": "c", "access_probability": 0.9}])
    assert report.warmed == 1
    assert store.cache.get_cached_content("c") == b"3"


def test_a_content_comes_back(store: SyncStorageOrchestrator) -> None:
    receipt = store.store_content("a/b", b"hello", {"x": 1}, StorageTier.COLD, content_type="text/plain")
    assert receipt.created
    assert store.retrieve_content("a/b") == b"hello"
    record = store.stat("a/b")
    assert (record.size, record.tier, dict(record.metadata)) == (5, StorageTier.COLD, {"x": 1})
    assert [record.content_id for record in store.list_content("a/")] == ["a/b"]
    assert [record.content_id for record in store.list_page(limit=1).records] == ["a/b"]
    assert store.update_metadata("a/b", {"x": None, "y": 2}).metadata == {"y": 2}
    assert list(store.check()) == []
    assert store.delete_content("a/b")
    assert not store.delete_content("a/b")
    with pytest.raises(ContentNotFoundError):
        store.stat("a/b")
    store.store_content("a/b", b"again")
    assert store.erase_content("a/b")


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART])
def test_bodies_of_every_form(store: SyncStorageOrchestrator, tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        store.store_content("file", file)
    store.store_content("memory-file", io.BytesIO(data))
    store.store_content("pieces", (data[start : start + 100_000] for start in range(0, len(data), 100_000)))
    store.store_content("view", memoryview(data))
    for content_id in ("file", "memory-file", "pieces", "view"):
        with store.open_content(content_id) as content:
            assert content.record.size == size
            assert b"".join(content) == data


def test_a_range(store: SyncStorageOrchestrator) -> None:
    store.store_content("a", b"0123456789")
    with store.open_content("a", start=2, end=5) as content:
        assert (content.start, content.end) == (2, 5)
        assert b"".join(content) == b"234"
    with store.open_content("a", start=-3) as content:
        assert b"".join(content) == b"789"


def test_a_body_is_read_in_the_callers_thread_and_in_bounded_pieces(store: SyncStorageOrchestrator) -> None:
    threads: set[int] = set()
    sizes: list[int] = []

    class Source(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            threads.add(threading.get_ident())
            sizes.append(size or -1)
            return super().read(size)

    store.store_content("a", Source(b"x" * (2 * PART)))
    assert threads == {threading.get_ident()}
    assert 0 < min(sizes) <= max(sizes) <= PART


def test_what_a_body_raises_is_passed_on(store: SyncStorageOrchestrator, settings: Settings) -> None:
    def body() -> Iterator[bytes]:
        yield b"x" * (2 * PART)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        store.store_content("a", body())
    with pytest.raises(ContentNotFoundError):
        store.stat("a")
    assert _files(settings) == []
    store.store_content("a", b"the store goes on")


@pytest.mark.parametrize("where", ["first", "later"])
def test_an_interrupted_body_leaves_nothing(store: SyncStorageOrchestrator, settings: Settings, where: str) -> None:
    def body() -> Iterator[bytes]:
        if where == "later":
            yield b"x" * (2 * PART)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.store_content("a", body())
    with pytest.raises(ContentNotFoundError):
        store.stat("a")
    assert _files(settings) == []
    store.store_content("a", b"the store goes on")


def test_errors_are_the_same(store: SyncStorageOrchestrator) -> None:
    store.store_content("a", b"x")
    with pytest.raises(InvalidContentIdError):
        store.stat("../a")
    with pytest.raises(PreconditionFailedError):
        store.store_content("a", b"y", if_none_match="*")
    with pytest.raises(DigestMismatchError):
        store.store_content("a", iter([b"y"]), sha256=hashlib.sha256(b"z").digest())
    with pytest.raises(ContentNotFoundError), store.open_content("b"):
        pass


def test_a_damaged_content_is_an_error(store: SyncStorageOrchestrator, settings: Settings) -> None:
    store.store_content("a", b"x" * 1000, initial_tier="cold")
    (path,) = _files(settings)
    path.chmod(0o600)
    damaged = bytearray(path.read_bytes())
    damaged[0] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError):
        store.retrieve_content("a")
    assert [finding.damage for finding in store.check()] == ["damaged"]


def test_several_threads_share_a_store(store: SyncStorageOrchestrator) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                data = f"{number}-{turn}".encode()
                store.store_content(f"c/{number}", iter([data[:1], data[1:]]))
                assert store.retrieve_content(f"c/{number}") == data
        except BaseException as exc:  # noqa: BLE001 - told in the main thread
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.list_content())) == 8


def test_an_iterator_may_be_left_early_and_may_outlive_its_store(settings: Settings) -> None:
    with SyncStorageOrchestrator.open(settings) as store:
        for number in range(3):
            store.store_content(f"c/{number}", b"x")
        left = store.list_content()
        assert next(left).content_id == "c/0"
        left.close()  # type: ignore[attr-defined]
        outliving = store.list_content()
        next(outliving)
    del outliving


def test_settings_that_cannot_work_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((ConfigurationError, Exception)), SyncStorageOrchestrator.open(Settings(data=tmp_path / "file")):
        pass


@pytest.mark.server
@pytest.mark.parametrize("where", ["body", "storing"])
def test_ctrl_c_in_the_callers_thread_ends_the_call_and_the_store(tmp_path: Path, where: str) -> None:
    script = f"""
import sys, time
from pathlib import Path
from thermocline import Settings, SyncStorageOrchestrator

def body():
    yield b"x" * {2 * PART}
    print("waiting", flush=True)
    for _ in range(600):  # a signal just before a sleep does not end it
        time.sleep(0.1)

class Stalling:
    async def __call__(self, *args, **kwargs):
        import asyncio
        print("waiting", flush=True)
        await asyncio.sleep(60)

try:
    with SyncStorageOrchestrator.open(Settings(data=Path({str(tmp_path / "data")!r}))) as store:
        if {where!r} == "storing":
            store._face.stat = Stalling()
            store._wait(lambda: store._face.stat("a"))
        else:
            store.store_content("a", body())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert output == "interrupted\n"
    assert process.returncode == 0
    assert _files(Settings(data=tmp_path / "data")) == []


def _files(settings: Settings) -> list[Path]:
    """The objects' files, finished or not; hidden names are the store's own bookkeeping."""
    root = settings.objects_path("main")
    return [
        path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 0 and path.name != ".installation"
    ]
