"""An object store in a folder: one file per object, durable before it is acknowledged.

The steps are in `local_files`, those of restores in `local_restores`, the layout in `local_names`, the form of a file
in `local_format`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from thermocline.adapters.clock import SystemClock
from thermocline.adapters.objects.archive_classes import ArchiveClasses
from thermocline.adapters.objects.io_threads import IoThreads
from thermocline.adapters.objects.key_rules import check_range
from thermocline.adapters.objects.local_errors import explain
from thermocline.adapters.objects.local_files import LocalFiles, PendingFile
from thermocline.adapters.objects.local_listing import LocalListing
from thermocline.adapters.objects.local_owner import LocalOwner
from thermocline.adapters.objects.local_system import System
from thermocline.domain.digests import CHUNK_BYTES, Buffer
from thermocline.domain.errors import StorageError
from thermocline.domain.restores import RestoreSpeed, StoreRestore
from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.clock import Clock
from thermocline.ports.object_store import (
    STANDARD,
    NewObject,
    ObjectHead,
    ObjectInfo,
    ObjectStore,
    Owned,
    PutsMany,
    Restorable,
    Upload,
)

T = TypeVar("T")

_READERS: Final = 4
"""Reads from the page cache only wait for one another's interpreter lock: 2 to 4 threads are fastest (16 cost twice
the time, measured November 2026). Raise it where reads wait for a slow disk."""
_WRITERS: Final = 16
"""Writes wait for the disk: with more of them at once, more share one commit of the file system's journal."""
_PUTS_A_HOP: Final = 8
"""Threads that hand the interpreter to one another after every system call pay more for that than for the calls: 10,000
small files in an import took 6.0 s one a hop, 5.3 s four, 4.9 s eight (two cores, ext4, November 2026)."""
_SYSTEM: Final = System()
_CLOCK: Final = SystemClock()
_NO_ARCHIVES: Final[Mapping[str, Mapping[RestoreSpeed, Seconds]]] = MappingProxyType({})


