"""Transferring a body to a fresh key and committing it: steps 1 to 3 of writing (`services.writing`)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog

from thermocline.domain.content import ALWAYS, Condition, ObjectAttributes, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.digests import CHUNK_BYTES, Buffer, ContentDigest
from thermocline.domain.errors import (
    ContentTooLargeError,
    DigestMismatchError,
    InvalidInputError,
    OutOfSpaceError,
    StorageError,
    TruncatedBodyError,
    UnavailableError,
)
from thermocline.domain.keys import TOKEN_ENTROPY_BYTES, ObjectKey, new_token
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp, later
from thermocline.domain.work import Grace
from thermocline.ports.clock import Clock
from thermocline.ports.intents import Intents
from thermocline.ports.object_store import NewObject, Upload
from thermocline.ports.records import Committed, Records, Write
from thermocline.services.intent_keeping import HeldIntent, IntentKeeper
from thermocline.services.placements import Placement, Placements
from thermocline.services.verifying import OFFLOAD_BYTES

log = structlog.get_logger(__name__)

EVICT_DELAY = Seconds(2.0)
"""Outbox rows of a commit become claimable this late, so that workers don't race the writer's own eviction."""
CLEANUP_LEASE = Seconds(60.0)

Body: TypeAlias = Buffer | AsyncIterator[Buffer]


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Everything about a write but its bytes."""

    content_id: ContentId
    tier: StorageTier
    headers: StoredHeaders = field(default_factory=StoredHeaders)
    metadata: Mapping[str, Any] | None = None
    visibility: Visibility = Visibility.PRIVATE
    expires_at: Timestamp | None = None
    condition: Condition = ALWAYS
    expected_size: Bytes | None = None
    """How many bytes must come."""
    expected_sha256: bytes | None = None
    """The digest they must have."""


@dataclass(frozen=True, slots=True)
class TransferParts:
    """What every transfer works with."""

    records: Records
    intents: Intents
    keeper: IntentKeeper
    placements: Placements
    clock: Clock
    grace: Grace
    max_size: Bytes
    entropy: Callable[[int], bytes]

    def check_size(self, size: int) -> None:
        """Raise `ContentTooLargeError` if `size` is above the limit."""
        if size > self.max_size:
            raise ContentTooLargeError(
                f"the content has more than {self.max_size} bytes; [limits] max_content_size sets this limit"
            )


class Gathering:
    """Regroups a body into parts of exactly `part_size`, the last one shorter."""

    def __init__(self, pieces: AsyncIterator[Buffer], part_size: int) -> None:
        self._pieces = pieces
        self._part_size = part_size
        self._rest: Buffer = b""
        self.ended = False
        """Whether the part returned last was the last one."""

    async def next_part(self) -> Buffer:
        """Return the next part; empty only if the body has no (more) bytes."""
        if len(self._rest) > self._part_size:
            return self._cut(self._rest)
        part: Buffer = self._rest
        self._rest = b""
        async for piece in self._pieces:
            if not part:
                part = piece
            else:
                if not isinstance(part, bytearray):
                    part = bytearray(part)
                part += piece
            # One byte more than a part tells that this part is not the last.
            if len(part) > self._part_size:
                return self._cut(part)
        self.ended = True
        return part

    def _cut(self, gathered: Buffer) -> Buffer:
        view = memoryview(gathered)
        self._rest = view[self._part_size :]
        return view[: self._part_size]


