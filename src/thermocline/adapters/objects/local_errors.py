"""Errors of the operating system become ours here, from a table of codes (errno(3))."""

import errno
from collections.abc import Callable
from pathlib import Path

from thermocline.domain.errors import OutOfSpaceError, StorageError, UnavailableError, UnsafePathError

_Advice = tuple[Callable[[str], StorageError], str]

_FULL = "the disk is full; free space or enlarge it, nothing acknowledged was lost"
_DENIED = "permission denied; let the user that runs Thermocline own the folder and everything in it (chown -R)"
_UNSAFE = "something is there that Thermocline did not put there; nothing was followed or changed, remove it"
_FILES = "too many open files; raise the limit (ulimit -n, LimitNOFILE=)"
_BROKEN = "the disk reports an input/output error; check it (dmesg, smartctl) and restore from a backup if need be"
_GONE = "the folder is gone; check that its disk is mounted"

_TABLE: dict[int, _Advice] = {
    errno.ENOSPC: (OutOfSpaceError, _FULL),
    errno.EDQUOT: (OutOfSpaceError, "the disk quota is used up; free space or raise the quota"),
    errno.EFBIG: (OutOfSpaceError, "the file would be larger than the file system or a limit (ulimit -f) allows"),
    errno.EROFS: (OutOfSpaceError, "the disk is mounted read-only; remount it for writing, reads go on"),
    errno.EACCES: (UnavailableError, _DENIED),
    errno.EPERM: (UnavailableError, _DENIED),
    errno.EIO: (UnavailableError, _BROKEN),
    errno.ENOENT: (UnavailableError, _GONE),
    errno.ESTALE: (UnavailableError, _GONE),
    errno.EMFILE: (UnavailableError, _FILES),
    errno.ENFILE: (UnavailableError, _FILES),
    errno.ENAMETOOLONG: (
        UnavailableError,
        "this file system does not allow names of 201 characters; use one that does, such as ext4, XFS or Btrfs",
    ),
    errno.ELOOP: (UnsafePathError, _UNSAFE),
    errno.ENOTDIR: (UnsafePathError, _UNSAFE),
    errno.EISDIR: (UnsafePathError, _UNSAFE),
    errno.ENXIO: (UnsafePathError, _UNSAFE),
}


def explain(exc: OSError, root: Path, doing: str) -> StorageError:
    """Return the error to raise `from exc`; its message names the folder and says what to do."""
    kind, advice = _TABLE.get(exc.errno or 0, (UnavailableError, exc.strerror or type(exc).__name__))
    where = root / exc.filename if isinstance(exc.filename, str) else root
    return kind(f"{doing} failed at {where}: {advice}")
