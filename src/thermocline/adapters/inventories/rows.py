"""The rows of an inventory, in batches of columns: CSV (gzip) or Parquet."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray
from pyarrow import parquet

from thermocline.adapters.inventories.manifests import CSV, KNOWN, Manifest, Part, check_columns, plain_name
from thermocline.adapters.traces.csv_blocks import csv_blocks
from thermocline.adapters.traces.opening import PIECE_BYTES, TraceBytes
from thermocline.domain.errors import FileTreeError, InvalidInputError

BATCH_ROWS: Final = 1 << 18
DAY_SECONDS: Final = 86_400
_NUMBER: Final = r"^[0-9]{1,18}$"
_TRUTH: Final = r"(?i)^(true|false)$"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, in columns of one length."""

    keys: Any
    """An Arrow array of text, as it stands in the file."""
    buckets: Any
    """The same, None if there is no such column."""
    sizes: NDArray[np.int64]
    modified: NDArray[np.int32]
    """Days since the epoch."""
    classes: Any
    """Storage classes, an Arrow array of text."""
    is_latest: NDArray[np.bool_]
    is_marker: NDArray[np.bool_]
    """A delete marker: no object."""


def inventory_rows(manifest: Manifest, *, progress: Callable[[int], None] = lambda _: None) -> Iterator[Rows]:
    """Yield all rows, part by part; `progress` is told the bytes read.

    Raises `InvalidInputError` that names the file and row for what is no row of an inventory, and for a file that is
    not the one that the manifest names.
    """
    for part in manifest.parts:
        _check_whole(part)
        try:
            yield from _csv_rows(part, manifest.columns, progress) if manifest.format == CSV else _parquet_rows(part)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as exc:
            told = " ".join(str(exc).split())
            raise InvalidInputError(f"{str(part.path)!r} is no {manifest.format} of an inventory: {told}") from exc
        if manifest.format != CSV:
            progress(part.path.stat().st_size)


def _check_whole(part: Part) -> None:
    """Raise unless the file has the size and digest that the manifest says."""
    try:
        size = part.path.stat().st_size
        if part.size is not None and size != part.size:
            raise InvalidInputError(
                f"{str(part.path)!r} has {size} bytes, and {part.size} by its manifest; copy it again"
            )
        if part.md5 and _md5(part.path) != part.md5:
            raise InvalidInputError(f"{str(part.path)!r} has not the MD5 that its manifest says; copy it again")
    except OSError as exc:
        raise FileTreeError(f"{str(part.path)!r} cannot be read: {exc.strerror}") from exc


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _csv_rows(part: Part, columns: Sequence[str], progress: Callable[[int], None]) -> Iterator[Rows]:
    wanted = [name for name in KNOWN if name in columns]
    with TraceBytes(part.path, progress=progress) as source:
        if not source.head():
            return
        reader = csv_blocks(
            source,
            columns=list(columns),
            convert=arrow_csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=False,
            ),
            quoted_lines=True,
        )
        row = 1
        for batch in reader:
            yield _checked(batch, part.path, row)
            row += batch.num_rows


def _parquet_rows(part: Part) -> Iterator[Rows]:
    with parquet.ParquetFile(part.path) as file:
        names = {plain_name(name): name for name in file.schema_arrow.names}
        check_columns(tuple(names), str(part.path))
        known = [name for name in KNOWN if name in names]
        row = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=[names[name] for name in known]):
            columns = [batch.column(names[name]) for name in known]
            yield _checked(pa.RecordBatch.from_arrays(columns, names=known), part.path, row)
            row += batch.num_rows


def _checked(batch: Any, path: Path, first_row: int) -> Rows:
    def refuse(bad: Any, column: str, why: str) -> None:
        at = pc.index(bad, pa.scalar(value=True)).as_py()
        if at >= 0:
            value = batch.column(column)[at].as_py()
            shown = "missing" if value in {None, ""} else f"{value!r}, {why}"
            raise InvalidInputError(f"{str(path)!r}, row {first_row + at}: {KNOWN[column]} is {shown}")

    keys = _text(batch.column("key"))
    refuse(pc.equal(keys, ""), "key", "")
    is_latest = _truths(batch, "islatest", default=True, refuse=refuse)
    is_marker = _truths(batch, "isdeletemarker", default=False, refuse=refuse)
    there = pa.array(~is_marker)
    sizes = _text(batch.column("size"))
    refuse(pc.and_(there, pc.invert(pc.match_substring_regex(sizes, _NUMBER))), "size", "no number of bytes")
    classes = _text(batch.column("storageclass"))
    refuse(pc.and_(there, pc.equal(classes, "")), "storageclass", "")
    whole = pc.cast(pc.if_else(pc.match_substring_regex(sizes, _NUMBER), sizes, "0"), pa.int64())
    return Rows(
        keys,
        _text(batch.column("bucket")) if "bucket" in batch.schema.names else None,
        whole.to_numpy(zero_copy_only=False),
        _days(batch.column("lastmodifieddate"), there, refuse),
        classes,
        is_latest,
        is_marker,
    )


def _text(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.fill_null(pc.cast(column, pa.string()), "")


def _truths(batch: Any, name: str, *, default: bool, refuse: Callable[[Any, str, str], None]) -> NDArray[np.bool_]:
    """Return a column of truths; what is left empty means as if there were no such column."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, default)
    column = batch.column(name)
    if not pa.types.is_boolean(column.type):
        text = _text(column)
        empty = pc.equal(text, "")
        refuse(pc.invert(pc.or_(empty, pc.match_substring_regex(text, _TRUTH))), name, "neither true nor false")
        column = pc.if_else(empty, pa.scalar(None, pa.bool_()), pc.equal(pc.utf8_lower(text), "true"))
    truths: NDArray[np.bool_] = pc.fill_null(column, default).to_numpy(zero_copy_only=False).astype(bool)
    return truths


def _days(column: Any, there: Any, refuse: Callable[[Any, str, str], None]) -> NDArray[np.int32]:
    """Return whole UTC days, 0 for what is no object."""
    if pa.types.is_timestamp(column.type):
        moments = column
    elif pa.types.is_integer(column.type):
        moments = pc.cast(pc.cast(column, pa.int64()), pa.timestamp("ms"))
    else:
        text = _text(column)
        is_moment = pc.match_substring_regex(text, r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?$")
        refuse(pc.and_(there, pc.invert(is_moment)), "lastmodifieddate", "no moment like 2026-11-28T09:30:00.000Z")
        dates = pc.if_else(is_moment, pc.utf8_slice_codeunits(text, 0, 10), "1970-01-01")
        bad = pc.is_null(pc.strptime(dates, "%Y-%m-%d", "s", error_is_null=True))
        refuse(pc.and_(there, bad), "lastmodifieddate", "no date")
        moments = pc.strptime(dates, "%Y-%m-%d", "s", error_is_null=True)
    refuse(pc.and_(there, pc.is_null(moments)), "lastmodifieddate", "")
    seconds = pc.cast(pc.cast(moments, pa.timestamp("s", getattr(moments.type, "tz", None)), safe=False), pa.int64())
    days: NDArray[np.int32] = (pc.fill_null(seconds, 0).to_numpy(zero_copy_only=False) // DAY_SECONDS).astype(np.int32)
    return days