class Transfer:
    """One attempt to bring bytes to a fresh key and commit them."""

    def __init__(self, parts: TransferParts, request: WriteRequest, placement: Placement) -> None:
        self._parts = parts
        self._request = request
        self._placement = placement
        self._now = parts.clock.now()
        token = new_token(self._now, parts.entropy(TOKEN_ENTROPY_BYTES))
        self._key = ObjectKey(parts.placements.installation, placement.name, request.content_id, token)
        self._token = token
        self._digest: ContentDigest  # made by either way to send

    @property
    def key(self) -> ObjectKey:
        """The fresh key."""
        return self._key

    async def put_whole(self, data: Buffer, metadata: Mapping[str, Any]) -> Committed:
        """Store content that fits one request: everything about it is checked before anything is sent."""
        await self.examine(data)
        intent = await self._parts.keeper.declare(str(self._key), self._placement.name)
        try:
            await self.send(intent, data)
            return await self._commit(metadata)
        except BaseException as exc:
            await clean_up_after(exc, self._parts, self._key, self._placement, None)
            raise
        finally:
            self._parts.keeper.let_go(intent)

    async def examine(self, data: Buffer) -> None:
        """Compute the digests of the whole content, and check what was announced of it."""
        self._digest = ContentDigest(single_chunk=len(data) <= CHUNK_BYTES)
        if len(data) < OFFLOAD_BYTES:
            self._digest.update(data)
        else:
            await self._hash(data)
        self._check_complete()

    def as_object(self, intent: HeldIntent, data: Buffer) -> NewObject:
        """Return the whole content, which was examined, as it is to be stored now. Raises `IntentLostError`."""
        intent.check()
        return NewObject(intent.object_key, data, self._attributes(sha256=self._digest.whole()))

    async def send(self, intent: HeldIntent, data: Buffer) -> None:
        """Store the whole content, which was examined, under the key, unless its intent may be lost."""
        new = self.as_object(intent, data)
        await self._placement.store.put(new.key, new.data, new.attributes, storage_class=self._placement.storage_class)

    async def upload(self, first: Buffer, gathering: Gathering, metadata: Mapping[str, Any]) -> Committed:
        """Store content that arrives in parts: while one part is hashed and sent, the next arrives."""
        upload: Upload | None = None
        self._digest = ContentDigest()
        intent = await self._parts.keeper.declare(str(self._key), self._placement.name)
        try:
            intent.check()
            upload = await self._placement.store.begin_upload(
                str(self._key), self._attributes(sha256=None), storage_class=self._placement.storage_class
            )
            part = first
            while part:
                part = await self._overlapped(intent, upload, part, gathering)
            self._check_complete()
            intent.check()
            await upload.complete()
            return await self._commit(metadata)
        except BaseException as exc:
            await clean_up_after(exc, self._parts, self._key, self._placement, upload)
            raise
        finally:
            self._parts.keeper.let_go(intent)

    def _attributes(self, *, sha256: bytes | None) -> Mapping[str, str]:
        """Return what the object says of itself."""
        request = self._request
        return ObjectAttributes(
            request.content_id, self._token, request.headers.content_type, self._now, request.tier, sha256=sha256
        ).as_headers()

    async def _overlapped(self, intent: HeldIntent, upload: Upload, part: Buffer, gathering: Gathering) -> Buffer:
        """Hash and send `part` while the next one is gathered; return the next, empty at the end."""
        self._parts.check_size(self._digest.size + len(part))
        intent.check()
        sending = asyncio.ensure_future(self._send(upload, part))
        try:
            following = b"" if gathering.ended else await gathering.next_part()
        except BaseException:
            # The body failed: let the part in flight come to rest first, so that cleaning up is definite.
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()
            raise
        await sending
        return following

    async def _send(self, upload: Upload, part: Buffer) -> None:
        hashing = asyncio.ensure_future(self._hash(part))
        try:
            await upload.write(part)
        finally:
            await hashing

    async def _hash(self, piece: Buffer) -> None:
        if len(piece) < OFFLOAD_BYTES:
            self._digest.update(piece)
        else:
            await asyncio.to_thread(self._digest.update, piece)

    def _check_complete(self) -> None:
        request, size = self._request, self._digest.size
        self._parts.check_size(size)
        if request.expected_size is not None and size != request.expected_size:
            raise TruncatedBodyError(f"{request.expected_size} bytes were announced, {size} came; nothing was stored")
        if request.expected_sha256 is not None and self._digest.whole() != request.expected_sha256:
            raise DigestMismatchError(
                f"the bytes received have SHA-256 {self._digest.whole().hex()}, announced was "
                f"{request.expected_sha256.hex()}; nothing was stored"
            )

    def as_write(self, metadata: Mapping[str, Any]) -> Write:
        """Return what is to be committed of the object that was sent."""
        request = self._request
        return Write(
            content_id=request.content_id,
            placement=self._placement.name,
            object_key=str(self._key),
            digest=self._digest.whole(),
            chunk_digests=self._digest.chunks(),
            size=Bytes(self._digest.size),
            headers=request.headers,
            metadata=metadata,
            tier=request.tier,
            visibility=request.visibility,
            expires_at=request.expires_at,
            condition=request.condition,
        )

    async def _commit(self, metadata: Mapping[str, Any]) -> Committed:
        parts = self._parts
        now = parts.clock.now()
        return await parts.records.commit_write(
            self.as_write(metadata),
            now=now,
            delete_at=later(now, parts.grace.objects),
            evict_at=later(now, EVICT_DELAY),
        )


async def clean_up_after(
    exc: BaseException, parts: TransferParts, key: ObjectKey, placement: Placement, upload: Upload | None
) -> None:
    """Remove what a failed transfer left, where nothing can be in flight any more; else leave it to the cleaner."""
    unclear = isinstance(exc, UnavailableError) and not isinstance(exc, OutOfSpaceError)
    if unclear or not isinstance(exc, Exception):
        return
    try:
        if upload is not None:
            await upload.abort()
        claim = await parts.intents.withdraw(str(key), lease=CLEANUP_LEASE)
        if claim is not None and not await parts.placements.delete(placement, [claim.object_key]):
            await parts.intents.settle([claim], again_in=None)
    except StorageError as failure:
        log.warning("transfer_cleanup_left_to_cleaner", error=type(failure).__name__, message=str(failure))


async def pieces_of(body: Body, *, at_most: int | None) -> AsyncGenerator[bytes]:
    """Yield the body as pieces of any size that nobody changes any more: a producer may use its buffers again.

    Raises `InvalidInputError` for what is not bytes, `TruncatedBodyError` as soon as more than `at_most` have come.
    """
    came = 0
    async for piece in _raw_pieces(body):
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidInputError(f"a body consists of bytes, not of {type(piece).__name__}; nothing was stored")
        frozen = piece if isinstance(piece, bytes) else bytes(piece)
        came += len(frozen)
        if at_most is not None and came > at_most:
            raise TruncatedBodyError(f"{at_most} bytes were announced, more came; nothing was stored")
        yield frozen


async def _raw_pieces(body: object) -> AsyncGenerator[object]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, bytearray | memoryview):
        # In blocks: what can change must be copied, but not all of it at once.
        view = memoryview(body)
        flat = view if (view.ndim, view.format) == (1, "B") else memoryview(view.tobytes())
        for start in range(0, len(flat), CHUNK_BYTES):
            yield flat[start : start + CHUNK_BYTES]
    elif isinstance(body, AsyncIterable):
        async for piece in body:
            yield piece
    else:
        raise InvalidInputError(
            f"a body is bytes or an asynchronous iterator of bytes, not {type(body).__name__}; nothing was stored"
        )
