"""Rows of `contents` as records, and back."""

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from thermocline.adapters.catalog.schema import contents
from thermocline.adapters.catalog.transactions import Parameters, Row
from thermocline.domain.content import Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp

RECORD_COLUMNS: Final = (
    contents.c.content_id,
    contents.c.revision,
    contents.c.version,
    contents.c.placement,
    contents.c.object_key,
    contents.c.digest,
    contents.c.size,
    contents.c.content_type,
    contents.c.cache_control,
    contents.c.content_disposition,
    contents.c.metadata,
    contents.c.tier,
    contents.c.tier_since,
    contents.c.visibility,
    contents.c.created_at,
    contents.c.modified_at,
    contents.c.expires_at,
    contents.c.held,
    contents.c.pinned,
    contents.c.unproven,
)
"""In the order that `record_of` reads; `chunk_digests` may follow."""

_WIDTH: Final = len(RECORD_COLUMNS)
_TIERS: Final = {tier.value: tier for tier in StorageTier}
_VISIBILITIES: Final = {visibility.value: visibility for visibility in Visibility}
_NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_METADATA_TEXT: Final = "{}"
_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder each time

# Most contents share a few sets of headers, and checking one costs more than the rest of the row.
_headers = lru_cache(maxsize=4096)(StoredHeaders)


def record_of(row: Row) -> Record:
    """Return the record in a row of `RECORD_COLUMNS`, with chunk digests if one more column follows."""
    return Record(
        ContentId(row[0]),
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[_WIDTH] if len(row) > _WIDTH else None,
        Bytes(row[6]),
        _headers(row[7], row[8], row[9]),
        metadata_of(row[10]),
        _TIERS[row[11]],
        row[12],
        _VISIBILITIES[row[13]],
        row[14],
        row[15],
        row[16],
        bool(row[17]),
        bool(row[18]),
        bool(row[19]),
    )


def row_of(record: Record) -> Parameters:
    """Return a live row's columns, by name."""
    headers = record.headers
    return {
        "content_id": record.content_id,
        "revision": record.revision,
        "version": record.version,
        "placement": record.placement,
        "object_key": record.object_key,
        "digest": record.digest,
        "size": record.size,
        "content_type": headers.content_type,
        "cache_control": headers.cache_control,
        "content_disposition": headers.content_disposition,
        "metadata": metadata_text(record.metadata),
        "tier": record.tier.value,
        "tier_since": record.tier_since,
        "placed_at": None,
        "visibility": record.visibility.value,
        "created_at": record.created_at,
        "modified_at": record.modified_at,
        "expires_at": record.expires_at,
        "held": record.held,
        "pinned": record.pinned,
        "unproven": record.unproven,
        "chunk_digests": record.chunk_digests,
    }


def metadata_of(text: str) -> Mapping[str, Any]:
    """Return stored metadata, read-only."""
    return _NO_METADATA if text == _NO_METADATA_TEXT else MappingProxyType(json.loads(text))


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as it is stored."""
    return _encode(dict(metadata)) if metadata else _NO_METADATA_TEXT


def as_timestamp(value: int | None) -> Timestamp | None:
    """Return an optional time."""
    return None if value is None else Timestamp(value)
