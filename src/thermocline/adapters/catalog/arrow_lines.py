"""Rows that the database wrote as one text (`dialects.joined_lines`), read by Arrow.

Whatever is read must have the content id last: Arrow takes U+FEFF at the beginning of a text for a mark of its
encoding, and ids may begin with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from thermocline.adapters.arrow_buffers import arrow_buffer
from thermocline.adapters.catalog.dialects import CELL_END
from thermocline.domain.errors import StorageError

_TRUE: Final = ["1", "t"]
_FALSE: Final = ["0", "f"]
"""As SQLite and PostgreSQL write them."""


def table_of(lines: bytes, count: int, types: Mapping[str, Any], *, first: str) -> Any:
    """Return the lines as an Arrow table of one chunk, with a column for each of `types`, in their order.

    Raises `StorageError` unless they are `count` lines of such cells; `first` is where they begin, for its message.
    """
    table = _table_of(lines, types)
    if table is None or table.num_rows != count:
        raise StorageError(
            f"the catalog holds a content id or a name with control characters or no UTF-8 among the {count} from "
            f"{first!r} on; Thermocline never writes one, look for it with the database's own tools"
        )
    return table


def _table_of(text: bytes, types: Mapping[str, Any]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    try:
        return csv.read_csv(
            arrow_buffer(text),
            # One block: so there is one dictionary for each column, and nothing to join afterwards.
            csv.ReadOptions(column_names=tuple(types), use_threads=False, block_size=len(text) + 1),
            csv.ParseOptions(delimiter=CELL_END, quote_char=False, escape_char=False),
            csv.ConvertOptions(
                column_types=dict(types),
                null_values=[""],
                true_values=_TRUE,
                false_values=_FALSE,
            ),
        )
    except pa.ArrowInvalid:
        return None


def batch_of(table: Any, names: Sequence[str]) -> Any:
    """Return columns of the table as one record batch."""
    (batch,) = table.select(names).combine_chunks().to_batches()
    return batch
