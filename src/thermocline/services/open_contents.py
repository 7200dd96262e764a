"""Content open for reading: which of its bytes, and how they come."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from thermocline.domain.content import Record
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import InvalidRangeError


@dataclass(frozen=True, slots=True)
class OpenContent:
    """Content open for reading: its record and the bytes `[start, end)`, as an asynchronous iterator."""

    record: Record
    start: int
    end: int
    _chunks: AsyncIterator[Buffer]

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Yield the bytes in verified pieces of at most 4 MiB. Raises `IntegrityError` before a damaged one."""
        return self._chunks


def resolve_range(size: int, start: int, end: int | None) -> tuple[int, int]:
    """Return the half-open range cut to `size`, negative bounds counted from the end, as slices do.

    Raises `InvalidRangeError` if no byte lies in it; the whole of an empty content is a legal range.
    """
    first = start if start >= 0 else max(size + start, 0)
    last = size if end is None else min(end if end >= 0 else size + end, size)
    if first >= last and not (size == 0 and first == 0 and last <= 0):
        raise InvalidRangeError(f"no byte of the content ({size} bytes) lies in [{start}, {end})", size=size)
    return first, max(last, first)
