"""Moves as a file that anyone can cost by themselves: `policy,obj,ts,class`, one line a move."""

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from thermocline.domain.errors import FileTreeError
from thermocline.economics.bills import Moves
from thermocline.economics.histories import SECONDS_PER_DAY

COLUMNS: Final = ("policy", "obj", "ts", "class")
MODE: Final = 0o666


def write_timeline(
    path: Path, moves: Mapping[str, Moves], *, object_ids: Sequence[str], classes: Sequence[str], origin: int
) -> int:
    """Write every policy's moves, by object and time, and return how many. `ts` are seconds since the epoch.

    The file appears whole, in the place of an older one, or not at all. Raises `FileTreeError` if it cannot be written.
    """
    count = 0
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as exc:
        raise FileTreeError(f"{str(path)!r} cannot be written: {exc.strerror}") from exc
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            os.fchmod(file.fileno(), MODE & ~_umask())
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for policy, made in moves.items():
                writer.writerows(
                    (policy, object_ids[number], (origin + day) * SECONDS_PER_DAY, classes[place])
                    for number, day, place in zip(
                        made.objects.tolist(), made.days.tolist(), made.classes.tolist(), strict=True
                    )
                )
                count += len(made)
        unfinished.replace(path)
    except OSError as exc:
        raise FileTreeError(f"{str(path)!r} cannot be written: {exc.strerror}") from exc
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
