"""Marks of restores in the folder store: one small file per archived object that is restored or on its way.

A new mark: file beside the old one -> lock -> write -> fsync -> rename over the old one -> fsync of the folder.
Whoever holds the lock of the new file decides, so that of many requests at once one is made and none is lost. A
crash leaves the old mark or the new one, and at most a file beside it, which the next request or `remove` clears
away. The names below `.restores` are ours: what lies there and is no mark counts as no restore, is never followed,
and gives way to a request; only a folder is left alone.
"""

import errno
import fcntl
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from thermocline.adapters.objects.archive_classes import RestoredCopy, after_request, state_of
from thermocline.adapters.objects.local_folders import Folders
from thermocline.adapters.objects.local_names import RESTORES, Place, new_restore_place, restore_place
from thermocline.adapters.objects.local_system import Descriptor, System, write_all
from thermocline.domain.errors import UnavailableError
from thermocline.domain.restores import StoreRestore
from thermocline.domain.units import Seconds, Timestamp
from thermocline.ports.clock import Clock

# O_NONBLOCK: opening a FIFO must not wait for its other end. It has no effect on regular files.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MODE: Final = 0o600
_ATTEMPTS: Final = 100
"""Each failed attempt is another one's success; more at once than this is no load but an error."""
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO})
"""What opening a symbolic link or a socket answers."""
_NO_LOCKS: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL})

_MARK: Final = re.compile(rb"(restore 1 (\d{19}) (\d{19}) )([0-9a-f]{8})\n")
"""Version, arrival and end in microseconds, CRC-32 of these and the key."""
_MARK_BYTES: Final = 59


