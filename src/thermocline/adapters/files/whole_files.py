"""Files that appear whole, in the place of an older one, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from thermocline.domain.errors import FileTreeError

MODE: Final = 0o666


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that has its name once the block has ended without an error; UTF-8, line ends as written.

    Raises `FileTreeError` if it cannot be written; nothing is left behind then.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as exc:
        raise FileTreeError(f"{str(path)!r} cannot be written: {exc.strerror}") from exc
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            os.fchmod(file.fileno(), MODE & ~_umask())
            yield file
        unfinished.replace(path)
    except OSError as exc:
        raise FileTreeError(f"{str(path)!r} cannot be written: {exc.strerror}") from exc
    finally:
        unfinished.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
