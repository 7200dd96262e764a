"""Elections: periodic work is done by one process at a time."""

from abc import abstractmethod
from typing import Protocol

from thermocline.domain.units import Seconds


class Elections(Protocol):
    """Leases by name on the database's clock."""

    @abstractmethod
    async def win(self, name: str, holder: str, *, lease: Seconds) -> bool:
        """Take or extend the lease `name` for `holder`; False while another holds it."""

    @abstractmethod
    async def resign(self, name: str, holder: str) -> None:
        """Give the lease back early. Without effect if another holds it."""
