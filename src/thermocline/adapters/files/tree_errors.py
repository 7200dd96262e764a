"""What the system refuses in a file tree, told so that a user knows what to do (codes from errno(3))."""

import errno

from thermocline.domain.errors import FileTreeError, OutOfSpaceError, StorageError

_ROOM = {
    errno.ENOSPC: "the disk is full; free space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up; free space, then run the same command again",
    errno.EROFS: "the disk is mounted read-only; remount it for writing",
}
_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "it is gone",
    errno.ESTALE: "it is gone",
    errno.ELOOP: "a symbolic link has its name; it was not followed",
    errno.ENOTDIR: "a file or a symbolic link has the name of a folder on the way to it; nothing was followed",
    errno.EISDIR: "a folder has its name",
    errno.ENXIO: "it is no regular file",
    errno.EEXIST: "a file of this name exists by now",
    errno.ENAMETOOLONG: "its name is too long for this file system",
    errno.EINVAL: "this file system does not allow its name",
    errno.EILSEQ: "this file system does not allow its name",
    errno.EFBIG: "it is larger than the file system or a limit (ulimit -f) allows",
    errno.EIO: "the disk reports an input/output error; check it (dmesg, smartctl)",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files",
}


def explain(exc: OSError, doing: str) -> StorageError:
    """Return the error to raise `from exc`: `OutOfSpaceError` if the disk takes no more, else `FileTreeError`."""
    room = _ROOM.get(exc.errno or 0)
    return OutOfSpaceError(f"{doing} failed: {room}") if room is not None else FileTreeError(reason_of(exc))


def reason_of(exc: OSError) -> str:
    """Return why the system refused."""
    return _REASONS.get(exc.errno or 0, exc.strerror or type(exc).__name__)
