"""How long a read of content waits on average in a tier, by how many of its reads caches can answer there."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.contents import Contents

CACHE_READ_MS: Final = 1.0
STORAGE_READ_MS: Final = 100.0
"""Until the first byte, within a region: "roughly 100-200 milliseconds for small objects" (AWS, "Best practices design
patterns: optimizing Amazon S3 performance", from memory, 2026-11)."""
MS_PER_SECOND: Final = 1000.0


def read_latencies(
    contents: Contents, tiers: NDArray[np.int8], first_byte_ms: NDArray[np.float64], *, is_cached: Sequence[bool]
) -> NDArray[np.float64]:
    """Return the mean milliseconds that a read of each content would take in these tiers.

    `first_byte_ms` is what the storage makes each wait besides. What caches answer is, for content of a tier that they
    keep, what they answered; for other content the reads of a day beyond its first.
    """
    known = np.array(is_cached)
    answered = _share(contents.storage_reads, contents.reads)
    possible = _share(contents.storage_days, contents.storage_reads)
    share = np.where(known[contents.tiers], answered, possible)
    share = np.where(known[tiers], share, 0.0)
    latencies: NDArray[np.float64] = share * CACHE_READ_MS + (1.0 - share) * (STORAGE_READ_MS + first_byte_ms)
    return latencies


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.clip(1.0 - part / np.maximum(whole, 1), 0.0, 1.0)
    return np.where(whole > 0, share, 0.0)
