"""Access logs become columns: which objects of an inventory were read on which days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thermocline.adapters.inventories.reading import Inventory, hashes_of
from thermocline.adapters.traces.batches import Batch, Noted
from thermocline.adapters.traces.log_lines import S3_LOG
from thermocline.adapters.traces.numbering import Numbering
from thermocline.adapters.traces.opening import TraceBytes
from thermocline.adapters.traces.reading import TABLE, batches_of
from thermocline.domain.errors import FileTreeError, InvalidInputError
from thermocline.economics.histories import History, HistoryBuilder
from thermocline.economics.plans import Reads

NUMBERED_AT: Final = 1 << 18
"""Accesses that are numbered together: servers write thousands of small files."""


@dataclass(slots=True)
class LogCounts:
    """What was in the logs."""

    files: int = 0
    empty_files: int = 0
    accesses: int = 0
    skipped: int = 0
    """Lines that are no storage reads."""
    unreadable: int = 0
    elsewhere: int = 0
    """Lines of other buckets."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Files by what they are."""


@dataclass(frozen=True, slots=True)
class LoggedReads:
    """Everything that the logs say was read, by names that need not be in the inventory."""

    history: History
    object_ids: Sequence[str]
    counts: LogCounts
    is_of_the_web: bool
    """Whether some names are paths of addresses, which may begin with the bucket."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Reads of what is in the inventory."""

    reads: Reads
    unknown_objects: int
    """Names that are not: deleted since, or never there under that name."""
    unknown_reads: int


def log_files(places: Sequence[Path]) -> list[Path]:
    """Return the files, and those in the folders, in the order of their names; hidden ones are left out.

    Raises `FileTreeError` for a place that is not there, `InvalidInputError` for folders without a file.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(each for each in place.rglob("*") if each.is_file() and not each.name.startswith("."))
            if not inside:
                raise InvalidInputError(f"the folder {str(place)!r} has no files")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise FileTreeError(f"{str(place)!r} cannot be read: no such file or folder")
    return found


def read_logs(files: Sequence[Path], bucket: str, *, progress: Callable[[int], None] = lambda _: None) -> LoggedReads:
    """Return all accesses of the files, which may be of different kinds; empty files are counted, no more.

    Memory: one row per object and day, each name once. Raises `InvalidInputError` that names the file and row or line
    for what is no log, and if nothing was read at all; `FileTreeError` if a file cannot be read.
    """
    reader = _Logs()
    for path in files:
        reader.take(path, bucket, progress)
    return reader.logged()


class _Logs:
    def __init__(self) -> None:
        self._builder, self._numbering = HistoryBuilder(), Numbering()
        self._waiting: list[Batch] = []
        self._counts = LogCounts()

    def take(self, path: Path, bucket: str, progress: Callable[[int], None]) -> None:
        noted = Noted()
        try:
            with TraceBytes(path, progress=progress) as source:
                self._counts.files += 1
                if not source.is_parquet and not source.head().strip():
                    self._counts.empty_files += 1
                    return
                kind, batches = batches_of(source, noted, bucket)
                row = 1
                for batch in batches:
                    noted.note(batch, row)
                    row += len(batch.seconds)
                    self._wait(batch if kind in {S3_LOG, TABLE} else _without_slash(batch))
        except InvalidInputError as exc:
            told = str(exc)
            raise InvalidInputError(told if repr(str(path)) in told else f"{str(path)!r}: {told}") from exc
        counts = self._counts
        counts.kinds[kind] = counts.kinds.get(kind, 0) + 1
        counts.accesses += noted.accesses
        counts.skipped += noted.skipped
        counts.unreadable += noted.unreadable
        counts.elsewhere += noted.elsewhere

    def logged(self) -> LoggedReads:
        self._number()
        counts = self._counts
        if not counts.accesses:
            raise InvalidInputError(
                f"the logs have no reads of this bucket: {counts.files} files, {counts.skipped} lines that are no "
                f"storage reads, {counts.elsewhere} of other buckets, {counts.unreadable} that cannot be read"
            )
        is_of_the_web = bool(set(counts.kinds) - {S3_LOG, TABLE})
        return LoggedReads(self._builder.build(), self._numbering.ids(), counts, is_of_the_web)

    def _wait(self, batch: Batch) -> None:
        self._waiting.append(batch)
        if sum(len(each.seconds) for each in self._waiting) >= NUMBERED_AT:
            self._number()

    def _number(self) -> None:
        if self._waiting:
            names = pa.concat_arrays([each.object_ids for each in self._waiting])
            seconds = np.concatenate([each.seconds for each in self._waiting])
            self._builder.add(seconds, self._numbering.number(names))
            self._waiting = []


def join(logged: LoggedReads, inventory: Inventory, bucket: str) -> Joined:
    """Return the reads of the inventory's current objects, by their places in it."""
    history = logged.history
    places = _places(hashes_of(logged.object_ids), inventory)
    if logged.is_of_the_web:
        begin = f"{bucket}/"
        (missing,) = np.nonzero(places < 0)
        without = [each for each in missing.tolist() if logged.object_ids[each].startswith(begin)]
        if without:
            names = hashes_of(logged.object_ids[each].removeprefix(begin) for each in without)
            places[without] = _places(names, inventory)
    at = places[history.objects]
    known = at >= 0
    return Joined(
        Reads(history.origin, history.days, *_together(at[known], history.read_days[known], history.counts[known])),
        int((places < 0).sum()),
        int(history.counts[~known].sum()),
    )


def _places(hashes: NDArray[np.uint64], inventory: Inventory) -> NDArray[np.int64]:
    """Return where each is in the inventory, -1 where it is not."""
    if not len(inventory.hashes):
        return np.full(len(hashes), -1, np.int64)
    at = np.searchsorted(inventory.hashes, hashes)
    at[at == len(inventory.hashes)] = 0
    found: NDArray[np.int64] = np.where(inventory.hashes[at] == hashes, at, -1).astype(np.int64)
    return found


def _together(
    objects: NDArray[np.int64], days: NDArray[np.int32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return rows by object, then day, one for each: two names may be one object's."""
    order = np.lexsort((days, objects))
    objects, days, counts = objects[order], days[order], counts[order]
    begins = np.ones(len(objects), bool)
    begins[1:] = (objects[1:] != objects[:-1]) | (days[1:] != days[:-1])
    if not len(objects):
        return objects, days, counts
    return objects[begins], days[begins], np.add.reduceat(counts, np.flatnonzero(begins))


def _without_slash(batch: Batch) -> Batch:
    """Return the batch with keys for paths: an address has a slash before the key."""
    return Batch(batch.seconds, pc.replace_substring_regex(batch.object_ids, "^/", ""), batch.sizes)
