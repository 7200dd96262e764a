"""Trees of files outside the store: what imports read and exports write."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from thermocline.domain.digests import Buffer
from thermocline.domain.errors import StorageError
from thermocline.domain.file_stamps import FileStamp


class EntryKind(StrEnum):
    """What a walk comes upon. Folders are entered, not told, unless they cannot be."""

    FILE = "file"
    LINK = "symbolic link"
    """Never followed."""
    SPECIAL = "special file"
    """A pipe, a socket, a device."""
    EXCLUDED = "excluded"
    """The caller left it out; a folder with all that is in it."""
    OWN = "own data"
    """The store's own data: a folder with all that is in it."""
    UNREADABLE = "unreadable"
    """A file or folder that the system does not let us look at."""
    TOO_LONG = "too long"
    """A folder whose path is longer than any content id."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One thing in a tree."""

    path: str
    """Relative, with `/`; undecodable bytes as lone surrogates (`os.fsdecode`)."""
    kind: EntryKind
    stamp: FileStamp | None = None
    """Of files only."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file read at one go."""

    stamp: FileStamp
    data: bytes
    content_type: str | None = None
    """If the tree knows it."""


class OpenFile(Protocol):
    """A file open for reading."""

    stamp: FileStamp
    """As it was opened."""
    content_type: str | None = None
    """If the tree knows it."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Yield the bytes in pieces of at most 1 MiB; once. Ends with `FileChangedError` if the file changed meanwhile.

        Raises `FileTreeError` if it cannot be read.
        """


class FileTree(Protocol):
    """One folder with all that is in it. Nothing outside is ever read or written, and no symbolic link followed.

    Paths are relative, as in `TreeEntry`. Every method raises `FileTreeError` for what the system refuses, and
    `OutOfSpaceError` if there is no room to write. For use by many tasks at once.
    """

    @abstractmethod
    def walk(self, leave_out: Callable[[str, bool], bool]) -> AsyncIterator[Sequence[TreeEntry]]:
        """Yield everything in the tree, in pages, in the order of the paths' bytes (`a.b` before `a/b`).

        `leave_out(path, is_folder)` says what is not wanted; such a folder is not entered. Takes memory for the
        names of the folders on the way to the current entry, not for the tree.
        """

    @abstractmethod
    async def read(self, paths: Sequence[str], *, at_most: int) -> Sequence[WholeFile | StorageError | None]:
        """Return the whole files; for each, None if it is larger than `at_most`, or what it cannot be read for.

        That is `FileTreeError`, as `FileChangedError` if the file changed meanwhile.
        """

    @abstractmethod
    def open(self, path: str) -> AbstractAsyncContextManager[OpenFile]:
        """Open a file of any size for reading in pieces."""

    @abstractmethod
    async def digest(self, path: str) -> bytes:
        """Return the SHA-256 of the file's bytes as they are on reading them now. Raises `FileChangedError`."""

    @abstractmethod
    async def look(self, path: str) -> FileStamp | None:
        """Return the stamp of the file, or None if nothing has this path. Raises for anything but a file."""

    @abstractmethod
    async def write(self, path: str, body: Buffer | AsyncIterator[Buffer], stamp: FileStamp, *, replace: bool) -> None:
        """Make a file with these bytes and this time, and its folders: whole or not at all, durable before it returns.

        A file that exists is replaced only with `replace`, otherwise it stays and `FileTreeError` is raised. What
        `body` raises is passed on. A crash leaves no part of a file under any name where the system can do that.
        """


class FileTrees(Protocol):
    """Opens trees."""

    @abstractmethod
    def open(
        self, path: str, *, make: bool = False, may_be_missing: bool = False
    ) -> AbstractAsyncContextManager[FileTree]:
        """Open the folder at `path`, which may itself be a symbolic link.

        If it is missing it is made with `make`, and with `may_be_missing` opened as if it were empty, for looking only.
        Raises `FileTreeError` if it is no folder, or lies in the store's own data.
        """
