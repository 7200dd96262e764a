"""Restores: making an archived object readable for a while."""

from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Seconds, Timestamp, Usd, format_moment

MOST_DAYS = 365
"""A restored copy is paid for as long as it stays: longer, the content should leave the archive."""

GIGABYTE = 10**9


class RestoreSpeed(StrEnum):
    """How urgent a restore is; what that means in hours and dollars is the placement's to say."""

    BULK = "bulk"
    STANDARD = "standard"
    EXPEDITED = "expedited"


def parse_speed(text: str) -> RestoreSpeed:
    """Return the speed that `text` names. Raises `InvalidInputError`."""
    try:
        return RestoreSpeed(text)
    except ValueError as exc:
        raise InvalidInputError(f"there is no speed {text!r}; the speeds are {', '.join(RestoreSpeed)}") from exc


def check_days(days: int) -> int:
    """Return `days` if a restored copy may stay that long. Raises `InvalidInputError`."""
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInputError(f"a restored copy stays 1 to {MOST_DAYS} days, not {days}")
    return days


@dataclass(frozen=True, slots=True)
class RestoreTerms:
    """What a restore at one speed takes and costs."""

    delay: Seconds
    """How long it is expected to take."""
    usd_per_gb: Usd = Usd(0.0)
    usd_per_request: Usd = Usd(0.0)

    def cost(self, size: int) -> Usd:
        """Return what restoring an object of `size` bytes costs."""
        return Usd(self.usd_per_request + self.usd_per_gb * size / GIGABYTE)


class RestoreStage(StrEnum):
    """How far the restore of an object is."""

    ARCHIVED = "archived"
    """Not asked for, or over: the object cannot be read."""
    REQUESTED = "requested"
    """Asked for, on its way."""
    READABLE = "readable"
    """The object can be read until its copy expires."""


@dataclass(frozen=True, slots=True)
class StoreRestore:
    """What a store says of one object."""

    stage: RestoreStage
    readable_until: Timestamp | None = None
    """Of a readable object; None if the store does not say."""


@dataclass(frozen=True, slots=True)
class RestoreStatus:
    """What we know of the restore of one object."""

    stage: RestoreStage
    speed: RestoreSpeed | None = None
    days: int | None = None
    requested_at: Timestamp | None = None
    eta: Timestamp | None = None
    """When a requested object is expected to be readable."""
    readable_until: Timestamp | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the state as JSON-ready values: what HTTP and the command line show."""
        return {
            "state": self.stage.value,
            "speed": None if self.speed is None else self.speed.value,
            "days": self.days,
            "requested_at": format_moment(self.requested_at),
            "eta": format_moment(self.eta),
            "readable_until": format_moment(self.readable_until),
        }


ARCHIVED = RestoreStatus(RestoreStage.ARCHIVED)
