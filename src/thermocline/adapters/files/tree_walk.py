"""Walking a tree: each folder's names are sorted, so that all comes in the order of the paths' bytes."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from thermocline.adapters.files.tree_errors import reason_of
from thermocline.adapters.files.tree_folders import FOLDER, TreeFolders
from thermocline.adapters.files.tree_system import TreeSystem
from thermocline.adapters.objects.local_system import Descriptor
from thermocline.domain.content_id import MAX_CONTENT_ID_BYTES
from thermocline.domain.file_stamps import FileStamp
from thermocline.domain.units import Bytes
from thermocline.ports.file_trees import EntryKind, TreeEntry

_PAGE: Final = 256
LeaveOut = Callable[[str, bool], bool]
Identity = tuple[int, int]
"""Device and inode."""


class _Folder(NamedTuple):
    path: str
    """With `/` at its end, unless it is the root."""
    folder: Descriptor
    names: Iterator[str]


class TreeWalk:
    """Walks through a tree. `own` are the identities of the store's own data, which is told and not entered.

    One folder after another is open at a time for each level, and no level is deeper than a content id is long.
    """

    def __init__(self, folders: TreeFolders, system: TreeSystem, own: frozenset[Identity]) -> None:
        self._folders = folders
        self._system = system
        self._own = own

    def pages(self, leave_out: LeaveOut) -> Iterator[Sequence[TreeEntry]]:
        """Yield everything in pages of at most 256."""
        page: list[TreeEntry] = []
        for entry in self._everything(leave_out):
            page.append(entry)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def _everything(self, leave_out: LeaveOut) -> Iterator[TreeEntry]:
        # Opened anew: two walks of one open folder would share a position in it, and each miss what the other saw.
        root = self._system.open(".", FOLDER, dir_fd=self._folders.root().fd)
        way = [self._opened("", Descriptor(root, self._system))]
        while way:
            path, folder, names = way[-1]
            name = next(names, None)
            if name is None:
                way.pop()
                continue
            found = self._look(path + name, name, folder, leave_out)
            if isinstance(found, _Folder):
                way.append(found)
            elif found is not None:
                yield found

    def _look(self, path: str, name: str, folder: Descriptor, leave_out: LeaveOut) -> TreeEntry | _Folder | None:
        """Return what to tell of it, the folder to enter, or None if it is gone: then it never was there."""
        try:
            status = self._system.stat(name, dir_fd=folder.fd, follow_symlinks=False)
            mode = status.st_mode
            is_folder = stat.S_ISDIR(mode)
            if leave_out(path, is_folder):
                return TreeEntry(path, EntryKind.EXCLUDED)
            if (status.st_dev, status.st_ino) in self._own:
                return TreeEntry(path, EntryKind.OWN, detail="it is this store's own data")
            if stat.S_ISREG(mode):
                return TreeEntry(path, EntryKind.FILE, FileStamp(Bytes(status.st_size), status.st_mtime_ns))
            if is_folder:
                return self._enter(path, name, folder)
        except FileNotFoundError:
            return None
        except OSError as exc:
            return TreeEntry(path, EntryKind.UNREADABLE, detail=reason_of(exc))
        if stat.S_ISLNK(mode):
            return TreeEntry(path, EntryKind.LINK, detail="it is a symbolic link, which is not followed")
        return TreeEntry(path, EntryKind.SPECIAL, detail="it is a pipe, a socket or a device")

    def _enter(self, path: str, name: str, folder: Descriptor) -> TreeEntry | _Folder:
        if len(os.fsencode(path)) >= MAX_CONTENT_ID_BYTES:
            detail = f"its path alone is longer than a content id, which has at most {MAX_CONTENT_ID_BYTES} bytes"
            return TreeEntry(path, EntryKind.TOO_LONG, detail=detail)
        return self._opened(path + "/", Descriptor(self._system.open(name, FOLDER, dir_fd=folder.fd), self._system))

    def _opened(self, path: str, folder: Descriptor) -> _Folder:
        with self._system.scandir(folder.fd) as entries:
            # A folder sorts as what is in it does: by its name and a slash.
            names = sorted(
                (os.fsencode(entry.name) + b"/" if entry.is_dir(follow_symlinks=False) else os.fsencode(entry.name))
                for entry in entries
            )
        return _Folder(path, folder, (os.fsdecode(name.rstrip(b"/")) for name in names))
