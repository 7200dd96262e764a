"""The same face for code without `async`: `StorageOrchestrator` over an event loop in a thread of its own.

Each method is derived from the asynchronous one; what differs is written out: bodies are bytes, files or plain
iterables, listings are plain iterators, `open_content` yields plain iterables. `tests/test_synchronous.py` compares
the names and parameters of both, so that they cannot drift.

Bodies are read in the thread of the caller: nothing that is passed in is touched by another thread, and Ctrl-C
ends a read that blocks.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from queue import SimpleQueue
from typing import Any, BinaryIO, Concatenate, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from thermocline.cache import StoreCache
from thermocline.domain.content import DEFAULT_CONTENT_TYPE, Receipt, Record, Visibility
from thermocline.domain.digests import Buffer
from thermocline.domain.tiers import StorageTier
from thermocline.orchestrator import DEFAULT_TIER, StorageOrchestrator
from thermocline.services.open_contents import OpenContent
from thermocline.wiring.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
Face = TypeVar("Face")
Face_co = TypeVar("Face_co", covariant=True)

SyncBody: TypeAlias = Buffer | Iterable[Buffer] | BinaryIO
PIECE_BYTES = 1024 * 1024
"""How much is read from a file at once."""


class _SourceLeftError(Exception):
    """The caller stopped giving the body; for the write that is a client who left, so it cleans up at once."""


@dataclass(frozen=True, slots=True)
class SyncOpenContent:
    """Content open for reading: its record and the bytes `[start, end)`, as an iterator."""

    record: Record
    start: int
    end: int
    _chunks: Iterator[Buffer]

    def __iter__(self) -> Iterator[Buffer]:
        """Yield the bytes in verified pieces of at most 4 MiB. Raises `IntegrityError` before a damaged one."""
        return self._chunks


class _Waiting(Protocol[Face_co]):
    """A face that waits for what the asynchronous one does."""

    @property
    def _face(self) -> Face_co:
        """The asynchronous face."""

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns. If the caller is interrupted, the work is cancelled."""


