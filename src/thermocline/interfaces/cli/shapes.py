"""How records look: as JSON (stable, documented in docs/reference/cli.md) and for people."""

from datetime import UTC, datetime
from typing import Any

from thermocline.domain.access import Token
from thermocline.domain.content import Record
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp

_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def record_as_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON-ready values."""
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
        "tier_since": moment(record.tier_since),
        "placement": record.placement,
        "object_key": record.object_key,
        "visibility": record.visibility.value,
        "created_at": moment(record.created_at),
        "modified_at": moment(record.modified_at),
        "expires_at": moment(record.expires_at),
        "held": record.held,
    }


def token_as_json(token: Token, now: Timestamp) -> dict[str, Any]:
    """Return a token, never its secret, as JSON-ready values."""
    return {
        "token_id": token.token_id,
        "scopes": sorted(scope.value for scope in token.scopes),
        "prefix": token.prefix,
        "state": state_of(token, now),
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "revoked_at": moment(token.revoked_at),
    }


def state_of(token: Token, now: Timestamp) -> str:
    """Return `valid`, `expired` or `revoked`."""
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.is_valid(now) else "expired"


def moment(timestamp: Timestamp | None) -> str | None:
    """Return a moment in RFC 3339, UTC, to the microsecond; None stays None."""
    if timestamp is None:
        return None
    seconds, micros = divmod(timestamp, MICROS_PER_SECOND)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59.999999Z"  # beyond the calendar: never, for all who ask
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def size_text(size: int) -> str:
    """Return a size for people, such as `1.4 MiB`."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < _STEP:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"
