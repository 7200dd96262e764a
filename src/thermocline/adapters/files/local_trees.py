"""Folders of this machine as file trees; the calls that block run in threads of their own."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from thermocline.adapters.files.tree_errors import explain, reason_of
from thermocline.adapters.files.tree_files import PIECE_BYTES, ReadFile, TreeFiles
from thermocline.adapters.files.tree_folders import TreeFolders
from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.adapters.files.tree_walk import Identity, LeaveOut, TreeWalk
from thermocline.adapters.objects.io_threads import IoThreads
from thermocline.adapters.objects.local_system import Descriptor
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import FileTreeError, StorageError
from thermocline.domain.file_stamps import FileStamp
from thermocline.ports.file_trees import FileTree, FileTrees, OpenFile, TreeEntry, WholeFile

T = TypeVar("T")

_READERS: Final = 4
_WRITERS: Final = 16
"""As in the folder store: reads wait for one another's interpreter lock, writes for the disk."""
_SYSTEM: Final = TreeSystem()
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalTrees(FileTrees):
    """Opens folders of this machine.

    `own` are the folders and files in which the store keeps its data: never entered, and no tree may lie in them.
    `around` is the folder that usually holds them: not entered from above, but a tree may lie in it beside them.
    """

    def __init__(self, *, own: Sequence[Path] = (), around: Sequence[Path] = (), system: TreeSystem = _SYSTEM) -> None:
        self._own = tuple(own)
        self._around = tuple(around)
        self._system = system

    @asynccontextmanager
    async def open(self, path: str, *, make: bool = False, may_be_missing: bool = False) -> AsyncIterator[FileTree]:
        """Open the folder, once it is sure that it is none of ours."""
        root = await asyncio.to_thread(self._open_root, path, make=make, may_be_missing=may_be_missing)
        tree = LocalTree(root, self._system, _identities((*self._own, *self._around)))
        try:
            yield tree
        finally:
            await tree.aclose()

    def _open_root(self, path: str, *, make: bool, may_be_missing: bool) -> Descriptor | None:
        try:
            above = Path(path).resolve().parents
            if _identities(above) & _identities(self._own):
                raise _own_data(path)
            if make:
                Path(path).mkdir(parents=True, exist_ok=True)
            root = Descriptor(self._system.open(path, _ROOT), self._system)
        except OSError as exc:
            if isinstance(exc, FileNotFoundError) and may_be_missing:
                return None
            reason = "it is no folder" if isinstance(exc, NotADirectoryError | FileExistsError) else reason_of(exc)
            reason = "there is no such folder" if isinstance(exc, FileNotFoundError) else reason
            raise FileTreeError(f"{path!r} cannot be used: {reason}") from exc
        except ValueError as exc:
            raise FileTreeError(f"{path!r} is no path") from exc
        status = self._system.fstat(root.fd)
        if (status.st_dev, status.st_ino) in _identities((*self._own, *self._around)):
            raise _own_data(path)
        return root


class LocalTree(FileTree):
    """One folder; None for one that is missing. Close with `aclose`."""

    def __init__(self, root: Descriptor | None, system: TreeSystem, own: frozenset[Identity]) -> None:
        self._folders = TreeFolders(root, system)
        self._files = TreeFiles(self._folders, system)
        self._walk = TreeWalk(self._folders, system, own)
        self._reads = IoThreads(_READERS, name="tree-reads")
        self._writes = IoThreads(_WRITERS, name="tree-writes")

    async def walk(self, leave_out: LeaveOut) -> AsyncIterator[Sequence[TreeEntry]]:
        """Yield everything in the tree, in pages."""
        pages = self._walk.pages(leave_out)
        while (page := await self._read("listing the folder", partial(next, pages, None))) is not None:
            yield page

    async def read(self, paths: Sequence[str], *, at_most: int) -> Sequence[WholeFile | StorageError | None]:
        """Return the whole files, in one thread hop."""
        return await self._reads.run(self._read_all, paths, at_most)

    def _read_all(self, paths: Sequence[str], at_most: int) -> Sequence[WholeFile | StorageError | None]:
        found: list[WholeFile | StorageError | None] = []
        for path in paths:
            try:
                found.append(self._files.read(path, at_most))
            except OSError as exc:
                found.append(explain(exc, f"reading {path!r}"))
            except StorageError as exc:
                found.append(exc)
        return found

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[OpenFile]:
        """Open a file of any size."""
        opened = await self._read(f"reading {path!r}", partial(self._files.open, path))
        yield _LocalFile(self, opened, path)

    async def digest(self, path: str) -> bytes:
        """Return the SHA-256 of the file, in one thread hop."""
        return await self._read(f"reading {path!r}", partial(self._files.digest, path))

    async def look(self, path: str) -> FileStamp | None:
        """Return the stamp of the file, or None."""
        return await self._read(f"looking at {path!r}", partial(self._files.look, path))

    async def write(self, path: str, body: Buffer | AsyncIterator[Buffer], stamp: FileStamp, *, replace: bool) -> None:
        """Make a file; of bytes in one thread hop."""
        doing, files = f"writing {path!r}", self._files
        if isinstance(body, bytes | bytearray | memoryview):
            await self._write(doing, partial(files.write, path, body, stamp.modified_ns, replace=replace))
            return
        new = await self._write(doing, partial(files.begin, path))
        try:
            async for piece in body:
                await self._write(doing, partial(files.append, new, piece))
            await self._write(doing, partial(files.finish, new, stamp.modified_ns, replace=replace))
        except BaseException as exc:
            discarding = self._writes.run(files.discard, new)
            if isinstance(exc, Exception):  # a cancellation waits for nothing; closing the tree does
                await discarding
            raise

    async def read_piece(self, path: str, opened: ReadFile, start: int) -> bytes:
        """Return the next piece of an open file; at its end, see that it is still what it was."""
        return await self._read(f"reading {path!r}", partial(self._files.read_piece, opened, start, PIECE_BYTES))

    async def aclose(self) -> None:
        """End the threads once the work that was handed in is done."""
        await asyncio.gather(asyncio.to_thread(self._reads.close), asyncio.to_thread(self._writes.close))
        self._folders.close()

    async def _read(self, doing: str, function: Callable[[], T]) -> T:
        try:
            return await self._reads.run(function)
        except OSError as exc:
            raise explain(exc, doing) from exc

    async def _write(self, doing: str, function: Callable[[], T]) -> T:
        try:
            return await self._writes.run(function)
        except OSError as exc:
            raise explain(exc, doing) from exc


class _LocalFile(OpenFile):
    def __init__(self, tree: LocalTree, opened: ReadFile, path: str) -> None:
        self.stamp = opened.stamp
        self._tree = tree
        self._opened = opened
        self._path = path

    async def __aiter__(self) -> AsyncGenerator[Buffer]:
        """Yield the bytes, then see that the file is still what it was."""
        at = 0
        while piece := await self._tree.read_piece(self._path, self._opened, at):
            at += len(piece)
            yield piece


def _own_data(path: str) -> FileTreeError:
    return FileTreeError(f"{path!r} cannot be used: it is this store's own data; name another folder")


def _identities(paths: Iterable[Path]) -> frozenset[Identity]:
    """Return what tells these files and folders apart from all others, as far as they exist."""
    found: set[Identity] = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)
