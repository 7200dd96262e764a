"""Units as types, and their written forms (`256MiB`, `24h`)."""

import re
from datetime import UTC, datetime
from typing import NewType

Bytes = NewType("Bytes", int)
"""A size in bytes."""
Seconds = NewType("Seconds", float)
"""A duration in seconds."""
Timestamp = NewType("Timestamp", int)
"""A moment: microseconds since 1970-01-01T00:00:00Z."""
Usd = NewType("Usd", float)
"""Money in US dollars."""

MICROS_PER_SECOND = 1_000_000

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?", re.IGNORECASE)
_SIZE_FACTORS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)?")
_DURATION_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str | int) -> Bytes:
    """Return the size that `text` writes: `1024`, `64KiB`, `1.5 GB`. Raises `ValueError` for anything else."""
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"a size cannot be negative: {text}")
        return Bytes(text)
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}; write a number and a unit, such as 64KiB, 256MiB or 1GB")
    return Bytes(round(float(match[1]) * _SIZE_FACTORS[(match[2] or "b").lower()]))


def parse_duration(text: str | float) -> Seconds:
    """Return the duration that `text` writes: `90` (seconds), `250ms`, `24h`, `7d`. Raises `ValueError` otherwise."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not 0 <= text < float("inf"):
            raise ValueError(f"a duration must be finite and not negative: {text}")
        return Seconds(float(text))
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"not a duration: {text!r}; write a number and a unit, such as 250ms, 90s, 5m, 24h or 7d")
    return Seconds(float(match[1]) * _DURATION_FACTORS[match[2] or "s"])


def later(moment: Timestamp, delay: Seconds) -> Timestamp:
    """Return the moment that comes `delay` after `moment`."""
    return Timestamp(moment + round(delay * MICROS_PER_SECOND))


def elapsed(start: Timestamp, end: Timestamp) -> Seconds:
    """Return the time from `start` to `end`; negative when `end` comes first."""
    return Seconds((end - start) / MICROS_PER_SECOND)


def format_moment(moment: Timestamp | None) -> str | None:
    """Return a moment by RFC 3339, in UTC, to the microsecond; None stays None."""
    if moment is None:
        return None
    seconds, micros = divmod(moment, MICROS_PER_SECOND)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59.999999Z"  # beyond the calendar: never, for all who ask
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"
