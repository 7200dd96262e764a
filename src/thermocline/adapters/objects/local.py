"""An object store in a folder: one file per object, durable before it is acknowledged.

The steps are in `local_files`, the layout in `local_names`, the form of a file in `local_format`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from thermocline.adapters.objects.io_threads import IoThreads
from thermocline.adapters.objects.key_rules import check_range
from thermocline.adapters.objects.local_errors import explain
from thermocline.adapters.objects.local_files import LocalFiles, PendingFile
from thermocline.adapters.objects.local_listing import LocalListing
from thermocline.adapters.objects.local_owner import LocalOwner
from thermocline.adapters.objects.local_system import System
from thermocline.domain.digests import CHUNK_BYTES, Buffer
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import ObjectHead, ObjectInfo, ObjectStore, Upload

T = TypeVar("T")

_THREADS: Final = 16
"""Enough that puts share the file system's journal commits; more threads only wait for one another."""
_SYSTEM: Final = System()


class LocalObjectStore(ObjectStore):
    """Objects as files below `root`, which may be a symbolic link; inside it none is ever followed.

    An object's name never replaces another file: putting the same bytes again under a key succeeds, other bytes
    raise `UnsafePathError`. What is stored stays readable by any program: the payload comes first in its file.
    Every call runs in one of `threads` own threads. Close it with `aclose`.
    """

    def __init__(
        self,
        root: Path,
        *,
        threads: int = _THREADS,
        part_size: Bytes = Bytes(4 * 1024 * 1024),
        system: System = _SYSTEM,
    ) -> None:
        self.part_size = part_size
        self._root = root
        self._threads = IoThreads(threads, name="objects")
        self._files = LocalFiles(root, system)
        self._listing = LocalListing(root, self._files.folders, system)
        self._owner = LocalOwner(root, self._files.folders, system)

    async def put(self, key: str, data: Buffer, attributes: Mapping[str, str]) -> None:
        """Store `data` whole, in one thread hop. `data` must not change until this returns."""
        await self._run("storing", key, self._files.put, key, data, attributes)

    async def begin_upload(self, key: str, attributes: Mapping[str, str]) -> Upload:
        """Begin an object that arrives in parts. Raises `UnavailableError` while the key has another upload."""
        pending = await self._run("storing", key, self._files.begin, key, dict(attributes))
        return _LocalUpload(self, pending)

    async def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly the bytes `[start, end)`, in one thread hop."""
        return await self._run("reading", key, self._files.fetch, key, start, end)

    async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield the bytes in fresh blocks that end at multiples of 4 MiB; reads one ahead while one is used."""
        check_range(start, end)
        stop = _block_end(start, end)
        file, block = await self._run("reading", key, self._files.open_range, key, start, end, stop)
        while stop < end:
            start, stop = stop, _block_end(stop, end)
            ahead = self._threads.run(self._files.read, file, start, stop)
            yield block
            del block  # while the consumer has let go, only the block ahead takes memory
            try:
                block = await ahead
            except OSError as exc:
                raise explain(exc, self._root, f"reading {key!r}") from exc
        if block:
            yield block

    async def head(self, key: str) -> ObjectHead | None:
        """Return what is known of a finished object, or None. Raises `UnsafePathError` if its end is damaged."""
        return await self._run("reading", key, self._files.head, key)

    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads, durably; return those that failed and why."""
        return await self._run("deleting", "objects", self._files.delete, tuple(keys))

    async def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield pages of what lies in the folder. `size` is that of the file: payload and attributes."""
        pages = self._listing.pages(prefix)
        while (page := await self._run("listing", prefix, next, pages, None)) is not None:
            yield page

    async def claim(self, installation: str) -> str:
        """Return the owner of the folder, after making it `installation` if it has none. Makes the folder."""
        return await self._run("claiming", installation, self._owner.claim, installation)

    async def aclose(self) -> None:
        """End the threads, after the work that was handed in."""
        self._threads.close()

    async def _run(self, doing: str, what: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._threads.run(function, *args)
        except OSError as exc:
            raise explain(exc, self._root, f"{doing} {what!r}") from exc


class _LocalUpload(Upload):
    """A temporary file until `complete` names it. Each call takes the file's lock, so calls never overlap."""

    def __init__(self, store: LocalObjectStore, pending: PendingFile) -> None:
        self._store = store
        self._pending = pending
        self._completed = False

    async def write(self, part: Buffer) -> None:
        """Write the next part. `part` must not change until this returns."""
