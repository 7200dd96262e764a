"""Listing the folder store: keys from names, sizes and times from one stat each; no object is opened."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from thermocline.adapters.objects.local_folders import Folders
from thermocline.adapters.objects.local_names import (
    FREE,
    UPLOADS,
    is_continued,
    is_shard,
    is_trunk_part,
    object_key,
    upload_key,
)
from thermocline.adapters.objects.local_system import System
from thermocline.domain.errors import UnsafePathError
from thermocline.domain.units import Bytes, Timestamp
from thermocline.ports.object_store import ObjectInfo

_PAGE: Final = 1000


class LocalListing:
    """Walks the folders. Foreign files are passed over.

    A symbolic link, or anything else but a regular file, where an object or a folder of ours would be raises
    `UnsafePathError`: what it stands for would be missing from the listing.
    """

    def __init__(self, root: Path, folders: Folders, system: System) -> None:
        self._root = root
        self._folders = folders
        self._system = system

    def pages(self, prefix: str) -> Iterator[Sequence[ObjectInfo]]:
        """Yield every object and unfinished upload whose key starts with `prefix`, in pages of at most 1000."""
        page: list[ObjectInfo] = []
        for info in self._everything(prefix):
            page.append(info)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def _everything(self, prefix: str) -> Iterator[ObjectInfo]:
        # Uploads first: one that completes meanwhile has its object's name before it loses its own, so the walk
        # that follows finds it. What was listed as an upload is not listed again.
        unfinished: set[str] = set()
        for info in self._files((UPLOADS,), (), upload_key, prefix, finished=False):
            unfinished.add(info.key)
            yield info
        for trunk, shard in self._shards(prefix):

            def key_of(pieces: tuple[str, ...], trunk: tuple[str, ...] = trunk, shard: str = shard) -> str | None:
                return object_key(trunk, shard, pieces)

            for info in self._files((*trunk, shard), (), key_of, prefix, finished=True):
                if info.key not in unfinished:
                    yield info

    def _shards(self, prefix: str) -> Iterator[tuple[tuple[str, ...], str]]:
        for shard in self._subfolders((FREE,), is_shard):
            yield (FREE,), shard
        for installation in self._subfolders((), is_trunk_part):
            if not _may_match(f"{installation}/", prefix):
                continue
            for placement in self._subfolders((installation,), is_trunk_part):
                if _may_match(f"{installation}/{placement}/", prefix):
                    trunk = (installation, placement)
                    for shard in self._subfolders(trunk, is_shard):
                        yield trunk, shard

    def _subfolders(self, path: tuple[str, ...], accept: Callable[[str], bool]) -> list[str]:
        return [entry.name for entry in self._entries(path) if accept(entry.name) and self._is_folder(path, entry)]

    def _files(
        self,
        base: tuple[str, ...],
        folders: tuple[str, ...],
        key_of: Callable[[tuple[str, ...]], str | None],
        prefix: str,
        *,
        finished: bool,
    ) -> Iterator[ObjectInfo]:
        for entry in self._entries(base + folders):
            name = entry.name
            if is_continued(name):
                if self._is_folder(base + folders, entry):
                    yield from self._files(base, (*folders, name), key_of, prefix, finished=finished)
                continue
            key = key_of((*folders, name))
            if key is None or not key.startswith(prefix):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted meanwhile
            if not stat.S_ISREG(status.st_mode):
                raise self._unsafe((*base, *folders, name))
            # An upload with two names was linked, and its process died before it removed this one: it is finished.
            if finished or status.st_nlink == 1:
                modified_at = Timestamp(status.st_mtime_ns // 1000)
                yield ObjectInfo(key, Bytes(status.st_size), modified_at, finished=finished)

    def _entries(self, path: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
        """Yield what is in a folder, nothing if it does not exist."""
        try:
            folder = self._folders.at(path)
        except FileNotFoundError:
            return
        with self._system.scandir(folder.fd) as entries:
            yield from entries

    def _is_folder(self, path: tuple[str, ...], entry: os.DirEntry[str]) -> bool:
        if entry.is_symlink():
            raise self._unsafe((*path, entry.name))
        return entry.is_dir(follow_symlinks=False)

    def _unsafe(self, path: tuple[str, ...]) -> UnsafePathError:
        where = self._root.joinpath(*path)
        return UnsafePathError(
            f"{where} is not a file or folder that Thermocline put there; it was not followed, so this listing "
            "cannot be whole; remove it"
        )


def _may_match(start: str, prefix: str) -> bool:
    """Whether a key that begins with `start` can begin with `prefix`."""
    return start.startswith(prefix) or prefix.startswith(start)
