"""Where `put` reads from: a file, or standard input, in bounded pieces."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from thermocline.interfaces.cli.blocking import BlockingThread
from thermocline.interfaces.cli.exits import CommandError, InterruptedCommandError

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes on their way in."""

    name: str
    size: int | None
    """None where it is not known before the end (pipes, terminals)."""
    _descriptor: int
    _thread: BlockingThread

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes. Raises `CommandError` if reading fails.

        An interrupt while waiting is raised as `InterruptedCommandError`: for the write that is a client who left,
        so it cleans up at once instead of leaving that to the intent cleaner.
        """
        while True:
            try:
                piece = await self._thread.call(os.read, self._descriptor, PIECE_BYTES)
            except asyncio.CancelledError as exc:
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                raise InterruptedCommandError(f"interrupted while reading {self.name}; nothing was stored") from exc
            except OSError as exc:
                raise CommandError(f"{self.name} cannot be read: {exc.strerror}") from exc
            if not piece:
                return
            yield piece


@asynccontextmanager
async def open_source(path: str) -> AsyncIterator[Source]:
    """Open a file, or standard input for `-`. Raises `CommandError` that says why not."""
    thread = BlockingThread()
    if path == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed", "name a file instead of -")
        yield _source("standard input", 0, thread)
        return
    name = repr(path)
    try:
        # In the thread: opening a pipe that nobody writes to yet must not hang beyond the reach of Ctrl-C.
        descriptor = await thread.call(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    except ValueError as exc:
        raise CommandError(f"{name} is not a file name") from exc
    except OSError as exc:
        raise CommandError(f"{name} cannot be read: {exc.strerror}") from exc
    try:
        source = _source(name, descriptor, thread)
        yield source
    finally:
        # A descriptor must not be closed while it is read; a pipe's read may never end, a file's does.
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            await thread.finish()
            os.close(descriptor)


def _source(name: str, descriptor: int, thread: BlockingThread) -> Source:
    try:
        status = os.fstat(descriptor)
    except OSError as exc:
        raise CommandError(f"{name} cannot be read: {exc.strerror}") from exc
    if stat.S_ISDIR(status.st_mode):
        raise CommandError(f"{name} is a folder", "name a file in it")
    size = None
    if stat.S_ISREG(status.st_mode):
        size = max(status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR), 0)
    # Files of /proc and /sys say 0 and have bytes all the same.
    return Source(name, size or None, descriptor, thread)
