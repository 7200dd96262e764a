"""An access log as batches of columns, line by line."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from thermocline.adapters.traces.batches import Batch, Noted
from thermocline.adapters.traces.log_lines import KINDS, S3_LOG, Access, NoRead, s3_reader
from thermocline.adapters.traces.opening import PIECE_BYTES, TraceBytes
from thermocline.domain.errors import InvalidInputError

BATCH_LINES: Final = 1 << 16
LONGEST_LINE: Final = 1 << 20
UNREADABLE_SHARE: Final = 0.01
FEW_UNREADABLE: Final = 10
"""So many lines may always be unreadable: a log that was cut, lines of two processes mixed up."""


def log_batches(source: TraceBytes, kind: str, noted: Noted, bucket: str | None = None) -> Iterator[Batch]:
    """Yield the reads of a log of this kind, and count what was left out: also other buckets, where the log names them.

    Raises `InvalidInputError` if more lines cannot be read than a damaged end explains.
    """
    read = s3_reader(bucket) if kind == S3_LOG and bucket is not None else KINDS[kind]
    found: list[Access] = []
    lines = 0
    for lines, line in enumerate(_lines(source), start=1):
        access = read(line)
        if isinstance(access, Access):
            found.append(access)
            if len(found) == BATCH_LINES:
                yield _batch(found)
                found = []
        elif access is NoRead.SKIPPED:
            noted.skipped += 1
        elif access is NoRead.ELSEWHERE:
            noted.elsewhere += 1
        else:
            noted.unreadable += 1
            if noted.unreadable > max(FEW_UNREADABLE, UNREADABLE_SHARE * lines):
                raise InvalidInputError(f"line {lines}, and {noted.unreadable - 1} before it, are no lines of a {kind}")
    if found:
        yield _batch(found)


def _lines(source: TraceBytes) -> Iterator[str]:
    rest = b""
    while piece := source.read(PIECE_BYTES):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield line.decode("utf-8", "replace").rstrip("\r")
        if len(rest) > LONGEST_LINE:
            raise InvalidInputError(f"a line has more than {LONGEST_LINE} bytes: this is no log")
    if rest.strip():
        yield rest.decode("utf-8", "replace").rstrip("\r")


def _batch(found: list[Access]) -> Batch:
    return Batch(
        np.fromiter((access.seconds for access in found), np.float64, len(found)),
        pa.array([access.object_id for access in found], pa.string()),
        np.fromiter((access.size for access in found), np.int64, len(found)),
    )
