"""The scratch folder: emptied around every benchmark, and when the file system has forgotten that."""

import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

_FORGETTING_SECONDS = 65
"""ext4 without a journal gives no inode away for 60 s after its deletion (RECENTCY_MIN in fs/ext4/ialloc.c) and
searches past all such inodes for each new file: after 10,000 deletions that was 62% of the CPU time of storing
objects (Linux 6.18, November 2026)."""


@contextmanager
def emptied(folder: Path) -> Generator[None, None, None]:
    """Provide an empty folder for the length of the block."""
    _empty(folder)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        _empty(folder)


def wait_until_forgotten(folder: Path, tell: Callable[[str], None]) -> None:
    """Wait until what was deleted from the folder can no longer slow the creation of files."""
    marker = _marker(folder)
    if not marker.exists():
        return
    while (rest := marker.stat().st_mtime + _FORGETTING_SECONDS - time.time()) > 0:
        tell(f"{rest:.0f} s until the file system has forgotten the files deleted before")
        time.sleep(min(rest, 1.0))


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
        # Its inodes must reach the disk: while they are dirty, they are avoided for longer.
        os.sync()
        _marker(folder).touch()


def _marker(folder: Path) -> Path:
    return folder.with_suffix(".emptied")
