"""The four tiers: how content is treated."""

from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.errors import InvalidInputError
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


def parse_tier(text: str) -> StorageTier:
    """Return the tier that `text` names. Raises `InvalidInputError`."""
    try:
        return StorageTier(text)
    except ValueError as exc:
        raise InvalidInputError(f"there is no tier {text!r}; the tiers are {', '.join(StorageTier)}") from exc
