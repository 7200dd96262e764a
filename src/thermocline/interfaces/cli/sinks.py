"""Where `get` writes to: a file that appears whole or not at all, or standard output."""

import asyncio
import os
import secrets
import stat
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from thermocline.domain.digests import Buffer
from thermocline.interfaces.cli.blocking import BlockingThread
from thermocline.interfaces.cli.exits import CommandError

NEW_FILE_MODE = 0o666
RANDOM_BYTES = 6


class Sink(ABC):
    """Bytes on their way out."""

    @abstractmethod
    async def write(self, piece: Buffer) -> None:
        """Write all of `piece`. Raises `CommandError`, or `BrokenPipeError` if the reader has left."""


class _DescriptorSink(Sink):
    def __init__(self, name: str, descriptor: int) -> None:
        self._name = name
        self._descriptor = descriptor
        self._thread = BlockingThread()

    async def write(self, piece: Buffer) -> None:
        try:
            await self._thread.call(_write_all, self._descriptor, piece)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise _unwritable(self._name, exc) from exc

    async def sync_and_close(self, *, sync: bool) -> None:
        """Close when no write is under way any more; the file's bytes are on the disk before, if `sync`."""
        try:
            if sync:
                await self._thread.call(os.fsync, self._descriptor)
        except OSError as exc:
            raise _unwritable(self._name, exc) from exc
        finally:
            await self._thread.finish()
            os.close(self._descriptor)


class _StandardOutput(_DescriptorSink):
    """Standard output; on a terminal, bytes that are not text are refused unless they were asked for."""

    def __init__(self, *, refuse_binary: bool) -> None:
        super().__init__("standard output", 1)
        self._refuse_binary = refuse_binary

    async def write(self, piece: Buffer) -> None:
        if self._refuse_binary and _is_binary(piece):
            raise CommandError(
                "the content is not text and would garble the terminal", "name a file with -o FILE, or insist with -o -"
            )
        await super().write(piece)


@asynccontextmanager
async def standard_output(*, asked_for: bool) -> AsyncIterator[Sink]:
    """Write to standard output; `asked_for` also writes bytes that are not text to a terminal."""
    if sys.stdout is None:
        raise CommandError("standard output is closed", "name a file with -o FILE")
    sys.stdout.flush()
    yield _StandardOutput(refuse_binary=not asked_for and sys.stdout.isatty())


@asynccontextmanager
async def new_file(path: Path, *, force: bool) -> AsyncIterator[Sink]:
    """Write to `path`: the bytes go to a temporary file beside it, which takes the name at the end of the block.

    If the block fails nothing is left. An existing file is replaced only with `force`; it keeps its permissions.
    Devices and pipes are written to as they are.
    """
    name = repr(str(path))
    target, existing = _look_at(path, name)
    if existing is not None and not stat.S_ISREG(existing.st_mode):
        async with _special_file(target, name) as sink:
            yield sink
        return
    if existing is not None and not force:
        raise CommandError(f"{name} exists", "add --force to replace it")
    temporary = target.with_name(f".thermocline-{secrets.token_hex(RANDOM_BYTES)}.part")
    sink = _DescriptorSink(name, _create(temporary, name))
    try:
        try:
            yield sink
        except BaseException:
            await sink.sync_and_close(sync=False)
            raise
        await sink.sync_and_close(sync=True)
        _take_name(temporary, target, name, existing=existing, force=force)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _look_at(path: Path, name: str) -> tuple[Path, os.stat_result | None]:
    """Return where the path leads, links followed, and what is there, if anything."""
    try:
        target = Path(os.path.realpath(path))
        existing = target.stat()
    except FileNotFoundError:
        return target, None
    except (OSError, ValueError) as exc:
        raise _unwritable(name, exc) from exc
    if stat.S_ISDIR(existing.st_mode):
        raise CommandError(f"{name} is a folder", "name a file in it")
    return target, existing


@asynccontextmanager
async def _special_file(target: Path, name: str) -> AsyncIterator[Sink]:
    try:
        descriptor = await asyncio.shield(BlockingThread().call(os.open, target, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as exc:
        raise _unwritable(name, exc) from exc
    yield _DescriptorSink(name, descriptor)


def _create(temporary: Path, name: str) -> int:
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE_MODE)
    except OSError as exc:
        raise _unwritable(name, exc) from exc


def _take_name(temporary: Path, target: Path, name: str, *, existing: os.stat_result | None, force: bool) -> None:
    try:
        if existing is not None:
            temporary.chmod(stat.S_IMODE(existing.st_mode))
        if force:
            temporary.replace(target)
        else:
            # A link, unlike a rename, fails if somebody took the name meanwhile.
            os.link(temporary, target)
    except FileExistsError as exc:
        raise CommandError(f"{name} exists by now", "add --force to replace it") from exc
    except OSError as exc:
        if force or target.exists():
            raise _unwritable(name, exc) from exc
        _rename(temporary, target, name)


def _rename(temporary: Path, target: Path, name: str) -> None:
    """Rename, on file systems without links."""
    try:
        temporary.rename(target)
    except OSError as exc:
        raise _unwritable(name, exc) from exc


def _write_all(descriptor: int, piece: Buffer) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_binary(piece: Buffer) -> bool:
    """Whether bytes would garble a terminal: control characters other than white space, or not UTF-8."""
    sample = bytes(memoryview(piece)[:4096])
    try:
        text = sample.decode()
    except UnicodeDecodeError as exc:
        # A character cut off at the sample's end is no sign of anything.
        if exc.start < len(sample) - 3:
            return True
        text = sample[: exc.start].decode()
    return any(unicodedata.category(character) == "Cc" and character not in "\t\n\r\f" for character in text)


def _unwritable(name: str, exc: OSError | ValueError) -> CommandError:
    return CommandError(f"{name} cannot be written: {getattr(exc, 'strerror', None) or exc}")
