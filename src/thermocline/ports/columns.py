"""All live contents as columns, in the order of their ids: what decisions about the whole catalog are made from."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

from thermocline.domain.heat import HEAT_DAYS
from thermocline.domain.units import Timestamp

COLUMNS: Final = (
    "content_id",
    "revision",
    "version",
    "tier",
    "placement",
    "size",
    "tier_since",
    "placed_at",
    "created_at",
    "modified_at",
    "expires_at",
    "held",
    "pinned",
    "reads_total",
    "storage_reads",
    "last_read_at",
    "storage_days",
    "last_storage_day",
    "recent_storage_days",
    "storage_visits",
    *(f"rate_{days}d" for days in HEAT_DAYS),
    *(f"storage_rate_{days}d" for days in HEAT_DAYS),
)
"""The columns of every chunk, in this order.

`content_id` is text, `tier` and `placement` are dictionaries of text, `held` and `pinned` truth values; `rate_*` are
doubles, the reads a day of `domain.heat.rates` at the sweep's `now`, in steps of a billionth; all else is 64-bit
integers, times in microseconds. `placed_at` is since when the content is where it is: since a copy, or since a write
gave it its tier (bytes that were written later are there since `modified_at`). Only `expires_at`, `last_read_at` and
`last_storage_day` are ever null.

Of storage reads one counts for each UTC day (numbers of `domain.heat.day_of`): `storage_days` is how many days had any,
`last_storage_day` the last of them, bit k of `recent_storage_days` tells whether there were any k days before that one
(k below `RECENT_STORAGE_DAYS`), and `storage_rate_*` are such days per day, each weighed at its start. `storage_visits`
is how many of the days were the first one after `domain.heat.VISIT_DAYS` without any, the first of all included.
"""

CHUNK: Final = 16_384
"""Contents in a chunk by default: a chunk keeps a connection for some hundredths of a second."""
LARGEST_CHUNK: Final = 65_536
"""With the longest ids there are, one is about 70 MB."""


def check_chunk(chunk: int) -> None:
    """Raise `ValueError` unless that many contents may be in a chunk."""
    if not 1 <= chunk <= LARGEST_CHUNK:
        raise ValueError(f"a chunk has 1 to {LARGEST_CHUNK} contents, not {chunk}")


class ArrowColumns(Protocol):
    """Columns by the Arrow PyCapsule interface: pyarrow, polars, DuckDB and others take them without a copy."""

    @abstractmethod
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return the capsules of the schema and of the array, a struct of the columns."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Contents that follow each other, as they were at one moment."""

    columns: ArrowColumns
    """`COLUMNS`, one row for each content."""
    count: int
    """How many contents; at least one."""
    last: str
    """The last content id: a later sweep goes on after it."""


class Columns(Protocol):
    """Sweeps of the catalog. Memory is bounded by the chunk, however many contents there are."""

    @abstractmethod
    def sweep(
        self, *, now: Timestamp, after: str = "", until: str | None = None, chunk: int = CHUNK
    ) -> AsyncGenerator[ColumnChunk, None]:
        """Yield every content that is live and not expired at `now`, in byte order of ids, at most `chunk` at a time.

        Only ids greater than `after` and not greater than `until`, so ranges that share their bounds have each content
        once. Each chunk is one moment, the sweep is not: what exists throughout comes once, in a state that it had
        meanwhile; what came or went meanwhile comes once or not at all. The next chunks are read while this one is
        worked on. Leaving early keeps nothing open. Raises `UnavailableError` (go on after the last chunk), and
        `ValueError` unless `chunk` is 1 to `LARGEST_CHUNK`.
        """
