"""From chunks of the catalog to the columns that decisions are made from. Heavy to import."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermocline.domain.heat import HEAT_DAYS
from thermocline.economics.contents import NO_DAY, NO_EXPIRY, TIERS, Contents
from thermocline.economics.deciding import ELSEWHERE
from thermocline.ports.columns import ColumnChunk

LAST_CHARACTER: Final = chr(0x10FFFF)
LONGEST_ID: Final = 225
"""In characters of four bytes."""
_SURROGATES: Final = range(0xD800, 0xE000)


def contents_of(chunk: ColumnChunk, placements: Sequence[str]) -> tuple[Any, Contents]:
    """Return the ids (an Arrow array) and the contents of a chunk; places count in `placements`."""
    batch = pa.record_batch(chunk.columns)

    def integers(name: str, null: int = 0) -> NDArray[np.int64]:
        column = batch.column(name)
        filled = column.fill_null(null) if column.null_count else column
        return np.asarray(filled.to_numpy(zero_copy_only=False), np.int64)

    def doubles(prefix: str) -> NDArray[np.float64]:
        names = [f"{prefix}_{days}d" for days in HEAT_DAYS]
        return np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names])

    def numbered(name: str, known: Sequence[str]) -> NDArray[np.int8]:
        column = batch.column(name)
        numbers = [known.index(text) if text in known else ELSEWHERE for text in column.dictionary.to_pylist()]
        places = np.array(numbers or [ELSEWHERE], np.int8)
        taken: NDArray[np.int8] = places[column.indices.to_numpy(zero_copy_only=False)]
        return taken

    def truths(name: str) -> NDArray[np.bool_]:
        return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.bool_)

    return batch.column("content_id"), Contents(
        sizes=integers("size"),
        tiers=numbered("tier", [tier.value for tier in TIERS]),
        places=numbered("placement", placements),
        tier_since=integers("tier_since"),
        placed_since=integers("placed_at"),
        created_at=integers("created_at"),
        written_at=integers("modified_at"),
        expires_at=integers("expires_at", NO_EXPIRY),
        held=truths("held"),
        pinned=truths("pinned"),
        last_read_at=integers("last_read_at"),
        reads=integers("reads_total"),
        rates=doubles("rate"),
        storage_reads=integers("storage_reads"),
        storage_days=integers("storage_days"),
        last_storage_day=integers("last_storage_day", NO_DAY),
        recent_storage_days=integers("recent_storage_days"),
        storage_visits=integers("storage_visits"),
        storage_rates=doubles("storage_rate"),
    )


def revisions_of(chunk: ColumnChunk) -> NDArray[np.int64]:
    """Return the revision of each content of a chunk."""
    return np.asarray(pa.record_batch(chunk.columns).column("revision").to_numpy(zero_copy_only=False), np.int64)


def just_before(text: str) -> str:
    """Return a bound below `text`, and above every id below it that does not look like the bound itself."""
    if not text:
        return ""
    code = ord(text[-1]) - 1
    if code in _SURROGATES:
        code = _SURROGATES.start - 1
    return text[:-1] + chr(code) + LAST_CHARACTER * LONGEST_ID


def end_of(prefix: str) -> str | None:
    """Return a bound that no id with this prefix exceeds; None: there is none."""
    return prefix + LAST_CHARACTER * LONGEST_ID if prefix else None
