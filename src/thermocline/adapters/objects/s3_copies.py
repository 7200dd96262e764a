"""Copies inside a bucket, made by the store: no byte of content passes through us.

Up to 256 MiB in one request; larger ones as a multipart upload whose parts the store copies, in parallel.
Either is all or nothing: a copy in parts is an unfinished upload until it is completed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from thermocline.adapters.objects.s3_attributes import as_metadata
from thermocline.adapters.objects.s3_clients import Refused, S3Clients
from thermocline.adapters.objects.s3_keys import stored_key
from thermocline.adapters.objects.s3_requests import copy_headers
from thermocline.adapters.objects.s3_uploads import S3Upload, abort_upload
from thermocline.domain.errors import ObjectMissingError, StorageError
from thermocline.domain.units import Bytes

_PARTS_AT_ONCE: Final = 4
AT_ONCE: Final = Bytes(256 * 2**20)
"""What one request copies: few requests, each short enough for its time limit at 6 MiB a second. The vendors' limit,
5 GiB, would take a minute and more."""
_CHANGED: Final = frozenset({"PreconditionFailed", "412"})


class S3Copies:
    """Copies by the store itself."""

    def __init__(self, clients: S3Clients, *, part_size: Bytes, largest: Bytes) -> None:
        self._clients = clients
        self._part_size = part_size
        self.at_once = largest
        """What one request copies at most."""

    async def copy(
        self,
        source: str,
        target: str,
        attributes: Mapping[str, str],
        storage_class: str,
        head: Mapping[str, Any],
        check: Callable[[], None],
    ) -> None:
        """Copy the object that `head` tells of; `check` is called before each request that writes."""
        if head["ContentLength"] <= self.at_once:
            await self.copy_at_once(source, target, attributes, storage_class, check)
            return
        described: dict[str, Any] = {
            "Key": stored_key(target),
            "Metadata": as_metadata(attributes, most=self._clients.dialect.most_metadata),
            "StorageClass": storage_class,
        }
        if attributes.get("type"):
            described["ContentType"] = attributes["type"]
        await self._copy_in_parts(source, target, described, head, check)

    async def copy_at_once(
        self,
        source: str,
        target: str,
        attributes: Mapping[str, str],
        storage_class: str,
        check: Callable[[], None],
    ) -> None:
        """Copy an object of at most `at_once` bytes, in one request."""
        headers = copy_headers(
            self._clients.bucket,
            stored_key(source),
            metadata=as_metadata(attributes, most=self._clients.dialect.most_metadata),
            storage_class=storage_class,
            content_type=attributes.get("type") or None,
        )
        check()
        await self._clients.copy(f"copying {source!r} to {target!r}", source, target, headers)

    async def _copy_in_parts(
        self,
        source: str,
        target: str,
        described: Mapping[str, Any],
        head: Mapping[str, Any],
        check: Callable[[], None],
    ) -> None:
        doing = f"copying {source!r} to {target!r}"
        check()
        begun = await self._clients.call(doing, source, "create_multipart_upload", **described)
        stored, upload_id, size = described["Key"], begun["UploadId"], head["ContentLength"]
        length = max(self.at_once, -(-size // self._clients.dialect.most_parts))
        starts = range(0, size, length)
        slots = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(number: int, start: int) -> str:
            async with slots:
                check()
                answer = await self._clients.call(
                    doing, source, "upload_part_copy",
                    hears=_CHANGED, Key=stored, UploadId=upload_id, PartNumber=number,
                    CopySource=self._named(source), CopySourceIfMatch=head["ETag"],
                    CopySourceRange=f"bytes={start}-{min(start + length, size) - 1}",
                )  # fmt: skip
            etag: str = answer["CopyPartResult"]["ETag"]
            return etag

        try:
            etags = await _all([part(number, start) for number, start in enumerate(starts, 1)])
            check()
            upload = S3Upload(self._clients, target, stored, upload_id, self._part_size)
            await upload.complete_parts(etags)
        except BaseException as exc:
            with suppress(StorageError):
                await abort_upload(self._clients, target, stored, upload_id)
            if isinstance(exc, Refused):
                # The source is another object than a moment ago, which no key of ours ever is.
                raise ObjectMissingError(source) from exc
            raise

    def _named(self, source: str) -> Mapping[str, str]:
        return {"Bucket": self._clients.bucket, "Key": stored_key(source)}


async def _all(parts: Sequence[Coroutine[Any, Any, str]]) -> list[str]:
    """Return what each returns; the first that fails ends the others, and its error is raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
