"""How records and moments look in answers."""

from datetime import UTC, datetime
from typing import Any

from thermocline.domain.content import Record
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp

_BEYOND_THE_CALENDAR = "9999-12-31T23:59:59.999999Z"


def record_json(record: Record) -> dict[str, Any]:
    """Return the record as JSON-ready values."""
    return {
        "content_id": record.content_id,
        "revision": record.revision,
        "version": record.version,
        "etag": record.etag,
        "size": record.size,
        "sha256": record.digest.hex(),
        "content_type": record.headers.content_type,
        "cache_control": record.headers.cache_control,
        "content_disposition": record.headers.content_disposition,
        "metadata": dict(record.metadata),
        "tier": record.tier.value,
        "tier_since": moment_json(record.tier_since),
        "placement": record.placement,
        "object_key": record.object_key,
        "visibility": record.visibility.value,
        "created_at": moment_json(record.created_at),
        "modified_at": moment_json(record.modified_at),
        "expires_at": moment_json(record.expires_at),
        "held": record.held,
    }


def moment_json(moment: Timestamp | None) -> str | None:
    """Return a moment by RFC 3339, in UTC, to the microsecond; None stays None."""
    if moment is None:
        return None
    seconds, micros = divmod(moment, MICROS_PER_SECOND)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return _BEYOND_THE_CALENDAR
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"