def _blocking(
    method: Callable[Concatenate[Face, P], Awaitable[T]],
) -> Callable[Concatenate[_Waiting[Face], P], T]:
    """Return the method that waits for the result of the asynchronous one."""

    @wraps(method)
    def call(self: _Waiting[Face], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def work() -> T:
            return await method(self._face, *args, **kwargs)

        return self._wait(work)

    call.__signature__ = signature(method)  # type: ignore[attr-defined]
    return call


def _iterating(
    method: Callable[Concatenate[StorageOrchestrator, P], AsyncIterator[T]],
) -> Callable[Concatenate["SyncStorageOrchestrator", P], Iterator[T]]:
    """Return the method that yields what the asynchronous one yields."""

    @wraps(method)
    def call(self: "SyncStorageOrchestrator", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._each(method(self._face, *args, **kwargs))

    call.__signature__ = signature(method)  # type: ignore[attr-defined]
    return call


class SyncStoreCache:
    """`StoreCache` without `async`: the same methods, parameters, results, errors and guarantees."""

    def __init__(self, cache: StoreCache, portal: BlockingPortal) -> None:
        self._face = cache
        self._portal = portal

    cache_content = _blocking(StoreCache.cache_content)
    get_cached_content = _blocking(StoreCache.get_cached_content)
    invalidate_cache = _blocking(StoreCache.invalidate_cache)
    get_cache_statistics = _blocking(StoreCache.get_cache_statistics)
    warm_cache = _blocking(StoreCache.warm_cache)
    put = cache_content
    get = get_cached_content
    invalidate = invalidate_cache
    warm = warm_cache
    stats = get_cache_statistics

    def fetch(
        self, content_id: str, compute: Callable[[], bytes | None], *, ttl: float | None = None, cache_type: str
    ) -> bytes | None:
        """Return what is cached; else what `compute()` returns, as `StoreCache.fetch` does.

        `compute` is a plain function; it runs in a thread of its own.
        """

        async def work() -> bytes | None:
            return await to_thread.run_sync(compute)

        return self._wait(lambda: self._face.fetch(content_id, work, ttl=ttl, cache_type=cache_type))

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        return _result_of(self._portal, work)


class SyncStorageOrchestrator:
    """`StorageOrchestrator` without `async`: the same methods, parameters, results, errors and guarantees.

    Safe for concurrent use by several threads.
    """

    def __init__(self, store: StorageOrchestrator, portal: BlockingPortal) -> None:
        self._face = store
        self._portal = portal
        self._is_open = True
        self.cache = SyncStoreCache(store.cache, portal)
        """The caches: values by type, evictions, statistics."""

    @classmethod
    @contextmanager
    def open(cls, settings: Settings | None = None, *, work: bool = False) -> Iterator[Self]:
        """Open a store for the length of the block; `work` also runs the background work (as `serve` does).

        Raises `ConfigurationError` if it cannot start like this; the message says what to change.
        """
        with (
            start_blocking_portal(name="thermocline") as portal,
            portal.wrap_async_context_manager(StorageOrchestrator.open(settings, work=work)) as store,
        ):
            opened = cls(store, portal)
            try:
                yield opened
            finally:
                opened._is_open = False

    def store_content(
        self,
        content_id: str,
        content_data: SyncBody,
        metadata: Mapping[str, Any] | None = None,
        initial_tier: StorageTier | str | None = DEFAULT_TIER,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        visibility: Visibility | str = Visibility.PRIVATE,
        expires_in: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        size: int | None = None,
        sha256: bytes | None = None,
    ) -> Receipt:
        """Store the content as `StorageOrchestrator.store_content` does.

        `content_data` is bytes, a file opened for reading bytes, or an iterable of bytes. What it raises is passed
        on, and nothing was stored.
        """

        def write(body: Buffer | AsyncIterator[Buffer]) -> Awaitable[Receipt]:
            return self._face.store_content(
                content_id,
                body,
                metadata,
                initial_tier,
                content_type=content_type,
                cache_control=cache_control,
                content_disposition=content_disposition,
                visibility=visibility,
                expires_in=expires_in,
                if_match=if_match,
                if_none_match=if_none_match,
                size=size,
                sha256=sha256,
            )

        if isinstance(content_data, bytes | bytearray | memoryview):
            data = content_data
            return self._wait(lambda: write(data))
        return self._wait_feeding(write, _pieces_of(content_data))

    begin_upload = _blocking(StorageOrchestrator.begin_upload)
    complete_upload = _blocking(StorageOrchestrator.complete_upload)
    retrieve_content = _blocking(StorageOrchestrator.retrieve_content)

    @contextmanager
    def open_content(self, content_id: str, *, start: int = 0, end: int | None = None) -> Iterator[SyncOpenContent]:
        """Open the bytes `[start, end)` as `StorageOrchestrator.open_content` does; iterate over them in the block."""
        opened: AbstractContextManager[OpenContent] = self._portal.wrap_async_context_manager(
            self._face.open_content(content_id, start=start, end=end)
        )
        with opened as content:
            yield SyncOpenContent(content.record, content.start, content.end, self._each(aiter(content)))

    stat = _blocking(StorageOrchestrator.stat)
    list_content = _iterating(StorageOrchestrator.list_content)
    list_page = _blocking(StorageOrchestrator.list_page)
    delete_content = _blocking(StorageOrchestrator.delete_content)
    erase_content = _blocking(StorageOrchestrator.erase_content)
    update_metadata = _blocking(StorageOrchestrator.update_metadata)
    set_tier = _blocking(StorageOrchestrator.set_tier)
    optimize_storage_tiers = _blocking(StorageOrchestrator.optimize_storage_tiers)
    explain_tier = _blocking(StorageOrchestrator.explain_tier)
    restore_content = _blocking(StorageOrchestrator.restore_content)
    import_tree = _blocking(StorageOrchestrator.import_tree)
    export_tree = _blocking(StorageOrchestrator.export_tree)
    delete_prefix = _blocking(StorageOrchestrator.delete_prefix)
    check = _iterating(StorageOrchestrator.check)

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        return _result_of(self._portal, work)

    def _wait_feeding(self, write: Callable[[AsyncIterator[Buffer]], Awaitable[T]], pieces: Iterator[Buffer]) -> T:
        """Return what `write` returns, giving it pieces from this thread whenever it asks for one."""
        asked: SimpleQueue[Future[Buffer | None] | None] = SimpleQueue()

        async def body() -> AsyncIterator[Buffer]:
            while True:
                answer: Future[Buffer | None] = Future()
                asked.put(answer)
                piece = await asyncio.wrap_future(answer)
                if piece is None:
                    return
                yield piece

        future = self._portal.start_task_soon(lambda: write(body()))
        future.add_done_callback(lambda _: asked.put(None))
        answer: Future[Buffer | None] | None = None
        try:
            while (answer := asked.get()) is not None:
                _answer(answer, pieces)
        except BaseException:
            if answer is None or answer.done():
                future.cancel()
            else:
                answer.set_exception(_SourceLeftError())
                future.exception()  # wait until the write has cleaned up
            raise
        return future.result()

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        async def close() -> None:
            aclose = getattr(items, "aclose", None)
            if aclose is not None:
                await aclose()

        try:
            while (item := self._wait(following)) is not None:
                yield item[0]
        finally:
            # An iterator that outlives its store has nothing left to close.
            if self._is_open:
                self._wait(close)


def _result_of(portal: BlockingPortal, work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns. If the caller is interrupted, the work is cancelled."""
    future = portal.start_task_soon(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _answer(answer: "Future[Buffer | None]", pieces: Iterator[Buffer]) -> None:
    """Give the next piece, None at the end, or what the body raised; interrupts pass through."""
    if not answer.set_running_or_notify_cancel():
        return
    try:
        piece = next(pieces, None)
    except Exception as exc:  # noqa: BLE001 - handed to the write, which cleans up and raises it to the caller
        answer.set_exception(exc)
    else:
        answer.set_result(piece)


def _pieces_of(body: Iterable[Buffer] | BinaryIO) -> Iterator[Buffer]:
    """Return the body's pieces; a file is read in bounded ones rather than in lines."""
    read = getattr(body, "read", None)
    if not callable(read):
        yield from body
        return
    while piece := read(PIECE_BYTES):
        yield piece
