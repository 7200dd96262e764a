"""Presigned URLs, and uploads whose parts others send: begun, checked and completed here."""

from collections.abc import Sequence
from typing import Any, Final

from thermocline.adapters.objects.s3_clients import Refused, S3Clients
from thermocline.adapters.objects.s3_keys import stored_key
from thermocline.adapters.objects.s3_uploads import S3Upload
from thermocline.domain.errors import IntentLostError, StorageError, TruncatedBodyError
from thermocline.domain.units import Bytes, Seconds

_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey"})
"""The second is Ceph's word for the first, of ListParts."""


class S3Presigns:
    """URLs for others, by the credentials of this store."""

    def __init__(self, clients: S3Clients, part_size: Bytes) -> None:
        self._clients = clients
        self._part_size = part_size

    async def part_urls(self, key: str, upload_id: str, *, count: int, lives: Seconds) -> list[str]:
        """Return a URL for each part; no request is sent."""
        stored = stored_key(key)
        return [
            await self._clients.presigned("upload_part", lives, Key=stored, UploadId=upload_id, PartNumber=number)
            for number in range(1, count + 1)
        ]

    async def complete(self, key: str, upload_id: str, sizes: Sequence[Bytes]) -> None:
        """Complete an upload whose parts are these."""
        stored = stored_key(key)
        came = await self._parts(key, stored, upload_id)
        if came is None:
            # Perhaps completed before, by one who did not hear of it.
            head = await self._clients.head(f"looking at {key!r}", key)
            if head is None or head["ContentLength"] != sum(sizes):
                raise IntentLostError(f"the upload of {key!r} was deleted; nothing was stored; begin another")
            return
        found = [(part["PartNumber"], part["Size"]) for part in came]
        wanted = list(enumerate(sizes, 1))
        if found != wanted:
            raise TruncatedBodyError(_difference(found, wanted))
        upload = S3Upload(self._clients, key, stored, upload_id, self._part_size)
        await upload.complete_parts([part["ETag"] for part in came])

    async def download_url(self, key: str, *, lives: Seconds, content_type: str | None) -> str:
        """Return a URL to read the object."""
        answered: dict[str, Any] = {"ResponseContentType": content_type} if content_type else {}
        return await self._clients.presigned("get_object", lives, Key=stored_key(key), **answered)

    async def _parts(self, key: str, stored: str, upload_id: str) -> list[Any] | None:
        parts: list[Any] = []
        after: dict[str, Any] = {}
        while True:
            try:
                answer = await self._clients.call(
                    f"listing the parts of {key!r}", key, "list_parts",
                    hears=_GONE, Key=stored, UploadId=upload_id, **after,
                )  # fmt: skip
            except Refused:
                return None
            parts += answer.get("Parts", ())
            if not answer.get("IsTruncated"):
                return parts
            following = {"PartNumberMarker": answer.get("NextPartNumberMarker")}
            if following == after:
                raise StorageError(f"the store says that the list of parts of {key!r} goes on, and not where")
            after = following


def _difference(found: Sequence[tuple[int, int]], wanted: Sequence[tuple[int, int]]) -> str:
    sizes = dict(found)
    for number, size in wanted:
        if number not in sizes:
            return f"part {number} of {len(wanted)} did not come; send it, then complete the upload again"
        if sizes[number] != size:
            return f"part {number} has {sizes[number]} bytes instead of {size}; send it again, then complete the upload"
    return f"{len(found)} parts came where {len(wanted)} were announced; begin another upload"
