"""An object store in this process's memory: for tests, and for trying Thermocline out. Nothing outlives the process."""

import hashlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from thermocline.adapters.objects.archive_classes import ArchiveClasses, RestoredCopy, after_request, state_of
from thermocline.adapters.objects.key_rules import check_class, check_range, encode_key
from thermocline.domain.digests import CHUNK_BYTES, Buffer
from thermocline.domain.errors import (
    IntentLostError,
    ObjectArchivedError,
    ObjectMissingError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore, check_days
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.ports.clock import Clock
from thermocline.ports.copies import CopiesWithin, nothing
from thermocline.ports.object_store import (
    STANDARD,
    NewObject,
    ObjectHead,
    ObjectInfo,
    ObjectStore,
    Owned,
    PutsMany,
    Restorable,
    Upload,
)
from thermocline.ports.ranges import ListsRanges

_PAGE = 1000
_NO_ARCHIVES: Mapping[str, Mapping[RestoreSpeed, Seconds]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified_at: Timestamp
    attributes: Mapping[str, str]
    storage_class: str = STANDARD
    archived: bool = False

    @property
    def etag(self) -> str:
        """What S3 calls an object that was put whole."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


class _Contents:
    """What the store holds, with its size accounted for; shared by the store and its uploads."""

    def __init__(self, clock: Clock, capacity: Bytes | None, archives: ArchiveClasses) -> None:
        self.archives = archives
        self.objects: dict[str, _Object] = {}
        self.uploads: dict[str, _MemoryUpload] = {}
        self.restores: dict[str, RestoredCopy] = {}
        self.used = 0
        self._clock = clock
        self._capacity = capacity

    def now(self) -> Timestamp:
        """Return the store's time."""
        return self._clock.now()

    def find(self, key: str) -> _Object:
        """Return the object. Raises `ObjectMissingError`."""
        found = self.objects.get(key)
        if found is None:
            raise ObjectMissingError(key)
        return found

    def restore_of(self, key: str) -> StoreRestore:
        """Return how far the restore is; an object that needs none is readable. Raises `ObjectMissingError`."""
        if not self.find(key).archived:
            return StoreRestore(RestoreStage.READABLE)
        return state_of(self.restores.get(key), self.now())

    def add(self, key: str, data: bytes, attributes: Mapping[str, str], storage_class: str) -> None:
        """Store an object; the same one again is accepted, so that a request can be repeated."""
        held = self.objects.get(key)
        if held is None:
            self.reserve(len(data))
            archived = storage_class in self.archives
            copied = MappingProxyType(dict(attributes))
            self.objects[key] = _Object(data, self.now(), copied, storage_class, archived)
        elif (held.data, held.attributes, held.storage_class) != (data, attributes, storage_class):
            raise UnsafePathError(f"object {key!r} exists with other bytes; object keys are never reused")

    def reserve(self, size: int) -> None:
        """Account for `size` more bytes. Raises `OutOfSpaceError`."""
        if self._capacity is not None and self.used + size > self._capacity:
            raise OutOfSpaceError(f"the memory store holds {self.used} of {self._capacity} bytes; delete something")
        self.used += size

    def remove(self, key: str) -> None:
        """Forget the object, its restore and the unfinished upload of this key."""
        self.restores.pop(key, None)
        found = self.objects.pop(key, None)
        if found is not None:
            self.used -= len(found.data)
        upload = self.uploads.get(key)
        if upload is not None:
            self.forget_upload(upload)

    def forget_upload(self, upload: "_MemoryUpload") -> None:
        """Forget an unfinished upload; without effect if it is not one any more."""
        if self.uploads.get(upload.key) is upload:
            del self.uploads[upload.key]
            self.used -= upload.size

    def info(self, key: str) -> ObjectInfo | None:
        """Return the line of a listing; None if the key holds nothing."""
        found = self.objects.get(key)
        if found is not None:
            return ObjectInfo(key, Bytes(len(found.data)), found.modified_at)
        upload = self.uploads.get(key)
        if upload is not None:
            return ObjectInfo(key, Bytes(upload.size), upload.begun_at, finished=False)
        return None


class MemoryObjectStore(ObjectStore, PutsMany, Owned, Restorable, ListsRanges):
    """Keeps the port's promises except durability; `capacity` bounds the bytes of finished objects and uploads.

    `archive_classes` are the storage classes that need a restore, with how long each speed takes by `clock`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        part_size: Bytes = Bytes(4 * 1024 * 1024),
        capacity: Bytes | None = None,
        archive_classes: Mapping[str, Mapping[RestoreSpeed, Seconds]] = _NO_ARCHIVES,
    ) -> None:
        self.part_size = part_size
        self._contents = _Contents(clock, capacity, ArchiveClasses(archive_classes))
        self._owner: str | None = None

    @property
    def used(self) -> Bytes:
        """Bytes held now, finished or not."""
        return Bytes(self._contents.used)

    async def put(
        self, key: str, data: Buffer, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> None:
        """Store a copy of `data`. Raises `UnsafePathError` if the key holds something else already."""
        encode_key(key)
        check_class(storage_class)
        self._contents.add(key, bytes(data), attributes, storage_class)

    async def put_all(
        self, objects: Sequence[NewObject], *, storage_class: str = STANDARD
    ) -> Sequence[StorageError | None]:
        """Store a copy of each object."""
        answers: list[StorageError | None] = []
        for each in objects:
            try:
                await self.put(each.key, each.data, each.attributes, storage_class=storage_class)
            except StorageError as exc:
                answers.append(exc)
            else:
                answers.append(None)
        return answers

    async def begin_upload(self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD) -> Upload:
        """Begin an object that arrives in parts. Raises `UnavailableError` while the key has another upload."""
        encode_key(key)
        check_class(storage_class)
        if key in self._contents.uploads:
            raise UnavailableError(f"an upload of {key!r} is already under way; delete the key to abort it")
        upload = _MemoryUpload(self._contents, key, dict(attributes), storage_class, self.part_size)
        self._contents.uploads[key] = upload
        return upload

    async def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly the bytes `[start, end)`."""
        self._check_readable(key, start, end)
        return self._slice(key, start, end)

    async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield the bytes `[start, end)` in blocks that end at multiples of 4 MiB."""
        self._check_readable(key, start, end)
        self._slice(key, start, start)
        while start < end:
            stop = min((start // CHUNK_BYTES + 1) * CHUNK_BYTES, end)
            yield self._slice(key, start, stop)
            start = stop

    async def head(self, key: str) -> ObjectHead | None:
        """Return what is known of a finished object, or None."""
        encode_key(key)
        found = self._contents.objects.get(key)
        if found is None:
            return None
        return ObjectHead(
            Bytes(len(found.data)), found.modified_at, found.attributes, found.storage_class, etag=found.etag
        )

    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads; never fails."""
        for key in keys:
            encode_key(key)
            self._contents.remove(key)
        return {}

    async def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield what existed at the first step and still exists, in pages of 1000."""
        keys = [key for key in {**self._contents.uploads, **self._contents.objects} if key.startswith(prefix)]
        for first in range(0, len(keys), _PAGE):
            page = [info for key in keys[first : first + _PAGE] if (info := self._contents.info(key)) is not None]
            if page:
                yield page

    async def list_range(self, prefix: str, *, after: str, until: str | None) -> AsyncGenerator[Sequence[ObjectInfo]]:
        """Yield, in order, what exists of the range when its page comes."""
        contents = self._contents
        while True:
            keys = heapq.nsmallest(
                _PAGE,
                (
                    key
                    for key in {**contents.uploads, **contents.objects}
                    if key.startswith(prefix) and key > after and (until is None or key <= until)
                ),
            )
            page = [info for key in keys if (info := contents.info(key)) is not None]
            if not page:
                return
            yield page
            after = page[-1].key

    async def claim(self, installation: str) -> str:
        """Return the owner of this store, after making it `installation` if it has none."""
        self._owner = self._owner or installation
        return self._owner

    async def owner(self) -> str | None:
        """Return the owner of this store, or None."""
        return self._owner

    async def request_restore(self, key: str, *, speed: RestoreSpeed, days: int) -> None:
        """Let an archived object become readable after the delay of its class."""
        encode_key(key)
        check_days(days)
        contents = self._contents
        found = contents.find(key)
        if not found.archived:
            raise ValueError(f"object {key!r} needs no restore; its class is {found.storage_class}")
        delay = contents.archives.delay(found.storage_class, speed)
        contents.restores[key] = after_request(contents.restores.get(key), contents.now(), delay=delay, days=days)

    async def restore_state(self, key: str) -> StoreRestore:
        """Return how far the restore is, by the store's clock."""
        encode_key(key)
        return self._contents.restore_of(key)

    def _check_readable(self, key: str, start: int, end: int) -> None:
        encode_key(key)
        check_range(start, end)
        if self._contents.restore_of(key).stage is not RestoreStage.READABLE:
            raise ObjectArchivedError(key)

    def _slice(self, key: str, start: int, end: int) -> bytes:
        data = self._contents.find(key).data
        if end > len(data):
            raise EOFError(f"object {key!r} has {len(data)} bytes, not {end}")
        return data[start:end]


class _MemoryUpload(Upload):
    """Parts in a list until they are joined; checks the rule of equal parts that R2 has."""

    def __init__(
        self, contents: _Contents, key: str, attributes: Mapping[str, str], storage_class: str, part_size: int
    ) -> None:
        self.key = key
        self.size = 0
        self.begun_at = contents.now()
        self._contents = contents
        self._attributes = attributes
        self._storage_class = storage_class
        self._part_size = part_size
        self._parts: list[bytes] = []

    async def write(self, part: Buffer) -> None:
        """Add a copy of `part`. Raises `ValueError` for a part that is too long or follows a short one."""
        self._check_open()
        if len(part) > self._part_size or (self._parts and len(self._parts[-1]) < self._part_size):
            raise ValueError(f"every part but the last has exactly {self._part_size} bytes, not {len(part)}")
        self._contents.reserve(len(part))
        self.size += len(part)
        self._parts.append(bytes(part))

    async def complete(self) -> None:
        """Make the object readable."""
        self._check_open()
        self._contents.forget_upload(self)
        self._contents.add(self.key, b"".join(self._parts), self._attributes, self._storage_class)

    async def abort(self) -> None:
        """Forget the parts; without effect after `complete`."""
        self._contents.forget_upload(self)

    def _check_open(self) -> None:
        if self._contents.uploads.get(self.key) is not self:
            raise IntentLostError(f"the unfinished upload of {self.key!r} was deleted; nothing was stored; try again")


class CopyingMemoryObjectStore(MemoryObjectStore, CopiesWithin):
    """A memory store that copies by itself, as S3 does; the other one has its objects streamed."""

    async def copy(
        self,
        source: str,
        target: str,
        attributes: Mapping[str, str],
        *,
        size: Bytes | None = None,
        storage_class: str = STANDARD,
        check: Callable[[], None] = nothing,
    ) -> None:
        """Copy an object."""
        del size
        encode_key(source)
        encode_key(target)
        check_class(storage_class)
        self._check_readable(source, 0, 0)
        check()
        self._contents.add(target, self._contents.find(source).data, attributes, storage_class)

    async def read_up_to(self, key: str, most: Bytes) -> bytes:
        """Return the object's first bytes."""
        head = await self.head(key)
        return await self.fetch(key, 0, min(most, max(head.size if head else 1, 1)))

    async def head_and_fetch(self, key: str, start: int, end: int) -> tuple[ObjectHead, bytes]:
        """Return what is known of an object, and some of its bytes."""
        data = await self.fetch(key, start, end)
        head = await self.head(key)
        if head is None:
            raise ObjectMissingError(key)
        return head, data
