"""The marker file that says which installation owns the folder."""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from thermocline.adapters.objects.local_folders import Folders
from thermocline.adapters.objects.local_names import MARKER
from thermocline.adapters.objects.local_system import Descriptor, System
from thermocline.domain.errors import UnsafePathError

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o600
_MOST_BYTES: Final = 256


class LocalOwner:
    """Claims the folder: of many that claim it at once exactly one wins, and all learn who."""

    def __init__(self, root: Path, folders: Folders, system: System) -> None:
        self._root = root
        self._folders = folders
        self._system = system

    def claim(self, installation: str) -> str:
        """Return the owner, after making it `installation` if there is none; durable when it returns."""
        root = self._folders.root(make=True)
        owner = self._read(root)
        if owner is None:
            self._write(root, installation)
            owner = self._read(root)
        if not owner:
            raise UnsafePathError(
                f"{self._root / MARKER} does not name an installation; write the installation id of the catalog "
                "into it, or delete it if the folder holds nothing yet"
            )
        # Also for one who lost: the winner may die before it does this.
        self._folders.sync(root)
        return owner

    def owner(self) -> str | None:
        """Return the owner, or None; changes nothing, and makes no folder."""
        try:
            return self._read(self._folders.root(make=False)) or None
        except FileNotFoundError:
            return None

    def _read(self, root: Descriptor) -> str | None:
        try:
            marker = Descriptor(self._system.open(MARKER, _READ, dir_fd=root.fd), self._system)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(self._system.fstat(marker.fd).st_mode):
            raise UnsafePathError(f"{self._root / MARKER} is not a regular file; it was not read, remove it")
        raw = self._system.pread(marker.fd, _MOST_BYTES, 0)
        try:
            return raw.decode().strip()
        except UnicodeDecodeError:
            return ""

    def _write(self, root: Descriptor, installation: str) -> None:
        # Written aside and linked: nobody ever sees the marker half-written.
        aside = f"{MARKER}.{secrets.token_hex(8)}"
        self._create(root, aside, installation)
        try:
            self._system.link(aside, MARKER, src_dir_fd=root.fd, dst_dir_fd=root.fd, follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as exc:
            if exc.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
                raise
            # No hard links here: still exclusive, but a crash just now leaves an empty marker, which is refused.
            with contextlib.suppress(FileExistsError):
                self._create(root, MARKER, installation)
        finally:
            with contextlib.suppress(OSError):
                self._system.unlink(aside, dir_fd=root.fd)

    def _create(self, root: Descriptor, name: str, installation: str) -> None:
        file = Descriptor(self._system.open(name, _CREATE, _MODE, dir_fd=root.fd), self._system)
        self._system.writev(file.fd, [f"{installation}\n".encode()])
        self._system.fsync(file.fd)
