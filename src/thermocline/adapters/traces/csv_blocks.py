"""CSV in batches of columns: cut between records here, and parsed by Arrow, one block at a time.

Arrow could read the file by itself, but from threads of its own that call ours (`arrow_buffers`).
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.csv as arrow_csv

from thermocline.adapters.arrow_buffers import arrow_buffer

BLOCK_BYTES: Final = 1 << 24
LONGEST_RECORD: Final = 1 << 26
"""Bytes after which what has no end is no record: a quote is never closed, lines end in CR, it is no text at all."""
_MARK: Final = "\ufeff".encode()
"""Arrow takes it for a mark of the encoding at the beginning of each block; an id may begin with it, too."""


class Readable(Protocol):
    """A file of which bytes are read, fewer than asked for only at its end."""

    def read(self, count: int, /) -> bytes:
        """Return the next bytes."""
        ...


def csv_blocks(
    source: Readable,
    *,
    columns: list[str] | None,
    convert: arrow_csv.ConvertOptions,
    quoted_lines: bool = False,
) -> Iterator[Any]:
    """Yield record batches, in order; memory holds three blocks, and a record of at most `LONGEST_RECORD`.

    `columns` None: the first line names them. `quoted_lines`: quoted cells may have line breaks. Lines end in LF or
    CRLF. Raises what reading the source raises, and `pyarrow.ArrowInvalid` for what is no such CSV.
    """
    names = columns

    def parsed(block: bytes, mark: bytes) -> list[Any]:
        table = arrow_csv.read_csv(
            pa.BufferReader(arrow_buffer(mark + block)),
            read_options=arrow_csv.ReadOptions(column_names=names),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=quoted_lines),
            convert_options=convert,
        )
        # One batch: whoever looks up ids does so once for a block, not for each of Arrow's pieces of it.
        return list(table.combine_chunks().to_batches())

    blocks = _whole_records(source, quoted_lines=quoted_lines)
    for first in blocks:
        yield from parsed(first, b"")
        names = names or _names_of(first)
        break
    with ThreadPoolExecutor(1) as beside:
        before: Future[list[Any]] | None = None
        for block in blocks:
            # Parsed while whoever asks works on the batch before it.
            following = beside.submit(parsed, block, _MARK)
            if before is not None:
                yield from before.result()
            before = following
        if before is not None:
            yield from before.result()


def _whole_records(source: Readable, *, quoted_lines: bool) -> Iterator[bytes]:
    rest = b""
    while piece := source.read(BLOCK_BYTES):
        block = rest + piece
        end = _end_of_records(block, quoted_lines=quoted_lines)
        whole = block[:end]
        if not _is_blank(whole):
            yield whole
        rest = block[end:]
        if len(rest) > LONGEST_RECORD:
            raise pa.ArrowInvalid(
                f"no record ends within {LONGEST_RECORD >> 20} MiB: lines must end in a line feed, and quotes be closed"
            )
    if not _is_blank(rest):
        yield rest


def _is_blank(block: bytes) -> bool:
    return not block.lstrip(b"\r\n")


def _end_of_records(block: bytes, *, quoted_lines: bool) -> int:
    """Return where the last record that ends in the block ends, 0 if none does."""
    end = block.rfind(b"\n") + 1
    if quoted_lines:
        quotes = block.count(b'"', 0, end)
        while quotes % 2:  # that line break stands within quotes
            before = block.rfind(b"\n", 0, end - 1) + 1
            quotes -= block.count(b'"', before, end)
            end = before
    return end


def _names_of(block: bytes) -> list[str]:
    head = block[: block.find(b"\n") + 1] or block
    return list(arrow_csv.read_csv(pa.BufferReader(arrow_buffer(head))).column_names)