class LocalRestores:
    """Who of the archived objects is readable until when. Functions block; they raise `OSError` and errors of ours."""

    def __init__(self, folders: Folders, system: System, clock: Clock) -> None:
        self._folders = folders
        self._system = system
        self._clock = clock

    def state(self, key: str) -> StoreRestore:
        """Return how far the restore of an archived object is. A damaged or foreign mark is none."""
        return state_of(self._find(key), self._clock.now())

    def request(self, key: str, delay: Seconds, days: int) -> None:
        """Mark the restore of an archived object, durably; see `after_request`."""
        for _ in range(_ATTEMPTS):
            try:
                if self._try(key, delay, days):
                    return
            except FileNotFoundError:
                # A deletion removed our file, or emptied the folder of a long name and removed that.
                self._folders.forget(restore_place(key))
        raise UnavailableError(f"too many others request a restore of {key!r} at the same time; try again")

    def remove(self, keys: Sequence[str]) -> dict[str, OSError]:
        """Forget the restores of these keys, durably; return those that failed and why."""
        if not keys:
            return {}
        try:
            top = self._folders.at((RESTORES,))
        except FileNotFoundError:
            return {}
        except OSError as exc:
            return dict.fromkeys(keys, exc)
        failed: dict[str, OSError] = {}
        removed: list[str] = []
        for key in keys:
            try:
                if self._unlink(new_restore_place(key), top) | self._unlink(restore_place(key), top):
                    removed.append(key)
            except OSError as exc:
                failed[key] = exc
        if removed:
            try:
                self._folders.sync(top)
            except OSError as exc:
                failed.update(dict.fromkeys(removed, exc))
        return failed

    def _find(self, key: str) -> RestoredCopy | None:
        place = restore_place(key)
        try:
            folder = self._folders.existing(place)
            file = Descriptor(self._system.open(place.name, _READ, dir_fd=folder.fd), self._system)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in _NOT_A_FILE:
                return None
            raise
        status = self._system.fstat(file.fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != _MARK_BYTES:
            return None
        raw = b""
        while len(raw) < _MARK_BYTES and (more := self._system.pread(file.fd, _MARK_BYTES - len(raw), len(raw))):
            raw += more
        return _unpack(key, raw)

    def _try(self, key: str, delay: Seconds, days: int) -> bool:
        """Mark the restore; False if another one was faster, so that everything must be looked at anew."""
        place = restore_place(key)
        held = self._find(key)
        if held is None or after_request(held, self._clock.now(), delay=delay, days=days) != held:
            new = new_restore_place(key)
            try:
                beside = self._folders.made(new)
                with self._locked(beside, new.name) as file:
                    if file is None:
                        return False
                    self._replace(key, file, beside, delay, days)
            finally:
                for emptied in (new, place):
                    if len(emptied.branch) > 1:
                        self._folders.prune(emptied, keep=1)
        # Also if another one wrote the mark: it may die before it does this.
        self._folders.sync(self._folders.existing(place))
        return True

    @contextmanager
    def _locked(self, folder: Descriptor, name: str) -> Iterator[Descriptor | None]:
        """Hold the empty file of this name, ours alone inside the block; None if that takes another attempt."""
        try:
            file = Descriptor(self._system.open(name, _WRITE, _MODE, dir_fd=folder.fd), self._system)
        except OSError as exc:
            if exc.errno not in _NOT_A_FILE:
                raise
            self._system.unlink(name, dir_fd=folder.fd)
            yield None
            return
        self._lock(file, folder, name)
        try:
            yield file if self._is_empty(file, folder, name) else None
        finally:
            # In words, not by closing: an error on its way up keeps the file open, but must not keep others waiting.
            with suppress(OSError):
                self._system.flock(file.fd, fcntl.LOCK_UN)

    def _lock(self, file: Descriptor, folder: Descriptor, name: str) -> None:
        try:
            self._system.flock(file.fd, fcntl.LOCK_EX)
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
            self._system.unlink(name, dir_fd=folder.fd)
            raise UnavailableError(
                "the file system of the objects has no locks (flock), which restores need; mount it with them, or "
                "use one that has them, such as ext4, XFS or Btrfs"
            ) from exc

    def _is_empty(self, file: Descriptor, folder: Descriptor, name: str) -> bool:
        """Whether the locked file still has this name and is empty; removes it if it has the name and is not."""
        status = self._system.fstat(file.fd)
        if not os.path.samestat(status, self._system.stat(name, dir_fd=folder.fd, follow_symlinks=False)):
            return False  # while we waited it became the mark
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            return True
        # Its writer died, or it was never ours.
        self._system.unlink(name, dir_fd=folder.fd)
        return False

    def _replace(self, key: str, file: Descriptor, beside: Descriptor, delay: Seconds, days: int) -> None:
        """Write the new mark into the locked file and let it replace the old one; remove it if nothing changes."""
        place, name = restore_place(key), new_restore_place(key).name
        replaced = False
        try:
            held = self._find(key)  # anew: while we waited for the lock another one may have written it
            wanted = after_request(held, self._clock.now(), delay=delay, days=days)
            if wanted != held:
                write_all(self._system, file, [memoryview(_pack(key, wanted))])
                self._system.fsync(file.fd)
                folder = self._folders.made(place)
                self._system.rename(name, place.name, src_dir_fd=beside.fd, dst_dir_fd=folder.fd)
                replaced = True
        finally:
            if not replaced:
                with suppress(OSError):
                    self._system.unlink(name, dir_fd=beside.fd)

    def _unlink(self, place: Place, top: Descriptor) -> bool:
        """Remove a file; whether there was one."""
        long = len(place.branch) > 1
        try:
            folder = self._folders.existing(place) if long else top
            self._system.unlink(place.name, dir_fd=folder.fd)
            found = True
            if long:
                # Durable before the folder that held it goes: afterwards there is nothing left to sync.
                self._folders.sync(folder)
        except (FileNotFoundError, IsADirectoryError):
            found = False
        if long:
            self._folders.prune(place, keep=1)
        return found


def _pack(key: str, copy: RestoredCopy) -> bytes:
    text = b"restore 1 %019d %019d " % (copy.arrives_at, copy.readable_until)
    return text + b"%08x\n" % zlib.crc32(text + key.encode())


def _unpack(key: str, raw: bytes) -> RestoredCopy | None:
    match = _MARK.fullmatch(raw)
    if match is None or int(match[4], 16) != zlib.crc32(match[1] + key.encode()):
        return None
    return RestoredCopy(Timestamp(int(match[2])), Timestamp(int(match[3])))
