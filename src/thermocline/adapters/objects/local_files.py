"""What the folder store does with files: each function blocks, and runs in one of its threads.

A new object: temporary file in `.uploads` -> write -> fsync -> link under its name -> unlink the temporary name
-> fsync of the folder. A crash leaves at most the temporary file, which `delete` of the key removes too. Once the
temporary file was deleted the object can no longer come into being: the link finds nothing to link.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from thermocline.adapters.objects.archive_classes import ArchiveClasses
from thermocline.adapters.objects.key_rules import check_class, check_range
from thermocline.adapters.objects.local_errors import explain
from thermocline.adapters.objects.local_folders import Folders
from thermocline.adapters.objects.local_format import (
    FOOTER_BYTES,
    DamagedFileError,
    Footer,
    pack_trailer,
    read_attributes,
    read_footer,
    split_class,
    with_class,
)
from thermocline.adapters.objects.local_names import UPLOADS, Place, object_place, upload_place
from thermocline.adapters.objects.local_restores import LocalRestores
from thermocline.adapters.objects.local_system import Descriptor, System, write_all
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import (
    IntentLostError,
    ObjectArchivedError,
    ObjectMissingError,
    StorageError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore, check_days
from thermocline.domain.units import Bytes, Timestamp
from thermocline.ports.clock import Clock
from thermocline.ports.object_store import ObjectHead

T = TypeVar("T")

# O_NONBLOCK: opening a FIFO must not wait for its other end. It has no effect on regular files.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o600
_ATTEMPTS: Final = 20
"""How often a folder may vanish (pruned by a deletion) between making and using it."""
_COMPARE_BYTES: Final = 1 << 20


class PendingFile:
    """A temporary file. Its lock keeps an abort from overtaking a call that outlived its cancelled caller."""

    __slots__ = ("archived", "attributes", "file", "key", "linked", "lock", "place", "size")

    def __init__(
        self, key: str, place: Place, file: Descriptor, attributes: Mapping[str, str], *, archived: bool
    ) -> None:
        self.key = key
        self.place = place
        self.file = file
        self.attributes = attributes
        """As they are stored: with the storage class."""
        self.archived = archived
        self.size = 0
        self.linked = False
        """Whether this upload, and no other, put the object under its name."""
        self.lock = threading.Lock()


class LocalFiles:
    """The files of one folder store. Functions raise `OSError` for whatever the system refuses, and errors of ours."""

    def __init__(self, root: Path, system: System, archives: ArchiveClasses, clock: Clock) -> None:
        self.folders = Folders(root, system)
        self.system = system
        self._archives = archives
        self._restores = LocalRestores(self.folders, system, clock)
        self._root = root

    def put(self, key: str, data: Buffer, attributes: Mapping[str, str], storage_class: str) -> None:
        """Store `data` whole and durably."""
        pending = self.begin(key, attributes, storage_class)
        try:
            pending.size = len(data)
            write_all(self.system, pending.file, [memoryview(data), memoryview(_trailer(pending))])
            self._publish(pending)
        except BaseException:
            self._remove_temporary(pending)
            raise

    def begin(self, key: str, attributes: Mapping[str, str], storage_class: str) -> PendingFile:
        """Make the temporary file of `key`. Raises `UnavailableError` if there is one."""
        check_class(storage_class)
        stored = with_class(attributes, storage_class)
        place = upload_place(key)

        def create(folder: Descriptor) -> int:
            return self.system.open(place.name, _CREATE, _MODE, dir_fd=folder.fd)

        try:
            fd = self._in_folder(place, create)
        except FileExistsError as exc:
            raise UnavailableError(f"an upload of {key!r} is under way; delete the key to abort it") from exc
        return PendingFile(key, place, Descriptor(fd, self.system), stored, archived=storage_class in self._archives)

    def append(self, pending: PendingFile, part: Buffer) -> None:
        """Write the next part."""
        with pending.lock:
            write_all(self.system, pending.file, [memoryview(part)])
            pending.size += len(part)

    def finish(self, pending: PendingFile) -> None:
        """Make the object durable and readable."""
        with pending.lock:
            write_all(self.system, pending.file, [memoryview(_trailer(pending))])
            self._publish(pending)

    def abandon(self, pending: PendingFile) -> None:
        """Remove the temporary file, and the object if this upload made it (its caller never learned of it)."""
        with pending.lock:
            self._remove_temporary(pending)
            if pending.linked:
                self._remove(object_place(pending.key))
                pending.linked = False

    def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly `[start, end)`. Raises `ObjectMissingError`, `ObjectArchivedError`, `EOFError`."""
        file = self._open(key)
        self._check_readable(file, key, start, end)
        return self.read(file, start, end)

    def open_range(self, key: str, start: int, end: int, first_end: int) -> tuple[Descriptor, bytes]:
        """Return the open file, checked to hold `[start, end)`, and its bytes `[start, first_end)`."""
        file = self._open(key)
        self._check_readable(file, key, start, end)
        return file, self.read(file, start, first_end)

    def read(self, file: Descriptor, start: int, end: int) -> bytes:
        """Return exactly `[start, end)`. Raises `EOFError` if the file is shorter."""
        data = self.system.pread(file.fd, end - start, start)
        if len(data) == end - start:
            return data
        pieces = [data]
        at = start + len(data)
        while data and at < end:
            data = self.system.pread(file.fd, end - at, at)
            pieces.append(data)
            at += len(data)
        if at < end:
            raise EOFError(f"the file ended at {at}, before {end}")
        return b"".join(pieces)

    def head(self, key: str) -> ObjectHead | None:
        """Return what the file says of itself. Raises `UnsafePathError` if it does not end as our files do."""
        try:
            return self._describe(key)[0]
        except ObjectMissingError:
            return None

    def request_restore(self, key: str, speed: RestoreSpeed, days: int) -> None:
        """Let the object become readable. Raises `ObjectMissingError`, `ValueError` if that needs no restore."""
        check_days(days)
        head, archived = self._describe(key)
        if not archived:
            raise ValueError(f"object {key!r} needs no restore; its class is {head.storage_class}")
        self._restores.request(key, self._archives.delay(head.storage_class, speed), days)
        # `delete` removes first the object and then its restore: if it missed ours, we miss the object.
        try:
            self._open(key)
        except ObjectMissingError:
            self._restores.remove([key])
            raise

    def restore_state(self, key: str) -> StoreRestore:
        """Return how far the restore is. Raises `ObjectMissingError`."""
        _, archived = self._describe(key)
        return self._restores.state(key) if archived else StoreRestore(RestoreStage.READABLE)

    def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Remove objects, their restores and unfinished uploads; the removals are durable when it returns."""
        failed: dict[str, StorageError] = {}
        touched: dict[Place, list[str]] = {}
        for key in keys:
            place = object_place(key)
            try:
                # In this order: an upload that is just completing finds nothing to link, or was linked before.
                self._remove(upload_place(key))
                if self._remove(place):
                    touched.setdefault(place._replace(branch=place.branch[:1], name=""), []).append(key)
            except OSError as exc:
                failed[key] = explain(exc, self._root, f"deleting {key!r}")
            except StorageError as exc:
                failed[key] = exc
        # Also of objects that were gone: whoever removed one may have died before this.
        unrestored = self._restores.remove([key for key in keys if key not in failed])
        failed.update((key, explain(exc, self._root, f"deleting {key!r}")) for key, exc in unrestored.items())
        for folder, its_keys in touched.items():
            try:
                self.folders.sync(self.folders.existing(folder))
            except OSError as exc:
                error = explain(exc, self._root, "making deletions durable")
                failed.update(dict.fromkeys(its_keys, error))
        return failed

    def _publish(self, pending: PendingFile) -> None:
        self.system.fsync(pending.file.fd)
        place = object_place(pending.key)

        def link(folder: Descriptor) -> Descriptor:
            try:
                self._link(pending, place, folder)
            except FileNotFoundError:
                if self.system.fstat(pending.file.fd).st_nlink:
                    raise
                raise IntentLostError(
                    f"the unfinished upload of {pending.key!r} was deleted; nothing was stored; try again"
                ) from None
            return folder

        folder = self._in_folder(place, link)
        self._remove_temporary(pending)
        self.folders.sync(folder)

    def _in_folder(self, place: Place, act: Callable[[Descriptor], T]) -> T:
        """Return what `act` does in the folder of `place`, made if need be, and again if it vanished meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                return act(self.folders.made(place))
            except FileNotFoundError:
                self.folders.forget(place)
        return act(self.folders.made(place))

    def _link(self, pending: PendingFile, place: Place, folder: Descriptor) -> None:
        """Give the file its name; never in place of another file, unless that holds the same bytes already.

        Where the file system has no hard links, looking and renaming are two steps: there only the rule that
        keys are never reused keeps two puts apart.
        """
        source = self.folders.existing(pending.place)
        try:
            self.system.link(
                pending.place.name,
                place.name,
                src_dir_fd=source.fd,
                dst_dir_fd=folder.fd,
                follow_symlinks=False,
            )
        except FileExistsError:
            self._check_same(pending)
            return
        except OSError as exc:
            if exc.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                raise
            try:
                self.system.stat(place.name, dir_fd=folder.fd, follow_symlinks=False)
            except FileNotFoundError:
                self.system.rename(pending.place.name, place.name, src_dir_fd=source.fd, dst_dir_fd=folder.fd)
            else:
                self._check_same(pending)
                return
        pending.linked = True

    def _check_same(self, pending: PendingFile) -> None:
        """Return if the object that exists is the one to be made: a request was repeated. Else `UnsafePathError`."""
        held = self._open(pending.key)
        size = self.system.fstat(pending.file.fd).st_size
        same = self.system.fstat(held.fd).st_size == size and all(
            self.read(held, start, min(start + _COMPARE_BYTES, size))
            == self.read(pending.file, start, min(start + _COMPARE_BYTES, size))
            for start in range(0, size, _COMPARE_BYTES)
        )
        if not same:
            raise UnsafePathError(f"object {pending.key!r} exists with other bytes; object keys are never reused")

    def _remove_temporary(self, pending: PendingFile) -> None:
        """Remove the temporary name; what cannot be removed stays an unfinished upload, for `delete` to find."""
        with contextlib.suppress(OSError):
            folder = self.folders.existing(pending.place)
            self.system.unlink(pending.place.name, dir_fd=folder.fd)
        if pending.place.branch:
            self.folders.prune(pending.place, keep=0)

    def _remove(self, place: Place) -> bool:
        """Remove a file of ours; whether there was one. Raises `UnsafePathError` for anything else."""
        keep = 0 if place.trunk == (UPLOADS,) else 1
        long = len(place.branch) > keep
        try:
            folder = self.folders.existing(place)
            mode = self.system.stat(place.name, dir_fd=folder.fd, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode):
                raise UnsafePathError(f"{self._where(place)} is not a regular file; it was not touched, remove it")
            self.system.unlink(place.name, dir_fd=folder.fd)
            found = True
            if long:
                # Durable before the folder that held it goes: afterwards there is nothing left to sync.
                self.folders.sync(folder)
        except FileNotFoundError:
            found = False
        if long:
            self.folders.prune(place, keep=keep)
        return found

    def _open(self, key: str) -> Descriptor:
        place = object_place(key)
        try:
            folder = self.folders.existing(place)
            return Descriptor(self.system.open(place.name, _READ, dir_fd=folder.fd), self.system)
        except FileNotFoundError:
            raise ObjectMissingError(key) from None

    def _inspect(self, file: Descriptor, key: str) -> tuple[os.stat_result, Footer]:
        status = self.system.fstat(file.fd)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePathError(f"{self._where(object_place(key))} is not a regular file; it was not read, remove it")
        size = status.st_size
        if size < FOOTER_BYTES:
            raise DamagedFileError(f"the file has only {size} bytes, less than a footer")
        return status, read_footer(size, self.system.pread(file.fd, FOOTER_BYTES, size - FOOTER_BYTES))

    def _describe(self, key: str) -> tuple[ObjectHead, bool]:
        """Return what the file says of itself, and whether it must be restored before it is read."""
        file = self._open(key)
        try:
            status, footer = self._inspect(file, key)
            end = footer.payload_size + footer.attributes_size + FOOTER_BYTES
            attributes, storage_class = split_class(read_attributes(self.read(file, footer.payload_size, end)))
        except EOFError as exc:
            raise UnsafePathError(f"object {key!r} is damaged: {exc}") from exc
        modified_at = Timestamp(status.st_mtime_ns // 1000)
        return ObjectHead(Bytes(footer.payload_size), modified_at, attributes, storage_class), footer.archived

    def _check_readable(self, file: Descriptor, key: str, start: int, end: int) -> None:
        check_range(start, end)
        _, footer = self._inspect(file, key)
        if footer.archived and self._restores.state(key).stage is not RestoreStage.READABLE:
            raise ObjectArchivedError(key)
        if end > footer.payload_size:
            raise EOFError(f"object {key!r} has {footer.payload_size} bytes, not {end}")

    def _where(self, place: Place) -> Path:
        return self._root.joinpath(*place.trunk, *place.branch, place.name)


def _trailer(pending: PendingFile) -> bytes:
    return pack_trailer(pending.size, pending.attributes, archived=pending.archived)
