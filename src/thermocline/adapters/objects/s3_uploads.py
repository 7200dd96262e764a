"""Objects that arrive in parts.

Begin -> parts, of which two are on their way while the next is gathered -> complete. The parts go over presigned URLs,
each with its MD5, which the store compares with what arrived. Completing is all or nothing. Its answer may be lost:
then the object's own presence tells, because nobody else completes an upload of this key.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from thermocline.adapters.objects.s3_clients import Refused, S3Clients
from thermocline.domain.digests import Buffer
from thermocline.domain.errors import IntentLostError, StorageError, UnsafePathError
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import Upload

IN_FLIGHT: Final = 2
"""Parts on their way at once: one is sent while the other is hashed. More would only take more memory."""
_BLOCK: Final = 256 * 1024
_NOT_NEW: Final = frozenset({"PreconditionFailed", "412"})
_ALREADY_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey"})
"""The second is Ceph's word for the first, of ListParts."""


class S3Upload(Upload):
    """One multipart upload, begun."""

    def __init__(self, clients: S3Clients, key: str, stored: str, upload_id: str, part_size: Bytes) -> None:
        self._clients = clients
        self._key = key
        self._stored = stored
        self._upload_id = upload_id
        self._part_size = part_size
        self._last_size = part_size
        self._etags: list[str] = []
        self._sending: list[asyncio.Task[None]] = []
        self._completed = False
        self._aborted = False

    async def write(self, part: Buffer) -> None:
        """Take the next part; returns before it arrived, and raises what an earlier one met."""
        if len(part) > self._part_size or self._last_size < self._part_size:
            raise ValueError(f"every part but the last has exactly {self._part_size} bytes, not {len(part)}")
        if len(self._etags) == self._clients.dialect.most_parts:
            raise ValueError(
                f"an object has at most {self._clients.dialect.most_parts} parts; raise [objects] part_size"
            )
        self._check_open()
        self._last_size = Bytes(len(part))
        while len(self._sending) >= IN_FLIGHT:
            await self._first()
        self._etags.append("")
        sending = self._send(len(self._etags), memoryview(part).cast("B"))
        self._sending.append(asyncio.get_running_loop().create_task(sending))

    async def complete(self) -> None:
        """Make the object durable and readable, all or nothing. Never replaces an object, as far as the store tells."""
        self._check_open()
        if not self._etags:
            await self.write(b"")
        while self._sending:
            await self._first()
        await self.complete_parts(self._etags)

    async def complete_parts(self, etags: list[str]) -> None:
        """Make the object of the parts that have arrived, by whatever way."""
        self._etags = etags
        dialect = self._clients.dialect
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if dialect.completes_if_absent else {}
        if not dialect.completes_if_absent and await self._is_there():
            raise self._taken()
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, 1)]
        try:
            await self._clients.call(
                f"completing {self._key!r}", self._key, "complete_multipart_upload",
                hears=_NOT_NEW, Key=self._stored, UploadId=self._upload_id,
                MultipartUpload={"Parts": parts}, **condition,
            )  # fmt: skip
        except Refused as exc:
            # By somebody else, or by our own first attempt, whose answer was lost.
            if not await self._is_ours():
                raise self._taken() from exc
        except StorageError as exc:
            if await self._is_ours():
                self._completed = True
                return
            if await self._is_gone():
                raise IntentLostError(
                    f"the unfinished upload of {self._key!r} was deleted; nothing was stored; try again"
                ) from exc
            raise
        self._completed = True

    async def abort(self) -> None:
        """Leave nothing behind; without effect after `complete`."""
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
            self._sending.clear()
        if self._completed:
            return
        self._aborted = True
        await abort_upload(self._clients, self._key, self._stored, self._upload_id)

    def _check_open(self) -> None:
        if self._aborted or self._completed:
            raise IntentLostError(f"the upload of {self._key!r} is over; begin another")

    def _taken(self) -> StorageError:
        return UnsafePathError(f"the key {self._key!r} holds another object already; it was not replaced")

    async def _first(self) -> None:
        first = self._sending[0]
        await first
        self._sending.remove(first)

    async def _send(self, number: int, part: memoryview) -> None:
        digest = await asyncio.to_thread(_md5, part)
        url = await self._clients.presigned(
            "upload_part", self._clients.limits.request_time,
            Key=self._stored, UploadId=self._upload_id, PartNumber=number,
        )  # fmt: skip
        headers = {
            "Content-Length": str(len(part)),
            "Content-MD5": base64.b64encode(digest).decode(),
            "Content-Type": "application/octet-stream",
        }
        doing = f"sending part {number} of {self._key!r}"
        self._etags[number - 1] = await self._clients.send_part(
            doing, self._key, url, headers, lambda: _in_blocks(part)
        )

    async def _head(self) -> Mapping[str, Any] | None:
        return await self._clients.head(f"looking at {self._key!r}", self._key)

    async def _is_there(self) -> bool:
        return await self._head() is not None

    async def _is_ours(self) -> bool:
        """Whether the object that is there was made of our parts: its ETag is the digest of their digests."""
        head = await self._head()
        return head is not None and head.get("ETag", "").strip('"') == etag_of_parts(self._etags)

    async def _is_gone(self) -> bool:
        try:
            await self._clients.call(
                f"looking at the upload of {self._key!r}", self._key, "list_parts",
                hears=_ALREADY_GONE, Key=self._stored, UploadId=self._upload_id, MaxParts=1,
            )  # fmt: skip
        except Refused:
            return True
        return False


async def abort_upload(clients: S3Clients, key: str, stored: str, upload_id: str) -> None:
    """Abort a multipart upload; one that is gone is a success."""
    try:
        await clients.call(
            f"aborting the upload of {key!r}", key, "abort_multipart_upload",
            hears=_ALREADY_GONE, Key=stored, UploadId=upload_id,
        )  # fmt: skip
    except Refused:
        return


def etag_of_parts(etags: list[str]) -> str:
    """Return the ETag that S3 gives an object of these parts; empty if a part's ETag is no MD5 (encrypted by KMS)."""
    try:
        digests = b"".join([bytes.fromhex(etag.strip('"')) for etag in etags])
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _md5(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


async def _in_blocks(part: memoryview) -> AsyncIterator[memoryview]:
    # In blocks, because the transport copies what it cannot send at once.
    for start in range(0, len(part), _BLOCK):
        yield part[start : start + _BLOCK]
