"""Which tier content has among those that share a placement: the seed's rule on all reads, with hysteresis.

A tier is entered at a rate of reads and left at half of it, so that what is read about as often as the limit does not
go back and forth; and it is kept as long as somebody reads or writes the content within the tier's `access_frequency`.
Changing it copies nothing: it says how long caches keep content, and whether something is fetched ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.units import Timestamp
from thermocline.economics.contents import Contents
from thermocline.economics.policies.policy import Reason
from thermocline.economics.policies.velocity import (
    ARCHIVE,
    COLD,
    HOT,
    HOT_READS_A_DAY,
    WARM,
    WARM_READS_A_DAY,
    YEAR_DAYS,
)

HORIZON_DAYS: Final = 20
"""The decayed rate whose reads are on average as old as those of the seed's window of 30 days, within a week."""
HYSTERESIS: Final = 0.5


@dataclass(frozen=True, slots=True)
class TierWishes:
    """For each content the tier that it is to have, and the `Reason`."""

    tiers: NDArray[np.int8]
    reasons: NDArray[np.int8]


def wished_tiers(contents: Contents, frequencies: Sequence[float], now: Timestamp) -> TierWishes:
    """Return the tier of each content as if any were to be had.

    `frequencies` are, for each tier, the days of silence for which content keeps it. The colder of two limits is
    crossed upwards only by reads that reach it, downwards only by what fell below its half.
    """
    rate, silence = contents.rate(HORIZON_DAYS, now), contents.silences(now)
    is_young = contents.ages(now) < YEAR_DAYS
    # Youth keeps content WARM; it brings nothing up that somebody wanted COLD from the beginning.
    enters = [rate >= HOT_READS_A_DAY, rate >= WARM_READS_A_DAY, silence < frequencies[COLD]]
    keeps = [
        (rate >= HOT_READS_A_DAY * HYSTERESIS) | (silence < frequencies[HOT]),
        (rate >= WARM_READS_A_DAY * HYSTERESIS) | is_young | (silence < frequencies[WARM]),
        silence < frequencies[COLD],
    ]
    coldest = np.select(enters, [HOT, WARM, COLD], ARCHIVE)
    warmest = np.minimum(np.select(keeps, [HOT, WARM, COLD], ARCHIVE), coldest)
    tiers = np.clip(contents.tiers, warmest, coldest)
    reasons = np.select(
        [
            tiers == contents.tiers,
            tiers == HOT,
            (tiers == WARM) & (rate >= WARM_READS_A_DAY * HYSTERESIS),
            (tiers == WARM) & is_young,
            tiers == ARCHIVE,
        ],
        [Reason.STAYS, Reason.READ_DAILY, Reason.READ_LATELY, Reason.YOUNG, Reason.SILENT_YEAR],
        Reason.RARELY_READ,
    )
    return TierWishes(tiers.astype(np.int8), reasons.astype(np.int8))


def nearest(tiers: NDArray[np.int8], among: Sequence[int]) -> NDArray[np.int8]:
    """Return for each tier the coldest of `among` that is not colder than it, else the warmest there is."""
    known = np.array(among, np.int8)
    return known[np.maximum(np.searchsorted(known, tiers, side="right") - 1, 0)]
