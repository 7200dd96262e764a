"""What was read on which day, of all live contents: what policies learn from, and what simulations replay."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

from thermocline.ports.columns import CHUNK, ArrowColumns

HISTORY_COLUMNS: Final = ("content_id", "day", "storage_reads", "cache_reads", "size", "created_at")
"""The columns of every chunk, in this order: text, then 64-bit integers; `created_at` in microseconds."""


@dataclass(frozen=True, slots=True)
class HistoryChunk:
    """Reads of one day."""

    columns: ArrowColumns
    """`HISTORY_COLUMNS`, one row for each content."""
    count: int
    """How many rows; at least one."""


class ReadHistory(Protocol):
    """Sweeps of the access history. Memory is bounded by the chunk, however many contents and days there are."""

    @abstractmethod
    def sweep(
        self, first_day: int, last_day: int, *, sample: int = 1, chunk: int = CHUNK
    ) -> AsyncGenerator[HistoryChunk, None]:
        """Yield the reads of all days from the first to the last, days ascending, contents of a day in byte order.

        One row for each day and content that memory, Redis or the object store served; those that only the CDN served,
        or nobody, have none. Only contents that are live now, with their size now, and only days of their present
        life; days that are no longer kept are missing. With `sample` above 1 one content in so many, on average:
        always the same ones, each with all of its days. A chunk is made of `chunk` rows of a day or fewer, and is one
        moment; the sweep is not. Raises `UnavailableError`, and `ValueError` unless `sample` is at least 1 and `chunk`
        is 1 to `LARGEST_CHUNK`.
        """
