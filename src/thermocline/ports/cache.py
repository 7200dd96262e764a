"""Caches of contents and of other values, with leases so that nothing stale is ever gained."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import Bytes, Seconds, Timestamp


class CacheEntry(NamedTuple):
    """A cached value with all that a hit needs to answer a request, and to refuse one.

    A tuple, because every hit of a shared cache makes one: a frozen dataclass takes four times as long.
    """

    payload: bytes
    version: int
    revision: int
    visibility: Visibility
    expires_at: Timestamp | None
    """When the content itself ends; no entry outlives it."""
    cached_at: Timestamp
    modified_at: Timestamp
    digest: bytes
    """SHA-256 of the payload."""
    headers: StoredHeaders
    tier: str
    fetch_cost: Seconds = Seconds(0.0)
    """How long it took to read it from storage."""
    fresh_until: Timestamp | None = None
    """From then on the value is kept only for when its source fails; None: it is fresh for as long as it is kept."""


class Cache(Protocol):
    """Lossy map of key to entry. A key holds one of: value, lease, tombstone, nothing; any may vanish early.

    A value that is being refreshed has the token of who does so beside it. Every method raises `UnavailableError` if
    the backend does not answer. Versions are those of the record.
    """

    @abstractmethod
    async def get(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, no longer fresh, a lease or a tombstone."""

    @abstractmethod
    async def stale(self, key: str) -> CacheEntry | None:
        """Return the value, fresh or not; None where there is none, or where its content has ended."""

    @abstractmethod
    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease over nothing, over a tombstone, or beside a value that is no longer fresh; whether so.

        Never over a fresh value or another's lease; the same token renews its own. Beside a value, that value's
        version is the floor.
        """

    @abstractmethod
    async def refresh(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Put a token beside a value, fresh or not, unless another's is there; whether so. Over nothing else."""

    @abstractmethod
    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than the floor; whether so.

        The token is used up either way. The value is kept for `ttl`, and is fresh until `entry.fresh_until`.
        Raises `ValueError` unless `ttl > 0`.
        """

    @abstractmethod
    async def release(self, key: str, token: str) -> None:
        """Give up a lease without a fill, so that others need not wait for its end.

        A value that it was beside stays.
        """

    @abstractmethod
    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays.

        With a value goes the token beside it.
        """

    @abstractmethod
    async def put(self, key: str, entry: CacheEntry, *, ttl: Seconds) -> int:
        """Store `entry` over whatever is there; return the version that it was given, 0 if it was refused for its size.

        That is the entry's own, or else the next above all that the key remembers. Only for values that no record
        stands behind: nothing tells a stale one.
        """


class Sweepable(Protocol):
    """What concerns many keys of a cache. Raises `UnavailableError` if the backend does not answer."""

    @abstractmethod
    def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of the keys of values and leases that match a Redis glob.

        Keys that come or go meanwhile may be missed; keys of tombstones may be among them, and some twice.
        """

    @abstractmethod
    async def evict(self, keys: Sequence[str], *, ttl: Seconds) -> int:
        """Replace the value or lease of each key by a tombstone of the version that it had; return how many values.

        A fill of that version or a later one is taken again, under a lease that is taken from now on. If some of the
        keys fail, the others were tried all the same.
        """

    @abstractmethod
    async def clear(self) -> None:
        """Forget everything, leases too."""


class SharedCounts(Protocol):
    """Counters that all processes add to, by name. Raises `UnavailableError` if the backend does not answer."""

    @abstractmethod
    async def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counters in one round trip. A call that is repeated after a failure may count twice."""

    @abstractmethod
    async def totals(self) -> Mapping[str, int]:
        """Return every counter."""


@dataclass(frozen=True, slots=True)
class LevelCounts:
    """What became of the values of one cache type in one level: since the start, and now."""

    hits: int = 0
    hit_bytes: Bytes = Bytes(0)
    """The payloads that hits found, each as often as it was hit."""
    misses: int = 0
    sets: int = 0
    evictions: int = 0
    """Live values that were given up for room."""
    expirations: int = 0
    rejected: int = 0
    """Values that were refused for their size."""
    count: int = 0
    """Values held now, those that expired unnoticed included."""
    bytes: Bytes = Bytes(0)
    """What they take."""


class MemoryLevel(Cache, Sweepable, Protocol):
    """A cache inside this process: a hit costs no await."""

    on_refresh_due: Callable[[str, CacheEntry], None] | None
    """Called with key and value by the first hit that comes near the value's `fresh_until`, before it returns it."""

    @abstractmethod
    def peek(self, key: str) -> CacheEntry | None:
        """Return what `get` would, at once."""

    @abstractmethod
    def counts(self) -> Mapping[str, LevelCounts]:
        """Return the counts by cache type: the part of a key before its first colon, "" if it has none."""


@runtime_checkable
class AgingLevel(MemoryLevel, Protocol):
    """A memory level whose values must be confirmed from time to time: until then `get` and `peek` show nothing."""

    @abstractmethod
    def held(self, key: str) -> CacheEntry | None:
        """Return the value, confirmed or not; None where it is no longer fresh."""

    @abstractmethod
    def confirm(self, key: str, entry: CacheEntry) -> bool:
        """Show this very value again for as long as a new one would be; whether it is still held."""


class SharedLevel(Cache, Sweepable, Protocol):
    """A cache that several processes share."""

    @abstractmethod
    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is `token`'s, or its place beside a value, live for `ttl` from now; whether it was.

        Never installs one. `lease` would: over an absent key, after the record was read. Such a lease could let a
        stale fill in.
        """

    @abstractmethod
    async def version_of(self, key: str) -> int | None:
        """Return the version of the value without reading its payload; None where `get` returns None."""


@runtime_checkable
class Partitioned(Protocol):
    """A cache whose keys lie on several servers, which fail one by one."""

    @abstractmethod
    def part_of(self, key: str) -> str:
        """Return the name of what serves this key now."""


@runtime_checkable
class Pressured(Protocol):
    """A cache that knows how full it is."""

    @abstractmethod
    def pressure(self) -> float:
        """Return the share of its memory that is in use, at once, as it was a moment ago; 0: no limit, or unknown."""
