"""Claims of rows of work: leases on the database's clock, each with a token that no other claim has."""

import secrets
from typing import Final

from thermocline.domain.units import MICROS_PER_SECOND, Seconds

_TOKEN_BYTES: Final = 16
NO_LEASE: Final = 0
"""As `lease_until`: a moment that has passed."""


def new_lease_token() -> str:
    """Return a token that was never used."""
    return secrets.token_hex(_TOKEN_BYTES)


def micros(duration: Seconds) -> int:
    """Return a duration in the unit of the database's clock."""
    return round(duration * MICROS_PER_SECOND)
