"""A trace, whatever its format, becomes a history. The format is told by what is in the file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thermocline.adapters.traces.batches import Batch, Noted
from thermocline.adapters.traces.log_lines import kind_of
from thermocline.adapters.traces.logs import log_batches
from thermocline.adapters.traces.numbering import Numbering
from thermocline.adapters.traces.opening import TraceBytes
from thermocline.adapters.traces.tables import columns_of, csv_batches, parquet_batches
from thermocline.domain.errors import InvalidInputError
from thermocline.economics.histories import History, HistoryBuilder

TABLE = "table"
"""CSV or Parquet; logs are told by their kind."""
LONG_SILENCE_DAYS = 366
"""No access at all for so long looks like a clock that jumped."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a file of accesses says."""

    history: History
    object_ids: list[str]
    """By the numbers of the history."""
    has_sizes: bool
    accesses: int
    notes: tuple[str, ...]
    """What is odd about it but no error."""


def read_trace(path: Path, *, progress: Callable[[int], None] = lambda _: None) -> Trace:
    """Return the accesses of a file: CSV or Parquet with `ts`, `obj` and perhaps `size`, or an access log.

    Rows may come in any order; equal rows are that many reads. Memory holds one row per object and day, and some pieces
    of the file. `progress` is told the bytes read. Raises `InvalidInputError` that says what is wrong and in which row,
    `FileTreeError` if the file cannot be read.
    """
    builder, numbering, noted = HistoryBuilder(), Numbering(), Noted()
    has_sizes = True
    with TraceBytes(path, progress=progress) as source:
        row = 1
        _, batches = batches_of(source, noted)
        for batch in batches:
            noted.note(batch, row)
            row += len(batch.seconds)
            has_sizes = has_sizes and batch.sizes is not None
            builder.add(batch.seconds, numbering.number(batch.object_ids), batch.sizes)
    if not noted.accesses:
        raise InvalidInputError(f"{str(path)!r} has no accesses")
    history = builder.build()
    return Trace(history, numbering.ids(), has_sizes, noted.accesses, tuple(_notes(noted, history)))


def batches_of(source: TraceBytes, noted: Noted, bucket: str | None = None) -> tuple[str, Iterator[Batch]]:
    """Return what a file is, and its accesses; of S3's logs those to one bucket, if it is named.

    Raises `InvalidInputError` for what is no trace, then and while it is read.
    """
    if source.is_parquet:
        return TABLE, parquet_batches(source.path)
    head = source.head()
    if not head.strip():
        raise InvalidInputError(f"{str(source.path)!r} is empty")
    columns = columns_of(head)
    if columns is not None:
        return TABLE, csv_batches(source, columns)
    kind = kind_of(head)
    if kind is not None:
        return kind, log_batches(source, kind, noted, bucket)
    raise InvalidInputError(
        f"{str(source.path)!r} is no trace: neither CSV or Parquet with the columns ts, obj and perhaps size, "
        "nor an access log of S3, Cloudflare or a web server"
    )


def _notes(noted: Noted, history: History) -> Iterator[str]:
    if noted.backwards:
        yield f"{noted.backwards} accesses lie before the one above them; they were put in order"
    if noted.skipped:
        yield f"{noted.skipped} lines are no storage reads and do not count"
    if noted.unreadable:
        yield f"{noted.unreadable} lines could not be read and do not count; is the file cut short?"
    days = np.unique(history.read_days)
    gaps = np.diff(days)
    if len(gaps) and int(gaps.max()) > LONG_SILENCE_DAYS:
        before = np.datetime64(history.origin + int(days[int(gaps.argmax())]), "D")
        yield f"no access for {int(gaps.max())} days after {before}: did a clock jump?"
