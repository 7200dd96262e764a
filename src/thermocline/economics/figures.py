"""A price and where it is from; a storage class and its prices."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Bytes, Seconds

DAYS_PER_MONTH: Final = 30.4375
"""The mean month of the Julian calendar."""
BYTES_PER_GB: Final = 1_000_000_000

FIGURES: Final[Mapping[str, str]] = {
    "rank": "place in the order in which lifecycle rules may move content down, 0 first",
    "storage": "USD per GB and month",
    "storage_after_30_days": "USD per GB and month after 30 days without a read, where the vendor watches",
    "storage_after_90_days": "USD per GB and month after 90 days without a read, where the vendor watches",
    "put": "USD per 1000 writes",
    "get": "USD per 1000 reads",
    "retrieval": "USD per GB read",
    "retrieval_bulk": "the same by the slow restore",
    "retrieval_expedited": "the same by the fast restore",
    "retrieval_request": "USD per 1000 restores",
    "retrieval_request_bulk": "the same by the slow restore",
    "retrieval_request_expedited": "the same by the fast restore",
    "transition": "USD per 1000 moves into the class; a write (`put`) where the vendor has no such fee",
    "minimum_days": "days that are paid even if the object leaves earlier",
    "minimum_bytes": "size that is paid even if the object is smaller",
    "overhead_bytes": "bytes of index that each object adds, at the price of the class",
    "overhead_bytes_standard": "bytes of index that each object adds, at `overhead_storage`",
    "overhead_storage": "USD per GB and month for them",
    "first_byte_seconds": "seconds until a read answers; 0 is milliseconds",
    "first_byte_seconds_bulk": "the same by the slow restore",
    "first_byte_seconds_expedited": "the same by the fast restore",
    "monitoring": "USD per 1000 objects and month for watching how they are read",
    "monitored_bytes": "size from which objects are watched; smaller ones stay at `storage`",
    "egress": "USD per GB that leaves the vendor's network",
}
"""Every figure that a class may have, and its unit. One that is missing counts as 0."""
WHOLE: Final = frozenset({"rank", "minimum_days", "minimum_bytes", "monitored_bytes"})
"""Figures that count something."""
LARGEST: Final = 1e12
LONGEST_MINIMUM_DAYS: Final = 3660


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a price list, in the unit of `FIGURES`."""

    value: float
    source: str
    """The vendor's page, or `override`."""
    date: str
    """When it was read there, as precisely as known; empty for overrides."""
    verified: bool
    """Whether it was read in a public page, rather than written down from memory."""


@dataclass(frozen=True, slots=True)
class ClassPrices:
    """A storage class, such as `s3.standard_ia`, and what it costs."""

    name: str
    figures: Mapping[str, Figure]

    def value(self, figure: str) -> float:
        """Return the figure, 0 where the class has none."""
        found = self.figures.get(figure)
        return 0.0 if found is None else found.value

    @property
    def vendor(self) -> str:
        """Return who sells it, such as `s3`: moves between vendors leave one's network."""
        return self.name.partition(".")[0]

    @property
    def minimum_days(self) -> int:
        """Return the days that are paid at least."""
        return int(self.value("minimum_days"))

    @property
    def minimum_bytes(self) -> Bytes:
        """Return the size that is paid at least."""
        return Bytes(int(self.value("minimum_bytes")))

    @property
    def first_byte(self) -> Seconds:
        """Return how long a read waits; 0 is milliseconds."""
        return Seconds(self.value("first_byte_seconds"))

    @property
    def is_watching(self) -> bool:
        """Whether the vendor itself makes it cheaper when nobody reads (Intelligent-Tiering)."""
        return "storage_after_30_days" in self.figures or "storage_after_90_days" in self.figures

    @property
    def transition(self) -> float:
        """Return USD per 1000 moves into it."""
        return self.value("transition") if "transition" in self.figures else self.value("put")


def checked(class_name: str, figure: str, value: object) -> float:
    """Return the value as a number. Raises `InvalidInputError` for an unknown figure and for what no price is."""
    where = f"{class_name} {figure}"
    if figure not in FIGURES:
        raise InvalidInputError(f"prices: {class_name} has no figure {figure!r}; there are {', '.join(FIGURES)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"prices: {where} is a number, not {value!r}")
    number = float(value)
    if math.isnan(number) or not 0 <= number <= LARGEST:
        raise InvalidInputError(f"prices: {where} is at least 0 and at most {LARGEST:g}, not {value}")
    if figure in WHOLE and not number.is_integer():
        raise InvalidInputError(f"prices: {where} is a whole number, not {value}")
    if figure == "minimum_days" and number > LONGEST_MINIMUM_DAYS:
        raise InvalidInputError(f"prices: {where} is at most {LONGEST_MINIMUM_DAYS}, not {value}")
    return number
