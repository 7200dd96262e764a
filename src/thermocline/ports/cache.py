"""Caches of contents and of other values, with leases so that nothing stale is ever gained."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import Seconds, Timestamp


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached value with all that a hit needs to answer a request, and to refuse one."""

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


class Cache(Protocol):
    """Lossy map of key to entry. A key holds one of: value, lease, tombstone, nothing; any may vanish early.

    Every method raises `UnavailableError` if the backend does not answer. Versions are those of the record.
    """

    @abstractmethod
    async def get(self, key: str) -> CacheEntry | None:
        """Return the value, or None if the key is absent, expired, a lease or a tombstone."""

    @abstractmethod
    async def lease(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Install a lease over nothing or over a tombstone; whether it was installed.

        Never over a value or another's lease; the same token renews its own.
        """

    @abstractmethod
    async def fill(self, key: str, token: str, entry: CacheEntry, *, ttl: Seconds) -> bool:
        """Store `entry` if the key still holds `token` and `entry` is not older than the lease's floor; whether so.

        The lease is used up either way. Raises `ValueError` unless `ttl > 0`.
        """

    @abstractmethod
    async def release(self, key: str, token: str) -> None:
        """Give up a lease without a fill, so that others need not wait for its end."""

    @abstractmethod
    async def tombstone(self, versions: Mapping[str, int], *, ttl: Seconds) -> None:
        """For each key: replace a value of that version or older, and any lease; a newer value stays."""

    @abstractmethod
    def match(self, pattern: str) -> AsyncIterator[Sequence[str]]:
        """Yield pages of the keys of values and leases that match a Redis glob.

        Keys that come or go meanwhile may be missed; keys of tombstones may be among them.
        """

    @abstractmethod
    async def clear(self) -> None:
        """Forget everything, leases too."""


class MemoryLevel(Cache, Protocol):
    """A cache inside this process: a hit costs no await."""

    @abstractmethod
    def peek(self, key: str) -> CacheEntry | None:
        """Return what `get` would, at once."""


@runtime_checkable
class AgingLevel(MemoryLevel, Protocol):
    """A memory level whose values must be confirmed from time to time: until then `get` and `peek` show nothing."""

    @abstractmethod
    def held(self, key: str) -> CacheEntry | None:
        """Return the value, confirmed or not."""

    @abstractmethod
    def confirm(self, key: str, entry: CacheEntry) -> bool:
        """Show this very value again for as long as a new one would be; whether it is still held."""


class SharedLevel(Cache, Protocol):
    """A cache that several processes share."""

    @abstractmethod
    async def renew(self, key: str, token: str, *, ttl: Seconds) -> bool:
        """Let a lease that still is `token`'s live for `ttl` from now; whether it was. Never installs one.

        `lease` would: over an absent key, after the record was read. Such a lease could let a stale fill in.
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
