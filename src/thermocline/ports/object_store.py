"""Object stores: immutable bytes under keys that are never reused."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from thermocline.domain.digests import Buffer
from thermocline.domain.errors import StorageError
from thermocline.domain.restores import RestoreSpeed, StoreRestore
from thermocline.domain.units import Bytes, Timestamp

STANDARD = "STANDARD"
"""The storage class that every store has and from which objects are read at once."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a listing."""

    key: str
    size: Bytes
    """What it takes in the store: at least its bytes; `head` tells how many these are."""
    modified_at: Timestamp
    """By the store's own clock."""
    finished: bool = True
    """False for an upload that was begun and neither completed nor aborted."""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What is known of an object without reading its bytes."""

    size: Bytes
    modified_at: Timestamp
    attributes: Mapping[str, str]
    storage_class: str = STANDARD
    content_type: str | None = None
    """As the store knows it; ours say it in their attributes."""
    checksum: str | None = None
    """What the store itself reckoned of the bytes alone, if it did: of the same bytes always the same in one store."""
    etag: str | None = None
    """What the store calls this state of the object, if it does: another one has another."""


class Upload(Protocol):
    """An object on its way in. Nothing is readable under its key before `complete` has returned.

    Not for concurrent use. After any error only `abort` may be called.
    """

    @abstractmethod
    async def write(self, part: Buffer) -> None:
        """Send the next part. Every part but the last has exactly the store's `part_size`.

        It may still be on its way when this returns: `part` must not change before the upload is over.
        """

    @abstractmethod
    async def complete(self) -> None:
        """Make the object durable and readable, all or nothing. Idempotent is not promised."""

    @abstractmethod
    async def abort(self) -> None:
        """Leave nothing behind, as far as the store answers; safe to call twice and after `complete` (no effect)."""


class ObjectStore(Protocol):
    """Durable map of key to immutable bytes. What was stored is on stable storage before the call returns.

    Every method raises `UnavailableError` (retryable) if the store does not answer, `OutOfSpaceError` if it
    cannot take more, `UnsafePathError` if it found something that it did not put there. Keys are `str`
    without NUL, 1 to 1024 bytes of UTF-8 (`ValueError` otherwise); keys that differ in case, or are prefixes of
    one another, are different objects. Storage classes are named by 1 to 64 visible ASCII characters (`ValueError`
    otherwise). A call that raised or was cancelled may still take effect later.
    """

    part_size: Bytes
    """How large each part of an upload is; also the most that `put` should be given at once."""

    @abstractmethod
    async def put(
        self, key: str, data: Buffer, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> None:
        """Store `data` whole under a fresh key, with short ASCII attributes. All or nothing.

        The same bytes under the same key again succeed, so that a request can be repeated.
        """

    @abstractmethod
    async def begin_upload(self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD) -> Upload:
        """Begin an object that arrives in parts."""

    @abstractmethod
    async def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly the bytes `[start, end)`, unverified.

        Raises `ObjectMissingError`; `ObjectArchivedError` if its storage class must be restored first; `EOFError`
        if the object is shorter than `end`.
        """

    @abstractmethod
    def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield exactly the bytes `[start, end)` in order, unverified, in blocks of the store's choice.

        Raises as `fetch` does, possibly in the middle. Bounded memory. The iterator must be closed (`aclose`)
        if it is not read to its end.
        """

    @abstractmethod
    async def head(self, key: str) -> ObjectHead | None:
        """Return what is known of a finished object, or None if there is none."""

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads under `keys` (at most 1000); return those that failed and why.

        Whatever was restored of an object goes with it.
        Idempotent: a key that holds nothing is a success. A deleted unfinished upload never comes into being: its
        `complete` raises.
        """

    @abstractmethod
    def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield every object and unfinished upload whose key starts with `prefix`, in pages, in no promised order.

        What exists from before the first page to after the last is listed exactly once. Raises rather than
        ending early: a listing that ends without an error is whole.
        """

    @abstractmethod
    async def claim(self, installation: str) -> str:
        """Return the installation that owns this store, after making it `installation` if it has no owner. Atomic."""


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object to be stored whole: what `put` takes."""

    key: str
    data: Buffer
    attributes: Mapping[str, str]


@runtime_checkable
class PutsMany(Protocol):
    """The ability of a store to take many small objects for less than `put` costs one after the other."""

    @abstractmethod
    async def put_all(
        self, objects: Sequence[NewObject], *, storage_class: str = STANDARD
    ) -> Sequence[StorageError | None]:
        """Do for each object what `put` does; return for each, in the same order, None or what `put` would raise."""


@runtime_checkable
class Owned(Protocol):
    """The ability of a store to tell whose it is without being claimed."""

    @abstractmethod
    async def owner(self) -> str | None:
        """Return the installation that owns this store, or None. Changes nothing."""


@runtime_checkable
class Restorable(Protocol):
    """The ability of a store with archive classes: an object in one is readable only while it is restored."""

    @abstractmethod
    async def request_restore(self, key: str, *, speed: RestoreSpeed, days: int) -> None:
        """Ask the store to make the object readable for `days` days from its arrival on.

        One that is under way stays as it is, a readable one stays at least `days` days from now: both are successes.
        Raises `ObjectMissingError`, `ValueError` if the object's class needs no restore or has no such speed,
        `InvalidInputError` for days that no copy may stay.
        """

    @abstractmethod
    async def restore_state(self, key: str) -> StoreRestore:
        """Return how far the restore is, by the store's own word. Raises `ObjectMissingError`.

        Readable, without an end, is also what the store says of an object whose class needs no restore.
        """
