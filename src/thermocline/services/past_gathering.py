"""The past of the contents of a store, gathered from the catalog in a bounded sample. Heavy to import.

Contents come first, their reads after them; what was never read counts as much as what was. The sample is by a hash
of the id, so it is always the same one; when it gets too large half of it is given up, reads included.
"""

import zlib
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermocline.domain.heat import DAY_MICROS
from thermocline.economics.histories import History
from thermocline.ports.columns import ColumnChunk
from thermocline.ports.read_history import HistoryChunk

MOST_CONTENTS: Final = 200_000
"""Kept at once: up to 70 MB with ids of a hundred characters, 250 MB with the longest."""
MOST_ROWS: Final = 4_000_000
"""Days with reads, of all contents, kept at once: 64 MB, three times that for a moment."""


class PastGatherer:
    """Takes chunks of the catalog and of its history, and makes one past of them."""

    def __init__(self, today: int, *, most_contents: int = MOST_CONTENTS, most_rows: int = MOST_ROWS) -> None:
        """Begin with nothing. `today` is not over, so it is no part of the past."""
        self.sample = 1
        """One content in so many is kept."""
        self._today = today
        self._most_contents = most_contents
        self._most_rows = most_rows
        self._numbers: dict[str, int] = {}
        self._sizes: list[int] = []
        self._created: list[int] = []
        self._rows: list[NDArray[np.int64]] = []
        self._row_count = 0

    @property
    def contents(self) -> int:
        """Return how many contents are kept."""
        return len(self._numbers)

    def take_contents(self, chunk: ColumnChunk) -> None:
        """Keep the contents of the chunk that are in the sample. Before any reads."""
        batch = pa.record_batch(chunk.columns)
        sizes, created = batch.column("size").to_pylist(), batch.column("created_at").to_pylist()
        for row, content_id in enumerate(batch.column("content_id").to_pylist()):
            if _is_in(content_id, self.sample):
                self._numbers.setdefault(content_id, len(self._numbers))
                self._sizes.append(sizes[row])
                self._created.append(created[row] // DAY_MICROS)
        while len(self._numbers) > self._most_contents:
            self._give_up_half()

    def take_reads(self, chunk: HistoryChunk) -> None:
        """Keep the storage reads of the contents that are kept; those of today are left out."""
        batch = pa.record_batch(chunk.columns)
        ids = batch.column("content_id").to_pylist()
        objects = np.array([self._numbers.get(content_id, -1) for content_id in ids], np.int64)
        days, counts = _integers(batch, "day"), _integers(batch, "storage_reads")
        kept = (objects >= 0) & (counts > 0) & (days < self._today)
        self._rows.append(np.stack([objects[kept], days[kept], counts[kept]]))
        self._row_count += int(kept.sum())
        while self._row_count > self._most_rows and self.contents > 1:
            self._give_up_half()

    def past(self) -> History:
        """Return the past, from the first day with a read to yesterday. Without reads it has no days."""
        objects, days, counts = self._merged()
        order = np.lexsort((days, objects))
        objects, days, counts = objects[order], days[order], counts[order]
        origin = int(days.min(initial=self._today))
        first = np.array(self._created, np.int64)
        np.minimum.at(first, objects, days)
        return History(
            origin,
            self._today - origin,
            np.array(self._sizes, np.int64),
            (first - origin).astype(np.int32),
            objects.astype(np.int32),
            (days - origin).astype(np.int32),
            counts,
        )

    def _merged(self) -> NDArray[np.int64]:
        merged: NDArray[np.int64] = np.concatenate([np.zeros((3, 0), np.int64), *self._rows], axis=1)
        return merged

    def _give_up_half(self) -> None:
        self.sample *= 2
        kept = [(content_id, old) for content_id, old in self._numbers.items() if _is_in(content_id, self.sample)]
        numbers = np.full(len(self._numbers), -1, np.int64)
        numbers[[old for _, old in kept]] = np.arange(len(kept))
        self._numbers = {content_id: number for number, (content_id, _) in enumerate(kept)}
        self._sizes = [self._sizes[old] for _, old in kept]
        self._created = [self._created[old] for _, old in kept]
        rows = self._merged()
        rows[0] = numbers[rows[0]]
        self._rows = [rows[:, rows[0] >= 0]]
        self._row_count = self._rows[0].shape[1]


def _is_in(content_id: str, sample: int) -> bool:
    """Return whether the content is in the sample: the one that `ReadHistory.sweep` takes."""
    return zlib.crc32(content_id.encode()) % sample == 0


def _integers(batch: Any, name: str) -> NDArray[np.int64]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.int64)
