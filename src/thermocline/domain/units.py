"""Units as types, and their written forms (`256MiB`, `24h`)."""

import re
from datetime import UTC, datetime
from decimal import Decimal
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

LARGEST_SIZE = Bytes(2**63 - 1)
"""What databases and file systems count in."""
LONGEST_DURATION = Seconds(10_000 * 366 * 86400.0)
"""Longer than any calendar here goes on."""

_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,18})?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?", re.IGNORECASE)
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
    """Return the size that `text` writes, exactly: `1024`, `64KiB`, `1.5 GB`.

    Raises `ValueError` for anything else, and for what no disk holds (beyond 2**63 - 1 bytes).
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return _checked_size(text)
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}; write a number and a unit, such as 64KiB, 256MiB or 1GB")
    return _checked_size(round(Decimal(match[1]) * _SIZE_FACTORS[(match[2] or "b").lower()]))


def _checked_size(size: int) -> Bytes:
    if not 0 <= size <= LARGEST_SIZE:
        raise ValueError(f"a size is at least 0 and at most {LARGEST_SIZE} bytes, not {size}")
    return Bytes(size)


def parse_duration(text: str | float) -> Seconds:
    """Return the duration that `text` writes, to the microsecond: `90` (seconds), `250ms`, `24h`, `7d`.

    Raises `ValueError` for anything else, and for what no calendar holds.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return _checked_duration(text)
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"not a duration: {text!r}; write a number and a unit, such as 250ms, 90s, 5m, 24h or 7d")
    return _checked_duration(float(match[1]) * _DURATION_FACTORS[match[2] or "s"])


def _checked_duration(seconds: float) -> Seconds:
    if not 0 <= seconds <= LONGEST_DURATION:
        raise ValueError(f"a duration is at least 0 and at most {LONGEST_DURATION:g} seconds, not {seconds}")
    return Seconds(round(float(seconds), 6))


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
