"""The four tiers: how content is treated."""

from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.units import Seconds


class StorageTier(StrEnum):
    """How content is treated: its cache lifetime, prefetching, and where it is placed."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class TierRules:
    """What a tier means here: several tiers may share one placement."""

    placement: str
    cache_ttl: Seconds
    """Longest life in a cache; 0 means never cached."""
    prefetch: bool
