"""Single files of a tree: each function blocks, and runs in a thread of `local_trees`.

A new file has no name until it is whole, where the system has such files (O_TMPFILE): write -> set the time -> fsync
-> link under its name. A crash then leaves nothing. Elsewhere it has a temporary name, which a crash may leave behind.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from thermocline.adapters.files.tree_folders import Names, TreeFolders
from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.adapters.objects.local_system import Descriptor
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import FileChangedError, FileTreeError
from thermocline.domain.file_stamps import FileStamp
from thermocline.domain.units import Bytes
from thermocline.ports.file_trees import WholeFile

PIECE_BYTES: Final = 1024 * 1024
# O_NONBLOCK: opening a pipe must not wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS: Final = os.O_WRONLY | getattr(os, "O_TMPFILE", 0) | os.O_CLOEXEC
_MODE: Final = 0o666
_OWN_DESCRIPTORS: Final = "/proc/self/fd"
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class ReadFile:
    """A file open for reading, with its state when it was opened."""

    __slots__ = ("before", "file", "stamp")

    def __init__(self, file: Descriptor, before: os.stat_result) -> None:
        self.file = file
        self.before = before
        self.stamp = FileStamp(Bytes(before.st_size), before.st_mtime_ns)


class NewFile:
    """A file that has no name of its own yet."""

    __slots__ = ("file", "folder", "name", "temporary")

    def __init__(self, file: Descriptor, folder: Descriptor, name: str, temporary: str | None) -> None:
        self.file = file
        self.folder = folder
        self.name = name
        self.temporary = temporary
        """None if it has no name at all."""


class TreeFiles:
    """The files below a root. Functions raise `OSError` for whatever the system refuses, and errors of ours."""

    def __init__(self, folders: TreeFolders, system: TreeSystem) -> None:
        self._folders = folders
        self._system = system
        self._has_nameless = hasattr(os, "O_TMPFILE") and Path(_OWN_DESCRIPTORS).is_dir()

    def open(self, path: str) -> ReadFile:
        """Open a regular file for reading."""
        *names, name = split(path)
        folder = self._folders.existing(tuple(names))
        file = Descriptor(self._system.open(name, _READ, dir_fd=folder.fd), self._system)
        status = self._system.fstat(file.fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileTreeError("it is no regular file")
        return ReadFile(file, status)

    def read_piece(self, opened: ReadFile, start: int, size: int) -> bytes:
        """Return at most `size` bytes from `start` on; empty at the end of a file that did not change meanwhile."""
        piece = self._system.pread(opened.file.fd, size, start)
        end = start + len(piece)
        # A file that grows as fast as it is read would have no end.
        if not piece or end > opened.stamp.size:
            self._check_unchanged(opened, end)
        return piece

    def read(self, path: str, at_most: int) -> WholeFile | None:
        """Return the whole file, None if it is larger."""
        opened = self.open(path)
        size = opened.stamp.size
        if size > at_most:
            return None
        fd, pread = opened.file.fd, self._system.pread
        data = pread(fd, size + 1, 0)  # one more than there should be, to see that it ends there
        while 0 < len(data) < size and (piece := pread(fd, size + 1 - len(data), len(data))):
            data += piece
        self._check_unchanged(opened, len(data))
        return WholeFile(opened.stamp, data)

    def digest(self, path: str) -> bytes:
        """Return the SHA-256 of the file."""
        opened = self.open(path)
        digest, at = hashlib.sha256(), 0
        while piece := self.read_piece(opened, at, PIECE_BYTES):
            digest.update(piece)
            at += len(piece)
        return digest.digest()

    def look(self, path: str) -> FileStamp | None:
        """Return the stamp of the file, None if nothing has this path."""
        *names, name = split(path)
        try:
            folder = self._folders.existing(tuple(names))
            status = self._system.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "something that is no regular file"
            raise FileTreeError(f"{what} has its name")
        return FileStamp(Bytes(status.st_size), status.st_mtime_ns)

    def begin(self, path: str) -> NewFile:
        """Make a file without its name."""
        *names, name = split(path)
        folder = self._folders.made(tuple(names))
        try:
            return self._begin_in(folder, name)
        except OSError:
            if self._system.fstat(folder.fd).st_nlink:
                raise
            # Somebody removed the folder while we held it open.
            self._folders.forget(tuple(names))
            return self._begin_in(self._folders.made(tuple(names)), name)

    def append(self, new: NewFile, piece: Buffer) -> None:
        """Write the next piece."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._system.writev(new.file.fd, [rest]) :]

    def finish(self, new: NewFile, modified_ns: int, *, replace: bool) -> None:
        """Set the time, make the bytes durable, give the file its name."""
        fd = new.file.fd
        existing = self._mode_of_existing(new) if replace else None
        if existing is not None:
            self._system.chmod(fd, existing)
        try:
            self._system.utime(fd, ns=(modified_ns, modified_ns))
        except OverflowError as exc:
            raise FileTreeError(f"no file can have its time, {modified_ns} ns") from exc
        self._system.fsync(fd)
        if existing is None:
            self._take_free_name(new)
        else:
            self._take_name(new)

    def discard(self, new: NewFile) -> None:
        """Leave nothing of a file that was not finished."""
        if new.temporary is not None:
            with contextlib.suppress(OSError):
                self._system.unlink(new.temporary, dir_fd=new.folder.fd)

    def write(self, path: str, data: Buffer, modified_ns: int, *, replace: bool) -> None:
        """Make a whole file."""
        new = self.begin(path)
        try:
            self.append(new, data)
            self.finish(new, modified_ns, replace=replace)
        except BaseException:
            self.discard(new)
            raise

    def _check_unchanged(self, opened: ReadFile, came: int) -> None:
        """Return if the file is what it was when it was opened and `came` bytes were all of it."""
        before, after = opened.before, self._system.fstat(opened.file.fd)
        same = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
            after.st_size,
            after.st_mtime_ns,
            after.st_ctime_ns,
        )
        if not same or came != before.st_size:
            raise FileChangedError("it changed while it was read")

    def _begin_in(self, folder: Descriptor, name: str) -> NewFile:
        if self._has_nameless:
            try:
                file = Descriptor(self._system.open(".", _NAMELESS, _MODE, dir_fd=folder.fd), self._system)
                return NewFile(file, folder, name, None)
            except OSError as exc:
                if exc.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
                    raise
                self._has_nameless = False
        temporary = _temporary_name()
        file = Descriptor(self._system.open(temporary, _CREATE, _MODE, dir_fd=folder.fd), self._system)
        return NewFile(file, folder, name, temporary)

    def _mode_of_existing(self, new: NewFile) -> int | None:
        try:
            status = self._system.stat(new.name, dir_fd=new.folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise FileTreeError("something that is no regular file has its name")
        return stat.S_IMODE(status.st_mode)

    def _take_free_name(self, new: NewFile) -> None:
        """A link, unlike a rename, fails if somebody took the name meanwhile."""
        try:
            self._link(new, new.name)
        except OSError as exc:
            if new.temporary is None or exc.errno not in _NO_LINKS:
                raise
            if self._mode_of_existing(new) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
            self._take_name(new)
        else:
            self.discard(new)

    def _take_name(self, new: NewFile) -> None:
        if new.temporary is None:
            # Only a rename replaces, and only what has a name is renamed.
            temporary = _temporary_name()
            self._link(new, temporary)
            new.temporary = temporary
        self._system.rename(new.temporary, new.name, src_dir_fd=new.folder.fd, dst_dir_fd=new.folder.fd)

    def _link(self, new: NewFile, name: str) -> None:
        folder = new.folder.fd
        if new.temporary is None:
            own = f"{_OWN_DESCRIPTORS}/{new.file.fd}"
            self._system.link(own, name, dst_dir_fd=folder, follow_symlinks=True)
        else:
            self._system.link(new.temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


def split(path: str) -> Names:
    """Return the names in a path. Raises `FileTreeError` for one that could lead out of the tree."""
    names = tuple(path.split("/"))
    if any(name in {"", ".", ".."} or "\0" in name for name in names):
        raise FileTreeError("its path would lead out of the folder, or is none")
    return names


def _temporary_name() -> str:
    return f".thermocline-{secrets.token_hex(6)}.part"
