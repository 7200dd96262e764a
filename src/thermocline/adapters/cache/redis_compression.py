"""Payloads are kept small in Redis where that pays; what comes back is never larger than was promised.

Measured in decision 28. Whoever can write to Redis can write any length into a frame: so nothing is inflated unless the
length that its zstd stream tells, the length that our frame tells, and what was received fit one another.
"""

import threading
from typing import Final

import zstandard

from thermocline.domain.units import Bytes

LEVEL: Final = 1
"""Level 3 takes 1.0 to 1.5 times as long for 1 to 10% less; level 6 takes 4 times as long (decision 28)."""
SMALLEST: Final = Bytes(1024)
"""From here on JSON, HTML, text and code shrink to about half, and inflating takes a tenth of a hit."""
LARGEST: Final = Bytes(64 * 2**20)
"""Nothing larger is compressed, so nothing is ever inflated beyond this, whatever a frame says."""
MOST_TIMES: Final = 250
"""What shrinks further is kept as it is: so nobody makes us allocate more than so many times what was received."""
WORTH_IT: Final = 0.875
"""What does not shrink to this share is kept as it is."""
SAMPLE_FROM: Final = Bytes(16 * 1024)
_SAMPLE: Final = 2048
"""Bytes from the second and from the third quarter: beginnings are headers, and shrink where the rest does not."""


class InflationError(ValueError):
    """These are not the bytes that were promised."""


class _PerThread(threading.local):
    """Compressors remember what they are about, so no two threads share one; making one takes longer than a use."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_mine = _PerThread()


def shrink(payload: bytes) -> bytes | None:
    """Return the payload compressed, or None where that is not worth it."""
    size = len(payload)
    if not SMALLEST <= size <= LARGEST or not _seems_to_shrink(payload):
        return None
    packed = _mine.compressor.compress(payload)
    return packed if size / MOST_TIMES <= len(packed) <= size * WORTH_IT else None


def inflate(packed: bytes | memoryview, size: int) -> bytes:
    """Return the `size` bytes that were compressed. Raises `InflationError`, before it allocates them if it can."""
    if not SMALLEST <= size <= min(LARGEST, len(packed) * MOST_TIMES):
        raise InflationError
    try:
        if zstandard.frame_content_size(packed) != size:
            raise InflationError
        payload = _mine.decompressor.decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise InflationError from exc
    if len(payload) != size:
        raise InflationError
    return payload


def _seems_to_shrink(payload: bytes) -> bool:
    size = len(payload)
    if size < SAMPLE_FROM:
        return True
    sample = payload[size // 4 : size // 4 + _SAMPLE] + payload[size * 5 // 8 : size * 5 // 8 + _SAMPLE]
    return len(_mine.compressor.compress(sample)) <= len(sample) * WORTH_IT
