"""Byte ranges (RFC 9110 §14): what a `Range` header selects of a representation. Pure."""

import re
from dataclasses import dataclass
from enum import Enum

MAX_RANGES = 50
"""A header with more is ignored: many small ranges are cheap to ask for and costly to answer (§14.2)."""
MAX_OVERLAPS = 2
"""A set in which more neighbours overlap is ignored: no honest client asks for the same bytes again and again."""

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_UNREACHABLE = 1 << 64
_LONGEST_NUMBER = 19


class Unselected(Enum):
    """Why no ranges were selected."""

    IGNORED = "ignored"
    """Answer as if there were no `Range` header."""
    UNSATISFIABLE = "unsatisfiable"
    """No range holds a byte of the representation: 416."""


@dataclass(frozen=True, slots=True)
class RangeSpec:
    """One range as written: `first-last`, `first-` (last is None) or `-suffix` (first is None)."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> tuple[int, int] | None:
        """Return the half-open range within `size` bytes, or None if no byte lies in it."""
        if self.first is None:
            start, end = max(size - (self.last or 0), 0), size
        else:
            start, end = self.first, size if self.last is None else min(self.last + 1, size)
        return (start, end) if start < end else None


def parse_range(text: str) -> list[RangeSpec] | None:
    """Return the ranges of a `Range` header; None if it is malformed or of another unit, and to be ignored."""
    unit, separator, ranges = text.partition("=")
    if unit.strip().lower() != "bytes" or not separator:
        return None
    specs: list[RangeSpec] = []
    for part in ranges.split(","):
        if not (spec := part.strip(" \t")):
            continue  # empty elements of a list are allowed (§5.6.1)
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = _number(match[1]), _number(match[2])
        if first is not None and last is not None and last < first:
            return None
        specs.append(RangeSpec(first, last))
    return specs or None


def select_ranges(text: str, size: int) -> tuple[tuple[int, int], ...] | Unselected:
    """Return the half-open ranges that `text` selects of `size` bytes, or why there are none.

    Ranges that overlap or touch are joined; the others keep the order in which they were asked for.
    """
    specs = parse_range(text)
    if specs is None or len(specs) > MAX_RANGES:
        return Unselected.IGNORED
    if size == 0 and all(spec.first is None and spec.last for spec in specs):
        # A suffix of nothing is all of it, which no Content-Range can say.
        return Unselected.IGNORED
    found = [resolved for spec in specs if (resolved := spec.resolve(size)) is not None]
    if not found:
        return Unselected.UNSATISFIABLE
    return _join(found)


def _join(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...] | Unselected:
    joined: list[tuple[int, int, int]] = []
    overlaps = 0
    for place, (start, end) in sorted(enumerate(ranges), key=lambda item: item[1]):
        if joined and start <= joined[-1][1]:
            earlier_start, earlier_end, earlier_place = joined[-1]
            overlaps += start < earlier_end
            joined[-1] = (earlier_start, max(end, earlier_end), min(place, earlier_place))
        else:
            joined.append((start, end, place))
    if overlaps > MAX_OVERLAPS:
        return Unselected.IGNORED
    return tuple((start, end) for start, end, _ in sorted(joined, key=lambda item: item[2]))


def _number(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits) <= _LONGEST_NUMBER else _UNREACHABLE
