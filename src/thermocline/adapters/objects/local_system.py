"""The system calls of the folder store, in one place, so that a test can record them or make them fail."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager


class System:
    """The operating system as the folder store uses it. A test overrides single methods."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    link = staticmethod(os.link)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    fsync = staticmethod(os.fsync)
    writev = staticmethod(os.writev)
    pread = staticmethod(os.pread)
    flock = staticmethod(fcntl.flock)

    def scandir(self, fd: int) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """Return the entries of an open folder, which stays open."""
        return os.scandir(fd)


class Descriptor:
    """An open file or folder; closed when the last one who uses it lets go.

    So a thread that is still at work when its caller was cancelled never finds its number reused by another file.
    Hold the descriptor in a variable for as long as its number is used.
    """

    __slots__ = ("_system", "fd")

    def __init__(self, fd: int, system: System) -> None:
        self.fd = fd
        self._system = system

    def __del__(self) -> None:
        """Close it. Whatever had to be durable was synced before, so an error here has nothing to tell."""
        with contextlib.suppress(OSError):
            self._system.close(self.fd)


def write_all(system: System, file: Descriptor, buffers: list[memoryview]) -> None:
    """Write the buffers, all of them, at the end of what was written before. Uses up the list."""
    while buffers:
        written = system.writev(file.fd, buffers)
        while buffers and written >= len(buffers[0]):
            written -= len(buffers.pop(0))
        if buffers and written:
            buffers[0] = buffers[0][written:]
