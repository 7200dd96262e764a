"""Folders inside the root, opened step by step so that no symbolic link is ever followed, and durable once made."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from thermocline.adapters.objects.local_names import Place
from thermocline.adapters.objects.local_system import Descriptor, System

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MODE: Final = 0o700
_MOST_TRUNKS: Final = 64
_MOST_KNOWN: Final = 1 << 17


class Folders:
    """Opens folders below `root`; `root` itself may be a symbolic link. Safe to use from many threads.

    Trunks (see `Place`) stay open; if one is found gone it is opened anew, once.
    """

    def __init__(self, root: Path, system: System) -> None:
        self._root = root
        self._system = system
        self._trunks: dict[tuple[str, ...], Descriptor] = {}
        self._durable: set[tuple[str, ...]] = set()

    def root(self, *, make: bool) -> Descriptor:
        """Open the root. With `make` it is made if it is missing, durably."""
        try:
            return Descriptor(self._system.open(self._root, _ROOT), self._system)
        except FileNotFoundError:
            if not make:
                raise
        missing = [self._root.absolute()]
        for parent in missing[0].parents:
            if parent.is_dir():
                break
            missing.append(parent)
        for folder in reversed(missing):
            try:
                self._system.mkdir(folder, _MODE)
            except FileExistsError:
                continue
            self.sync(Descriptor(self._system.open(folder.parent, _ROOT), self._system))
        return Descriptor(self._system.open(self._root, _ROOT), self._system)

    def at(self, path: tuple[str, ...]) -> Descriptor:
        """Open the folder at this path below the root, looked up anew. Raises `FileNotFoundError`."""
        return self._descend(self.root(make=False), path)

    def existing(self, place: Place) -> Descriptor:
        """Open the folder that would hold the file at `place`. Raises `FileNotFoundError` if it does not exist."""
        trunk = self._trunks.get(place.trunk)
        if trunk is not None:
            try:
                return self._descend(trunk, place.branch)
            except FileNotFoundError:
                # Never made, or the trunk was replaced while we held it open: look from the root.
                del trunk
        trunk = self._descend(self.root(make=False), place.trunk)
        self._keep(place.trunk, trunk)
        return self._descend(trunk, place.branch)

    def made(self, place: Place) -> Descriptor:
        """Open the folder that holds or will hold the file at `place`, made if need be and durable up to the root."""
        if place.trunk + place.branch in self._durable:
            try:
                return self.existing(place)
            except FileNotFoundError:
                self.forget(place)
        trunk = self._trunks.get(place.trunk) if place.trunk in self._durable else None
        if trunk is None:
            trunk = self.root(make=True)
            for name in place.trunk:
                trunk = self._make(trunk, name)
            self._keep(place.trunk, trunk)
            self._durable.add(place.trunk)
        folder = trunk
        for name in place.branch:
            folder = self._make(folder, name)
        # Folders that continue long names come and go (`prune`), so only those that stay are remembered.
        if len(place.branch) <= 1:
            if len(self._durable) >= _MOST_KNOWN:
                self._durable.clear()
            self._durable.add(place.trunk + place.branch)
        return folder

    def forget(self, place: Place) -> None:
        """Open everything anew the next time: the folder was not what we thought."""
        self._durable.difference_update((place.trunk, place.trunk + place.branch))
        self._trunks.pop(place.trunk, None)

    def prune(self, place: Place, *, keep: int) -> None:
        """Remove the empty folders of a long name, all but the first `keep` of the branch.

        Somebody who is about to put a file there finds the folder gone and makes it again (`made`).
        """
        for depth in range(len(place.branch), keep, -1):
            try:
                parent = self.existing(place._replace(branch=place.branch[: depth - 1]))
                self._system.rmdir(place.branch[depth - 1], dir_fd=parent.fd)
            except FileNotFoundError:
                continue  # somebody else removed it, or it was never made
            except OSError:
                return

    def sync(self, folder: Descriptor) -> None:
        """Make the names in `folder` durable."""
        try:
            self._system.fsync(folder.fd)
        except OSError as exc:
            # Some network and user-space file systems cannot sync folders; they are durable as they see fit.
            if exc.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise

    def _make(self, parent: Descriptor, name: str) -> Descriptor:
        with contextlib.suppress(FileExistsError):
            self._system.mkdir(name, _MODE, dir_fd=parent.fd)
        folder = Descriptor(self._system.open(name, _FOLDER, dir_fd=parent.fd), self._system)
        # Also if it existed: whoever made it may have died before this. Opened before, so that what is synced
        # is what we hold: a file can only be put into it while it has a name.
        self.sync(parent)
        return folder

    def _descend(self, folder: Descriptor, names: tuple[str, ...]) -> Descriptor:
        for name in names:
            folder = Descriptor(self._system.open(name, _FOLDER, dir_fd=folder.fd), self._system)
        return folder

    def _keep(self, trunk: tuple[str, ...], folder: Descriptor) -> None:
        if len(self._trunks) >= _MOST_TRUNKS:
            self._trunks.clear()  # those in use stay open until their users let go
        self._trunks[trunk] = folder
