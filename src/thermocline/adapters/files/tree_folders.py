"""Folders of a tree, opened step by step so that no symbolic link is ever followed."""

import contextlib
import errno
import os
from typing import Final

from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.adapters.objects.local_system import Descriptor

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o777
_MOST_OPEN: Final = 64
"""Files come in the order of their paths, so the folders last used are those that are used next."""

Names = tuple[str, ...]


class TreeFolders:
    """Opens folders below an open root and keeps the last ones open. Safe to use from many threads."""

    def __init__(self, root: Descriptor | None, system: TreeSystem) -> None:
        self._root = root
        self._system = system
        self._open: dict[Names, Descriptor] = {}

    def existing(self, names: Names) -> Descriptor:
        """Open the folder. Raises `OSError` if it does not exist or a symbolic link is on the way."""
        if not names:
            return self.root()
        folder = self._open.get(names)
        if folder is None:
            parent = self.existing(names[:-1])
            folder = Descriptor(self._system.open(names[-1], FOLDER, dir_fd=parent.fd), self._system)
            self.keep(names, folder)
        return folder

    def root(self) -> Descriptor:
        """Return the root. Raises `FileNotFoundError` if there is none."""
        if self._root is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._root

    def made(self, names: Names) -> Descriptor:
        """Open the folder, made if need be with all that is above it."""
        try:
            return self.existing(names)
        except FileNotFoundError:
            if not names:
                raise
            self.forget(names)
        parent = self.made(names[:-1])
        with contextlib.suppress(FileExistsError):
            self._system.mkdir(names[-1], _MODE, dir_fd=parent.fd)
        return self.existing(names)

    def keep(self, names: Names, folder: Descriptor) -> None:
        """Remember an open folder instead of the one that was remembered longest ago."""
        self._open[names] = folder
        while len(self._open) > _MOST_OPEN:
            # Another thread may be first; a folder in use stays open until its user lets go.
            with contextlib.suppress(StopIteration, RuntimeError):
                self._open.pop(next(iter(self._open)), None)

    def forget(self, names: Names) -> None:
        """Open the folder and those above it anew the next time: one was removed or replaced."""
        for depth in range(1, len(names) + 1):
            self._open.pop(names[:depth], None)

    def close(self) -> None:
        """Let go of all folders."""
        self._open.clear()
