"""CSV and Parquet with the columns `ts`, `obj` and perhaps `size`, in batches of columns."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray
from pyarrow import parquet

from thermocline.adapters.traces.batches import Batch
from thermocline.adapters.traces.csv_blocks import csv_blocks
from thermocline.adapters.traces.opening import TraceBytes
from thermocline.domain.errors import InvalidInputError

NEEDED: Final = ("ts", "obj")
SIZE: Final = "size"
BATCH_ROWS: Final = 1 << 19


def columns_of(head: bytes) -> list[str] | None:
    """Return the columns that a CSV's first line names, None if this is no header of a trace."""
    line = head.partition(b"\n")[0].decode("utf-8-sig", "replace").strip("\r")
    names = next(csv.reader([line]), [])
    return names if set(names) & set(NEEDED) else None


def csv_batches(source: TraceBytes, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield the rows of a CSV. Raises `InvalidInputError` for missing columns, and for what is no number."""
    wanted = _wanted(columns)
    try:
        reader = csv_blocks(
            source,
            columns=None,
            convert=arrow_csv.ConvertOptions(
                include_columns=wanted,
                column_types={"ts": pa.float64(), "obj": pa.string(), SIZE: pa.float64()},
                strings_can_be_null=False,
            ),
        )
        row = 2  # as an editor numbers the lines, where no field has line breaks
        for batch in reader:
            yield _batch(batch, row)
            row += batch.num_rows
    except pa.ArrowInvalid as exc:
        raise InvalidInputError(f"the trace is not CSV with {', '.join(wanted)}: {_told(exc)}") from exc


def parquet_batches(path: Path) -> Iterator[Batch]:
    """Yield the rows of a Parquet file. Raises `InvalidInputError` as `csv_batches` does, and for a damaged file."""
    try:
        with parquet.ParquetFile(path) as file:
            wanted = _wanted(file.schema_arrow.names)
            row = 1
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                yield _batch(_as_numbers(batch), row)
                row += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
        raise InvalidInputError(f"the trace is not Parquet with ts and obj: {_told(exc)}") from exc


def _wanted(columns: Sequence[str]) -> list[str]:
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InvalidInputError(f"the trace has no column {' and no '.join(missing)}; it has {', '.join(columns)}")
    return [*NEEDED, *([SIZE] if SIZE in columns else [])]


def _as_numbers(batch: Any) -> Any:
    """Return the batch with times as seconds, whether the file has numbers or timestamps, and ids as text."""
    seconds = batch.column("ts")
    if pa.types.is_timestamp(seconds.type):
        micros = pc.cast(seconds, pa.timestamp("us", seconds.type.tz), safe=False)
        seconds = pc.divide(pc.cast(pc.cast(micros, pa.int64()), pa.float64()), 1e6)
    columns = [pc.cast(seconds, pa.float64(), safe=False), pc.cast(batch.column("obj"), pa.string())]
    if SIZE in batch.schema.names:
        columns.append(pc.cast(batch.column(SIZE), pa.float64(), safe=False))
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _batch(batch: Any, first_row: int) -> Batch:
    for name in NEEDED:
        if batch.column(name).null_count:
            row = first_row + int(pc.index(pc.is_null(batch.column(name)), pa.scalar(True)).as_py())
            raise InvalidInputError(f"row {row}: {name} is missing")
    empty = pc.index(pc.equal(batch.column("obj"), ""), pa.scalar(True)).as_py()
    if empty >= 0:
        raise InvalidInputError(f"row {first_row + int(empty)}: obj is empty")
    sizes = _sizes(batch, first_row) if SIZE in batch.schema.names else None
    return Batch(batch.column("ts").to_numpy(zero_copy_only=False), batch.column("obj"), sizes)


def _sizes(batch: Any, first_row: int) -> NDArray[np.int64]:
    """Return sizes; a missing one is 0, because the largest of an object counts."""
    sizes = pc.fill_null(batch.column(SIZE), 0.0).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(~((sizes >= 0) & (sizes < 2.0**63)))
    if len(bad):
        raise InvalidInputError(f"row {first_row + int(bad[0])}: {sizes[bad[0]]!s} is no size in bytes")
    whole: NDArray[np.int64] = sizes.astype(np.int64)
    return whole


def _told(exc: Exception) -> str:
    return " ".join(str(exc).split())