class LocalObjectStore(ObjectStore, PutsMany, Owned, Restorable):
    """Objects as files below `root`, which may be a symbolic link; inside it none is ever followed.

    An object's name never replaces another file: putting the same bytes again under a key succeeds, other bytes
    raise `UnsafePathError`. What is stored stays readable by any program: the payload comes first in its file.
    Calls run in own threads, so that neither reads nor the event loop wait behind an fsync. Close with `aclose`.

    `archive_classes` are the storage classes that need a restore, with how long each speed takes by `clock`. Whether
    an object needs one is written into its file when it is stored: other settings do not change what is there.
    """

    def __init__(
        self,
        root: Path,
        *,
        readers: int = _READERS,
        writers: int = _WRITERS,
        part_size: Bytes = Bytes(4 * 1024 * 1024),
        system: System = _SYSTEM,
        archive_classes: Mapping[str, Mapping[RestoreSpeed, Seconds]] = _NO_ARCHIVES,
        clock: Clock = _CLOCK,
    ) -> None:
        self.part_size = part_size
        self._root = root
        self._reads = _Hops(root, readers, "object-reads")
        self._writes = _Hops(root, writers, "object-writes")
        self._files = LocalFiles(root, system, ArchiveClasses(archive_classes), clock)
        self._listing = LocalListing(root, self._files.folders, system)
        self._owner = LocalOwner(root, self._files.folders, system)

    async def put(
        self, key: str, data: Buffer, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> None:
        """Store `data` whole, in one thread hop. `data` must not change until this returns."""
        await self._writes.run("storing", key, self._files.put, key, data, attributes, storage_class)

    async def put_all(
        self, objects: Sequence[NewObject], *, storage_class: str = STANDARD
    ) -> Sequence[StorageError | None]:
        """Store each object whole, eight in one thread hop."""
        hops = [
            self._writes.start(self._put_each, objects[first : first + _PUTS_A_HOP], storage_class)
            for first in range(0, len(objects), _PUTS_A_HOP)
        ]
        return [answer for answers in await asyncio.gather(*hops) for answer in answers]

    def _put_each(self, objects: Sequence[NewObject], storage_class: str) -> Sequence[StorageError | None]:
        answers: list[StorageError | None] = []
        for each in objects:
            try:
                self._files.put(each.key, each.data, each.attributes, storage_class)
            except OSError as exc:
                answers.append(explain(exc, self._root, f"storing {each.key!r}"))
            except StorageError as exc:
                answers.append(exc)
            else:
                answers.append(None)
        return answers

    async def begin_upload(self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD) -> Upload:
        """Begin an object that arrives in parts. Raises `UnavailableError` while the key has another upload."""
        pending = await self._writes.run("storing", key, self._files.begin, key, attributes, storage_class)
        return _LocalUpload(self._writes, self._files, pending)

    async def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly the bytes `[start, end)`, in one thread hop."""
        return await self._reads.run("reading", key, self._files.fetch, key, start, end)

    async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield the bytes in fresh blocks that end at multiples of 4 MiB; reads one ahead while one is used."""
        check_range(start, end)
        stop = _block_end(start, end)
        file, block = await self._reads.run("reading", key, self._files.open_range, key, start, end, stop)
        while stop < end:
            start, stop = stop, _block_end(stop, end)
            ahead = self._reads.start(self._files.read, file, start, stop)
            try:
                yield block
                del block  # the consumer's alone now: while the next is awaited, nothing holds it here
                block = await self._reads.finish("reading", key, ahead)
            finally:
                if not ahead.cancel() and not ahead.cancelled():
                    ahead.exception()  # seen, also when the consumer has left
        if block:
            yield block

    async def head(self, key: str) -> ObjectHead | None:
        """Return what is known of a finished object, or None. Raises `UnsafePathError` if its end is damaged."""
        return await self._reads.run("reading", key, self._files.head, key)

    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects, their restores and unfinished uploads, durably; return those that failed and why."""
        return await self._writes.run("deleting", "objects", self._files.delete, tuple(keys))

    async def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield pages of what lies in the folder. `size` is that of the file: payload and attributes."""
        pages = self._listing.pages(prefix)
        while (page := await self._reads.run("listing", prefix, _next_page, pages)) is not None:
            yield page

    async def claim(self, installation: str) -> str:
        """Return the owner of the folder, after making it `installation` if it has none. Makes the folder."""
        return await self._writes.run("claiming for", installation, self._owner.claim, installation)

    async def owner(self) -> str | None:
        """Return the owner of the folder, or None. Makes no folder."""
        return await self._reads.run("looking for the owner of", "objects", self._owner.owner)

    async def request_restore(self, key: str, *, speed: RestoreSpeed, days: int) -> None:
        """Let an archived object become readable; the request is durable when this returns."""
        await self._writes.run("restoring", key, self._files.request_restore, key, speed, days)

    async def restore_state(self, key: str) -> StoreRestore:
        """Return how far the restore is, by the store's clock."""
        return await self._reads.run("reading", key, self._files.restore_state, key)

    async def aclose(self) -> None:
        """End the threads once the work that was handed in is done. Nothing may be called afterwards."""
        await asyncio.gather(asyncio.to_thread(self._reads.close), asyncio.to_thread(self._writes.close))


class _LocalUpload(Upload):
    """A temporary file until `complete` names it."""

    def __init__(self, hops: "_Hops", files: LocalFiles, pending: PendingFile) -> None:
        self._hops = hops
        self._files = files
        self._pending = pending
        self._completed = False

    async def write(self, part: Buffer) -> None:
        """Write the next part. `part` must not change until this returns."""
        await self._hops.run("storing", self._pending.key, self._files.append, self._pending, part)

    async def complete(self) -> None:
        """Make the object durable and readable."""
        await self._hops.run("storing", self._pending.key, self._files.finish, self._pending)
        self._completed = True

    async def abort(self) -> None:
        """Remove the file; an object too that came into being while its `complete` was cancelled or failed."""
        if not self._completed:
            await self._hops.run("aborting", self._pending.key, self._files.abandon, self._pending)


class _Hops:
    """Calls into the threads, with the system's errors explained."""

    def __init__(self, root: Path, threads: int, name: str) -> None:
        self._root = root
        self._threads = IoThreads(threads, name=name)

    async def run(self, doing: str, what: str, function: Callable[..., T], *args: Any) -> T:
        """Return what `function(*args)` returns, run in a thread. Raises what `explain` makes of an `OSError`."""
        try:
            return await self._threads.run(function, *args)
        except OSError as exc:
            raise explain(exc, self._root, f"{doing} {what!r}") from exc

    def start(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Begin a call that `finish` waits for."""
        return self._threads.run(function, *args)

    async def finish(self, doing: str, what: str, started: asyncio.Future[T]) -> T:
        """Return what a started call returns. Raises as `run` does."""
        try:
            return await started
        except OSError as exc:
            raise explain(exc, self._root, f"{doing} {what!r}") from exc

    def close(self) -> None:
        """End the threads; waits for them."""
        self._threads.close()


def _block_end(start: int, end: int) -> int:
    return min((start // CHUNK_BYTES + 1) * CHUNK_BYTES, end)


def _next_page(pages: Iterator[Sequence[ObjectInfo]]) -> Sequence[ObjectInfo] | None:
    return next(pages, None)
