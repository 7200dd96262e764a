"""Moves as a file that anyone can cost by themselves: `policy,obj,ts,class`, one line a move."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from thermocline.adapters.files.whole_files import whole_file
from thermocline.economics.bills import Moves
from thermocline.economics.histories import SECONDS_PER_DAY

COLUMNS: Final = ("policy", "obj", "ts", "class")


def write_timeline(
    path: Path, moves: Mapping[str, Moves], *, object_ids: Sequence[str], classes: Sequence[str], origin: int
) -> int:
    """Write every policy's moves, by object and time, and return how many. `ts` are seconds since the epoch.

    The file appears whole, in the place of an older one, or not at all. Raises `FileTreeError` if it cannot be written.
    """
    count = 0
    with whole_file(path) as file:
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
    return count
