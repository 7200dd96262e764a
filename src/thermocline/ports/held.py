"""Values in memory as hits meet them: without await, without a call, each counting its own hits.

A hit is: look the value up; if the monotonic clock has not reached its `quiet_until`, raise its `hits` and use it, else
`meet` it first. All of that without an await in between. The one count serves both what the cache gives up and how warm
a content is.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from thermocline.ports.cache import CacheEntry, MemoryLevel


class HeldValue(Protocol):
    """A value in memory."""

    payload: bytes
    entry: CacheEntry
    quiet_until: float
    """Until then (monotonic) it may be shown, and nothing else is to be done. Never long for content that ends."""
    hits: int
    """Raised by whoever shows it."""


class HitListener(Protocol):
    """Who is told of hits. Neither method may raise, or call the cache."""

    @abstractmethod
    def gone(self, name: str, hits: int) -> None:
        """Take in the hits, not collected yet, of a value that went."""

    @abstractmethod
    def listed(self, names: int) -> None:
        """Take in how many values wait for being collected."""


class HeldValues(Protocol):
    """The values of one cache type in memory, by what follows the colon in their keys."""

    values: Mapping[str, HeldValue]
    """What is held, whether it may be shown or not; always the same object."""
    misses: int
    """Raised by whoever found nothing to show."""

    @abstractmethod
    def meet(self, name: str) -> HeldValue | None:
        """Return the value if it may be shown now, after seeing to what is due; does not count."""

    @abstractmethod
    def listen(self, listener: HitListener) -> None:
        """Tell `listener` of hits from now on; one listener at most."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many values may have been hit since they were collected."""

    @property
    @abstractmethod
    def uncollected(self) -> int:
        """How many hits no `collect` returned yet, and no listener was told."""

    @abstractmethod
    def collect(self, limit: int) -> Sequence[tuple[str, int]]:
        """Return the hits since the last call, of at most `limit` values; each hit is returned or told once."""

    @abstractmethod
    def forget_hits(self, name: str) -> int:
        """Count the hits of a value since they were collected as collected; how many."""


class HotLevel(MemoryLevel, Protocol):
    """A memory level whose hits need no call."""

    @abstractmethod
    def held_values(self, cache_type: str) -> HeldValues:
        """Return the values of one cache type, always the same object. To be asked before the type is used."""
