"""An object store in a bucket of S3: Cloudflare R2, AWS, Ceph, and servers that speak as they do.

The clients and their bounds are in `s3_clients`, what vendors differ in in `s3_dialects`, errors in `s3_errors`,
uploads in `s3_uploads`, listing and deleting in `s3_listing`, restores in `s3_restores`, copies in `s3_copies`.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import obstore

from thermocline.adapters.objects.archive_classes import ArchiveClasses
from thermocline.adapters.objects.key_rules import check_class, check_range
from thermocline.adapters.objects.s3_attributes import as_metadata, from_metadata
from thermocline.adapters.objects.s3_clients import Refused, S3Clients, S3Limits, S3Location
from thermocline.adapters.objects.s3_copies import AT_ONCE, S3Copies
from thermocline.adapters.objects.s3_keys import MARKER, stored_key
from thermocline.adapters.objects.s3_listing import S3Listing, whole_second
from thermocline.adapters.objects.s3_opening import open_clients
from thermocline.adapters.objects.s3_presigns import S3Presigns
from thermocline.adapters.objects.s3_ranges import S3Ranges
from thermocline.adapters.objects.s3_restores import S3Restores
from thermocline.adapters.objects.s3_uploads import S3Upload
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import ObjectArchivedError, ObjectMissingError, StorageError, UnsafePathError
from thermocline.domain.restores import RestoreSpeed, StoreRestore
from thermocline.domain.units import Bytes, Seconds
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
from thermocline.ports.presigns import Presigns
from thermocline.ports.ranges import ListsRanges

PART_SIZE: Final = Bytes(8 * 2**20)
"""A part of an upload; 10,000 of them, 80 GiB, are the largest object. Larger ones take more memory each."""
_NO_ARCHIVES: Final[Mapping[str, Mapping[RestoreSpeed, Seconds]]] = MappingProxyType({})
_BLOCK: Final = 1024 * 1024
_PUTS_AT_ONCE: Final = 32
_GONE: Final = frozenset({"404"})
_NONE: Final = frozenset({"NoSuchKey", "404"})
_TAKEN: Final = frozenset({"PreconditionFailed", "412"})
_CLAIM_ATTEMPTS: Final = 5
_CLAIM_SETTLES: Final = Seconds(2.0)
"""How long a claim waits before it looks who won, where the store may not know conditions: longer than a request of
another, who looked before we wrote, is on its way."""


class S3ObjectStore(ObjectStore, Owned, Restorable, PutsMany, CopiesWithin, Presigns, ListsRanges):
    """Objects in a bucket, under their keys, with their attributes as user metadata.

    `put` never replaces an object where the store takes conditions on it: the same bytes under the same key succeed,
    other bytes raise `UnsafePathError`. What is sent carries a digest that the store compares with what arrived.
    """

    def __init__(
        self, clients: S3Clients, *, archives: ArchiveClasses, part_size: Bytes, largest_copy: Bytes | None
    ) -> None:
        self.part_size = part_size
        self._clients = clients
        self._listing = S3Listing(clients)
        self._ranges = S3Ranges(clients)
        self._restores = S3Restores(clients, archives)
        self._presigns = S3Presigns(clients, part_size)
        self._copies = S3Copies(
            clients, part_size=part_size, largest=min(largest_copy or AT_ONCE, clients.dialect.largest_copy)
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        location: S3Location,
        *,
        limits: S3Limits | None = None,
        archive_classes: Mapping[str, Mapping[RestoreSpeed, Seconds]] = _NO_ARCHIVES,
        part_size: Bytes = PART_SIZE,
        largest_copy: Bytes | None = None,
    ) -> "AsyncIterator[S3ObjectStore]":
        """Open the store for the length of the block; sends nothing. Raises `ConfigurationError`.

        `archive_classes` need a restore besides those of the dialect, and say which speeds there are.
        `largest_copy`: what is copied in one request, larger objects part by part; 256 MiB if not given.
        """
        async with open_clients(location, limits or S3Limits()) as clients:
            yield cls(clients, archives=ArchiveClasses(archive_classes), part_size=part_size, largest_copy=largest_copy)

    async def put(
        self, key: str, data: Buffer, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> None:
        """Store `data` whole, in one request, which is signed together with their SHA-256."""
        stored = stored_key(key)
        check_class(storage_class)
        metadata = as_metadata(attributes, most=self._clients.dialect.most_metadata)
        described = {**metadata, "Storage-Class": storage_class}
        if content_type := attributes.get("type"):
            described["Content-Type"] = content_type
        mode: Any = "create" if self._clients.dialect.puts_if_absent else "overwrite"
        try:
            await self._clients.write(
                f"storing {key!r}",
                key,
                lambda: obstore.put_async(
                    self._clients.objects,
                    stored,
                    data if isinstance(data, bytes) else bytes(data),
                    attributes=described,
                    mode=mode,
                    use_multipart=False,
                ),
            )
        except Refused as exc:
            head = await self._head(key)
            if head is None:
                raise StorageError(f"the key {key!r} was deleted while it was stored; try again") from exc
            same = head["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
            alike = from_metadata(head["Metadata"]) == dict(attributes)
            if not (same and alike and (head.get("StorageClass") or STANDARD) == storage_class):
                raise UnsafePathError(f"the key {key!r} holds another object already; it was not replaced") from exc

    async def put_all(
        self, objects: Sequence[NewObject], *, storage_class: str = STANDARD
    ) -> Sequence[StorageError | None]:
        """Store each object, 32 at once."""

        async def one(each: NewObject) -> StorageError | None:
            try:
                await self.put(each.key, each.data, each.attributes, storage_class=storage_class)
            except StorageError as exc:
                return exc
            return None

        answers: list[StorageError | None] = []
        for first in range(0, len(objects), _PUTS_AT_ONCE):
            answers += await asyncio.gather(*(one(each) for each in objects[first : first + _PUTS_AT_ONCE]))
        return answers

    async def begin_upload(self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD) -> Upload:
        """Begin a multipart upload."""
        upload_id = await self.begin_direct_upload(key, attributes, storage_class=storage_class)
        return S3Upload(self._clients, key, stored_key(key), upload_id, self.part_size)

    async def begin_direct_upload(
        self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> str:
        """Begin a multipart upload; return its id."""
        stored = stored_key(key)
        check_class(storage_class)
        metadata = as_metadata(attributes, most=self._clients.dialect.most_metadata)
        typed: dict[str, Any] = {"ContentType": attributes["type"]} if attributes.get("type") else {}
        answer = await self._clients.call(
            f"beginning to store {key!r}", key, "create_multipart_upload",
            Key=stored, Metadata=metadata, StorageClass=storage_class, **typed,
        )  # fmt: skip
        upload_id: str = answer["UploadId"]
        return upload_id

    async def part_urls(self, key: str, upload_id: str, *, count: int, lives: Seconds) -> list[str]:
        """Return a presigned URL for each part."""
        return await self._presigns.part_urls(key, upload_id, count=count, lives=lives)

    async def complete_direct_upload(self, key: str, upload_id: str, *, sizes: list[Bytes]) -> None:
        """Complete an upload whose parts others sent, after asking the store which came."""
        await self._presigns.complete(key, upload_id, sizes)

    async def download_url(self, key: str, *, lives: Seconds, content_type: str | None = None) -> str:
        """Return a presigned URL to read the object."""
        return await self._presigns.download_url(key, lives=lives, content_type=content_type)

    async def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return exactly the bytes `[start, end)`, in one request."""
        stored = stored_key(key)
        check_range(start, end)
        if start == end:
            await self._check_readable(key, end)
            return b""
        data = await self._clients.read(
            f"reading {key!r}",
            key,
            lambda: obstore.get_range_async(self._clients.objects, stored, start=start, end=end),
        )
        if len(data) != end - start:
            raise EOFError(f"object {key!r} has {start + len(data)} bytes, not {end}")
        return data.to_bytes()

    async def stream(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield exactly the bytes `[start, end)`, in one request, in blocks of about 1 MiB."""
        stored = stored_key(key)
        check_range(start, end)
        if start == end:
            await self._check_readable(key, end)
            return
        doing = f"reading {key!r}"
        async with self._clients.streaming(doing, key):
            found = await obstore.get_async(self._clients.objects, stored, options={"range": (start, end)})
            if found.range != (start, end):
                raise EOFError(f"object {key!r} has {found.meta['size']} bytes, not {end}")
            left = end - start
            async for block in found.stream(min_chunk_size=_BLOCK):
                left -= len(block)
                if left < 0:
                    raise StorageError(f"{self._clients.place.label} {doing}: more bytes came than exist")
                yield block
            if left:
                raise EOFError(f"object {key!r} ended {left} bytes early")

    async def head(self, key: str) -> ObjectHead | None:
        """Return what is known of a finished object, or None."""
        head = await self._head(key)
        return None if head is None else _as_head(head)

    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads: one request finds the uploads, one deletes a hundred objects."""
        return await self._listing.delete(keys)

    def list_pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield every object and unfinished upload whose key starts with `prefix`; times are whole seconds."""
        return self._listing.pages(prefix)

    def list_range(self, prefix: str, *, after: str, until: str | None) -> AsyncGenerator[Sequence[ObjectInfo]]:
        """Yield, in order, the objects and unfinished uploads of a range; times are whole seconds."""
        return self._ranges.pages(prefix, after=after, until=until)

    async def claim(self, installation: str) -> str:
        """Return the owner of the bucket, after making it `installation` if it has none.

        Atomic where the store takes conditions on a PutObject. Elsewhere the last of several writers wins, so each
        waits until the others' requests have landed, and then looks who it was.
        """
        for _ in range(_CLAIM_ATTEMPTS):
            owner = await self.owner()
            if owner is not None:
                return owner
            try:
                await self._clients.call(
                    "claiming the bucket", MARKER, "put_object",
                    hears=_TAKEN, Key=MARKER, Body=f"{installation}\n".encode(), IfNoneMatch="*",
                )  # fmt: skip
            except Refused:
                continue
            if not self._clients.dialect.puts_if_absent:
                await asyncio.sleep(_CLAIM_SETTLES)
        owner = await self.owner()
        if owner is None:
            raise StorageError(
                f"{self._clients.place.label} the store takes the marker of the installation, and does not show it"
            )
        return owner

    async def owner(self) -> str | None:
        """Return the owner of the bucket, or None."""
        try:
            raw = await self._clients.read_small("reading whose the bucket is", MARKER, hears=_NONE, Key=MARKER)
        except Refused:
            return None
        return raw.decode(errors="replace").strip() or None

    async def request_restore(self, key: str, *, speed: RestoreSpeed, days: int) -> None:
        """Ask the store to make the object readable for `days` days from its arrival on."""
        await self._restores.request(key, speed=speed, days=days)

    async def restore_state(self, key: str) -> StoreRestore:
        """Return how far the restore is, by the store's own word."""
        return await self._restores.state(key)

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
        """Copy an object inside the bucket: small ones in one request, larger ones part by part."""
        stored_key(target)
        check_class(storage_class)
        if size is not None and size <= self._copies.at_once:
            await self._copies.copy_at_once(source, target, attributes, storage_class, check)
            return
        head = await self._head(source)
        if head is None:
            raise ObjectMissingError(source)
        if self._restores.is_archived(head):
            raise ObjectArchivedError(source)
        await self._copies.copy(source, target, attributes, storage_class, head, check)

    async def read_up_to(self, key: str, most: Bytes) -> bytes:
        """Return the object's first bytes, in one request."""

        async def read() -> bytes:
            found = await obstore.get_async(self._clients.objects, stored_key(key), options={"range": (0, most)})
            return (await found.bytes_async()).to_bytes()

        return await self._clients.read(f"reading {key!r}", key, read)

    async def head_and_fetch(self, key: str, start: int, end: int) -> tuple[ObjectHead, bytes]:
        """Return what is known of an object and exactly the bytes `[start, end)`, in one request."""
        stored_key(key)
        check_range(start, end)
        head, data = await self._clients.head_and_read(f"reading {key!r}", key, start, end)
        if len(data) != end - start:
            raise EOFError(f"object {key!r} has {start + len(data)} bytes, not {end}")
        return _as_head(head), data

    async def _check_readable(self, key: str, end: int) -> None:
        """Raise what reading nothing at `end` would raise, if one could ask for that."""
        head = await self._head(key)
        if head is None:
            raise ObjectMissingError(key)
        if self._restores.is_archived(head):
            raise ObjectArchivedError(key)
        if end > head["ContentLength"]:
            raise EOFError(f"object {key!r} has {head['ContentLength']} bytes, not {end}")

    async def _head(self, key: str) -> Any:
        return await self._clients.head(f"looking at {key!r}", key)


def _as_head(answer: Mapping[str, Any]) -> ObjectHead:
    """Return what botocore's answer to a HeadObject tells."""
    return ObjectHead(
        Bytes(answer["ContentLength"]),
        whole_second(answer["LastModified"]),
        from_metadata(answer["Metadata"]),
        answer.get("StorageClass") or STANDARD,
        content_type=answer.get("ContentType"),
        checksum=plain_etag(answer),
        etag=str(answer.get("ETag", "")).strip('"') or None,
    )


def plain_etag(head: Mapping[str, Any]) -> str | None:
    """Return the ETag if it is the MD5 of the object's bytes: neither of several parts nor encrypted by KMS."""
    etag = str(head.get("ETag", "")).strip('"')
    encrypted = head.get("ServerSideEncryption") not in {None, "AES256"} or head.get("SSECustomerAlgorithm")
    return etag if len(etag) == 32 and "-" not in etag and not encrypted else None  # noqa: PLR2004
