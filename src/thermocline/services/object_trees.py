"""An object store's keys as a tree of files: what lies in a bucket already, for imports. It is never written to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

from thermocline.domain.digests import Buffer
from thermocline.domain.errors import (
    FileChangedError,
    FileTreeError,
    ObjectArchivedError,
    ObjectMissingError,
    StorageError,
)
from thermocline.domain.file_stamps import FileStamp
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Timestamp
from thermocline.ports.file_trees import EntryKind, FileTree, FileTrees, OpenFile, TreeEntry, WholeFile
from thermocline.ports.object_store import ObjectHead, ObjectStore

BUCKET_SCHEME = "s3://"
NANOS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ObjectTree(FileTree):
    """The objects of a store whose keys begin with `prefix`; a path is what follows in the key.

    Objects may be changed by others at any time: what changed while it was read is `FileChangedError`. Times are
    whole seconds, because listings and single looks tell them differently otherwise.
    """

    store_name: str
    store: ObjectStore
    prefix: str
    """Empty, or ends with `/`."""
    is_ours: Callable[[str], bool]
    """Whether this installation made a key: its own objects are no files."""

    def key_of(self, path: str) -> str:
        """Return the object key of a path."""
        return self.prefix + path

    async def walk(self, leave_out: Callable[[str, bool], bool]) -> AsyncIterator[Sequence[TreeEntry]]:
        """Yield every finished object, in pages, in the order of the store's listing."""
        async for page in self.store.list_pages(self.prefix):
            entries = []
            for info in page:
                path = info.key.removeprefix(self.prefix)
                # Keys that end with `/` are the empty folders that some tools make.
                if not info.finished or not path or path.endswith("/"):
                    continue
                if self.is_ours(info.key):
                    entries.append(TreeEntry(path, EntryKind.OWN))
                elif _is_left_out(path, leave_out):
                    entries.append(TreeEntry(path, EntryKind.EXCLUDED))
                else:
                    entries.append(TreeEntry(path, EntryKind.FILE, _stamp(info.size, info.modified_at)))
            if entries:
                yield entries

    async def read(self, paths: Sequence[str], *, at_most: int) -> Sequence[WholeFile | StorageError | None]:
        """Return the whole objects, read side by side."""
        return await asyncio.gather(*(self._read_or_tell(path, at_most) for path in paths))

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[OpenFile]:
        """Open an object of any size for reading in pieces."""
        yield self.as_seen(path, await self.head(path))

    def as_seen(self, path: str, head: ObjectHead) -> OpenFile:
        """Return the object for reading in pieces, which fails if it is not the one any more that was seen."""
        return _OpenObject(self, path, head)

    async def digest(self, path: str) -> bytes:
        """Return the SHA-256 of the object's bytes as they are on reading them now."""
        sha256 = hashlib.sha256()
        async with self.open(path) as file:
            async for piece in file:
                await asyncio.to_thread(sha256.update, piece)
        return sha256.digest()

    async def look(self, path: str) -> FileStamp | None:
        """Return the stamp of the object, or None if there is none."""
        head = await self.store.head(self.key_of(path))
        return None if head is None else _stamp(head.size, head.modified_at)

    async def write(
        self,
        path: str,
        body: Buffer | AsyncIterator[Buffer],  # noqa: ARG002 - the port's shape
        stamp: FileStamp,  # noqa: ARG002
        *,
        replace: bool,  # noqa: ARG002
    ) -> None:
        """Refuse: exports write folders."""
        raise FileTreeError(f"{self.key_of(path)!r}: object stores are imported from, not exported to")

    async def head(self, path: str) -> ObjectHead:
        """Return what is known of the object. Raises `FileTreeError` if there is none."""
        head = await self.store.head(self.key_of(path))
        if head is None:
            raise FileChangedError(f"object {self.key_of(path)!r} is not there any more")
        return head

    async def check_unchanged(self, path: str, before: ObjectHead) -> None:
        """Raise `FileChangedError` if the object is not any more as it was seen before."""
        after = await self.head(path)
        if (after.size, after.modified_at, after.etag) != (before.size, before.modified_at, before.etag):
            raise FileChangedError(f"object {self.key_of(path)!r} was replaced while it was read")

    async def _read_or_tell(self, path: str, at_most: int) -> WholeFile | StorageError | None:
        try:
            head = await self.head(path)
            if head.size > at_most:
                return None
            with _told_of_files(self.key_of(path)):
                data = await self.store.fetch(self.key_of(path), 0, head.size)
            await self.check_unchanged(path, head)
        except StorageError as exc:
            return exc
        return WholeFile(_stamp(head.size, head.modified_at), data, head.content_type)


class _OpenObject(OpenFile):
    """An object that is read in pieces."""

    def __init__(self, tree: ObjectTree, path: str, head: ObjectHead) -> None:
        self.stamp = _stamp(head.size, head.modified_at)
        self.content_type = head.content_type
        self._tree = tree
        self._path = path
        self._head = head

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        """Yield the bytes; at the end, and before that tells anybody that they are whole, look again."""
        key = self._tree.key_of(self._path)
        with _told_of_files(key):
            async with aclosing(self._tree.store.stream(key, 0, self._head.size)) as blocks:
                async for block in blocks:
                    yield block
        await self._tree.check_unchanged(self._path, self._head)


@contextmanager
def _told_of_files(key: str) -> Iterator[None]:
    try:
        yield
    except (ObjectMissingError, EOFError) as exc:
        raise FileChangedError(f"object {key!r} was replaced or deleted while it was read") from exc
    except ObjectArchivedError as exc:
        raise FileTreeError(f"object {key!r} is archived; have its store restore it, then import again") from exc


def _stamp(size: Bytes, modified_at: Timestamp) -> FileStamp:
    return FileStamp(size, modified_at // MICROS_PER_SECOND * NANOS_PER_SECOND)


def _is_left_out(path: str, leave_out: Callable[[str, bool], bool]) -> bool:
    """Whether the object, or one of the folders that its key names, is not wanted."""
    end = path.find("/")
    while end >= 0:
        if leave_out(path[:end], True):
            return True
        end = path.find("/", end + 1)
    return leave_out(path, False)


class ImportSources(FileTrees):
    """Folders, and what lies in the buckets of the settings: `s3://BUCKET/PREFIX`."""

    def __init__(
        self,
        folders: FileTrees,
        buckets: Mapping[str, tuple[str, ObjectStore]],
        is_ours: Callable[[str], bool],
    ) -> None:
        """Each bucket comes with the name of its object store."""
        self._folders = folders
        self._buckets = buckets
        self._is_ours = is_ours

    @asynccontextmanager
    async def open(self, path: str, *, make: bool = False, may_be_missing: bool = False) -> AsyncIterator[FileTree]:
        """Open a folder or a part of a bucket. Raises `FileTreeError` if no object store of the settings has it."""
        if not path.startswith(BUCKET_SCHEME):
            async with self._folders.open(path, make=make, may_be_missing=may_be_missing) as folder:
                yield folder
            return
        bucket, _, prefix = path.removeprefix(BUCKET_SCHEME).partition("/")
        if bucket not in self._buckets:
            known = ", ".join(sorted(self._buckets)) or "none"
            raise FileTreeError(
                f"no object store of the settings is the bucket {bucket!r} (they have: {known}); add [objects.NAME] "
                "with kind, endpoint, bucket and keys; it needs no placement"
            )
        name, store = self._buckets[bucket]
        folder_prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        yield ObjectTree(name, store, folder_prefix, self._is_ours)
