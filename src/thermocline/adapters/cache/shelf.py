"""The values of one cache type in memory, what they count, and who is told of it.

A hit raises a slot of the value, and that is all. For whoever counts reads, the first hit after a collection is not
quiet: it takes the way of `meet`, which lists the value. So collecting costs what was hit, not what is held; and of a
value that goes, for whatever reason, the hits are told on the spot. Nothing is lost, nothing counted twice.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from typing import Final

from thermocline.adapters.cache.eviction import Evictable
from thermocline.domain.units import Bytes
from thermocline.ports.cache import CacheEntry, LevelCounts
from thermocline.ports.held import HeldValues, HitListener

NEVER: Final = -inf


class Value(Evictable):
    """A value, and the monotonic moments that bound its life."""

    __slots__ = (
        "dies_at", "entry", "expires_at", "fresh_until", "is_listed", "name", "payload", "quiet_until", "refresh_at",
        "shelf", "shown_until", "told",
    )  # fmt: skip

    def __init__(
        self,
        shelf: "Shelf",
        name: str,
        entry: CacheEntry,
        *,
        cost: int,
        dies_at: float,
        fresh_until: float,
        refresh_at: float,
        shown_until: float,
    ) -> None:
        super().__init__(hash((shelf.prefix, name)), cost)
        self.shelf = shelf
        self.name = name
        self.entry = entry
        self.payload = entry.payload
        self.expires_at = entry.expires_at
        self.dies_at = dies_at
        self.fresh_until = fresh_until
        self.refresh_at = refresh_at
        self.shown_until = min(shown_until, fresh_until)
        self.told = 0
        """Hits that were collected or told."""
        self.is_listed = False
        self.quiet_until = NEVER

    def quieten(self) -> None:
        """Note until when a hit has nothing to do but to be counted."""
        # The end of a content is a moment of the wall clock, to be compared at every hit.
        is_quiet = self.is_listed and self.expires_at is None
        self.quiet_until = min(self.shown_until, self.refresh_at) if is_quiet else NEVER


class Shelf(HeldValues):
    """Values of one cache type by name. Whoever puts values in and takes them out sees to bounds and order."""

    values: dict[str, Value]

    def __init__(self, prefix: str, meet: Callable[[Value], Value | None]) -> None:
        self.prefix = prefix
        """What comes before the name in a key."""
        self.values = {}
        self.misses = 0
        self.sets = 0
        self.evictions = 0
        self.expirations = 0
        self.rejected = 0
        self.bytes = 0
        self._meet = meet
        self._told = 0
        self._told_bytes = 0
        self._listed: dict[str, Value] = {}
        self._listener: HitListener | None = None

    def meet(self, name: str) -> Value | None:
        """Return the value if it may be shown now, after seeing to what is due; does not count."""
        value = self.values.get(name)
        return None if value is None else self._meet(value)

    def put(self, value: Value) -> None:
        """Take in a value whose name is free."""
        self.values[value.name] = value
        self.bytes += value.cost
        self.sets += 1

    def take(self, value: Value) -> None:
        """Let go of a value; its hits are told."""
        del self.values[value.name]
        self.bytes -= value.cost
        self._tell(value)

    def clear(self) -> None:
        """Let go of every value; their hits are told."""
        for value in tuple(self._listed.values()):
            self._tell(value)
        self.values.clear()
        self.bytes = 0

    def list_hit(self, value: Value) -> None:
        """Note that a value is being hit, for the first time since its hits were collected."""
        if not value.is_listed:
            value.is_listed = True
            value.quieten()
            self._listed[value.name] = value
            if self._listener is not None:
                self._listener.listed(len(self._listed))

    def listen(self, listener: HitListener) -> None:
        """Tell `listener` of hits from now on."""
        self._listener = listener

    @property
    def waiting(self) -> int:
        """How many values may have been hit since they were collected."""
        return len(self._listed)

    @property
    def uncollected(self) -> int:
        """How many hits no `collect` returned yet, and no listener was told."""
        return sum(value.hits - value.told for value in self._listed.values())

    def collect(self, limit: int) -> Sequence[tuple[str, int]]:
        """Return the hits since the last call, of at most `limit` values, those first that waited for longest."""
        listed = tuple(islice(self._listed.values(), limit))
        return [(value.name, hits) for value in listed if (hits := self._take_hits(value)) > 0]

    def forget_hits(self, name: str) -> int:
        """Count the hits of a value since they were collected as collected; how many."""
        value = self._listed.get(name)
        return 0 if value is None else self._take_hits(value)

    def counts(self) -> LevelCounts:
        """Return what became of the values of this type."""
        return LevelCounts(
            hits=self._told + self.uncollected,
            hit_bytes=Bytes(self._told_bytes + self._uncollected_bytes()),
            misses=self.misses,
            sets=self.sets,
            evictions=self.evictions,
            expirations=self.expirations,
            rejected=self.rejected,
            count=len(self.values),
            bytes=Bytes(self.bytes),
        )

    def _tell(self, value: Value) -> None:
        if value.is_listed and (hits := self._take_hits(value)) > 0 and self._listener is not None:
            self._listener.gone(value.name, hits)

    def _take_hits(self, value: Value) -> int:
        del self._listed[value.name]
        value.is_listed = False
        value.quieten()
        hits = value.hits - value.told
        value.told = value.hits
        self._told += hits
        self._told_bytes += hits * len(value.payload)
        return hits

    def _uncollected_bytes(self) -> int:
        return sum((value.hits - value.told) * len(value.payload) for value in self._listed.values())
