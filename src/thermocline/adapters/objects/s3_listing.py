"""What a bucket holds, and deleting it: finished objects and unfinished uploads.

**Listing**: uploads first, then objects. An upload that is completed in between is in both; it is told once, as the
unfinished one that it was. The other way round it could be in neither. Listing is botocore's: obstore's paths cannot
name every key, and its prefixes end at slashes.

**Deleting**: uploads are aborted before objects are deleted, so that one that is completed in between is deleted as
the object that it became.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from thermocline.adapters.objects.s3_clients import S3Clients
from thermocline.adapters.objects.s3_errors import Failure, Place, explain
from thermocline.adapters.objects.s3_keys import ESCAPED, RESERVED, fits_xml, original_key, stored_key
from thermocline.adapters.objects.s3_uploads import abort_upload
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Timestamp
from thermocline.ports.object_store import ObjectInfo

MOST_UPLOADS: Final = 200_000
"""Bounds the memory of a listing: unfinished uploads are remembered until it ends."""
_AT_ONCE: Final = 16
_TOGETHER: Final = 100
"""Keys that one request deletes. It takes a thousand, but Ceph 16.2 deletes them one after the other: requests side by
side end a quarter sooner (3000 of 24,000 objects in 2.2 s instead of 2.9), and AWS and R2 charge for no deletion."""
UNKNOWN_SIZE: Final = Bytes(0)


class S3Listing:
    """Lists and deletes."""

    def __init__(self, clients: S3Clients) -> None:
        self._clients = clients

    async def pages(self, prefix: str) -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield every object and unfinished upload whose key starts with `prefix`.

        The size of an upload is told as 0: S3 does not say it, short of a request for each.
        """
        seen: set[str] = set()
        for area in (prefix, ESCAPED):
            async for uploads in self._uploads(area):
                page = []
                for stored, _, begun in uploads:
                    key = _key_in(area, stored, prefix)
                    if key is not None and key not in seen:
                        seen.add(key)
                        page.append(ObjectInfo(key, UNKNOWN_SIZE, begun, finished=False))
                if len(seen) > MOST_UPLOADS:
                    raise too_many_uploads(self._clients.place)
                if page:
                    yield page
        for area in (prefix, ESCAPED):
            async for entries in self._objects(area):
                page = []
                for entry in entries:
                    key = _key_in(area, entry["Key"], prefix)
                    if key is not None and key not in seen:
                        page.append(ObjectInfo(key, Bytes(entry["Size"]), whole_second(entry["LastModified"])))
                if page:
                    yield page

    async def delete(self, keys: Sequence[str]) -> Mapping[str, StorageError]:
        """Delete objects and unfinished uploads under `keys`; return those that failed and why."""
        stored = {stored_key(key): key for key in keys}
        failed: dict[str, StorageError] = {}
        if not stored:
            return failed
        await self._abort(stored, failed)
        together = [name for name in stored if fits_xml(name)]
        if len(together) == 1:
            together = []
        parts = [together[start : start + _TOGETHER] for start in range(0, len(together), _TOGETHER)]
        await _each(parts, lambda names: self._delete_together(names, stored, failed))
        rest = [name for name in stored if name not in set(together)]
        await _each(rest, lambda name: self._delete_one(name, stored[name], failed))
        return failed

    async def _delete_together(
        self, names: Sequence[str], stored: Mapping[str, str], failed: dict[str, StorageError]
    ) -> None:
        answer = await self._clients.call(
            f"deleting {len(names)} objects", "", "delete_objects",
            Delete={"Objects": [{"Key": name} for name in names], "Quiet": True},
        )  # fmt: skip
        for error in answer.get("Errors", ()):
            key = stored.get(error.get("Key", ""), "")
            failure = Failure(str(error.get("Code", "")), 0)
            if failure.code != "NoSuchKey":
                failed[key] = explain(failure, self._clients.place, f"deleting {key!r}", key)

    async def _delete_one(self, name: str, key: str, failed: dict[str, StorageError]) -> None:
        try:
            await self._clients.call(f"deleting {key!r}", key, "delete_object", Key=name)
        except StorageError as exc:
            failed[key] = exc

    async def _abort(self, stored: Mapping[str, str], failed: dict[str, StorageError]) -> None:
        """Abort the uploads of these keys: one listing of what they have in common, which is nearly always empty."""

        async def abort(found: tuple[str, str]) -> None:
            name, upload_id = found
            try:
                await abort_upload(self._clients, stored[name], name, upload_id)
            except StorageError as exc:
                failed[stored[name]] = exc

        for area in (False, True):
            names = [name for name in stored if name.startswith(ESCAPED) is area]
            if names:
                async for page in self._uploads(_common_start(names)):
                    await _each([(name, upload_id) for name, upload_id, _ in page if name in stored], abort)

    async def _uploads(self, prefix: str) -> AsyncIterator[Sequence[tuple[str, str, Timestamp]]]:
        after: dict[str, Any] = {}
        while True:
            answer = await self._clients.call(
                f"listing unfinished uploads of {prefix!r}", "", "list_multipart_uploads", Prefix=prefix, **after
            )
            uploads = answer.get("Uploads", ())
            yield [(each["Key"], each["UploadId"], whole_second(each["Initiated"])) for each in uploads]
            if not answer.get("IsTruncated"):
                return
            following = {
                "KeyMarker": answer.get("NextKeyMarker", ""),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }
            self._check_progress(after, following)
            after = following

    async def _objects(self, prefix: str) -> AsyncIterator[Sequence[Any]]:
        after: dict[str, Any] = {}
        while True:
            answer = await self._clients.call(f"listing {prefix!r}", "", "list_objects_v2", Prefix=prefix, **after)
            yield answer.get("Contents", ())
            if not answer.get("IsTruncated"):
                return
            following = {"ContinuationToken": answer.get("NextContinuationToken", "")}
            self._check_progress(after, following)
            after = following

    def _check_progress(self, after: Mapping[str, str], following: Mapping[str, str]) -> None:
        """Raise rather than end early or go round in a circle: a listing that ends must be whole."""
        if not any(following.values()) or following == after:
            raise StorageError(f"{self._clients.place.label} the store says that its listing goes on, and not where")


def too_many_uploads(place: Place) -> UnavailableError:
    """Return what is raised where more uploads are unfinished than a listing remembers."""
    return UnavailableError(
        f"{place.label} more than {MOST_UPLOADS} unfinished uploads are in the bucket; remove them with a "
        "lifecycle rule (AbortIncompleteMultipartUpload)"
    )


def whole_second(moment: datetime) -> Timestamp:
    """Return a moment to the second: HEAD tells no more, and the two must agree."""
    return Timestamp(int(moment.timestamp()) * MICROS_PER_SECOND)


def _key_in(area: str, stored: str, prefix: str) -> str | None:
    """Return the key of what a listing of `area` found, if it is to be told there."""
    if area != ESCAPED or prefix == ESCAPED:
        return None if stored.partition("/")[0] == RESERVED or stored_key(stored) != stored else stored
    key = original_key(stored)
    return key if key is not None and key.startswith(prefix) else None


def _common_start(names: Sequence[str]) -> str:
    """Return what all names begin with."""
    first, last = min(names), max(names)
    same = 0
    while same < len(first) and first[same] == last[same]:
        same += 1
    return first[:same]


async def _each(items: Sequence[Any], work: Any) -> None:
    """Do all, some at once; when one fails, it is told when those beside it have ended."""
    for first in range(0, len(items), _AT_ONCE):
        some = (work(item) for item in items[first : first + _AT_ONCE])
        for ended in await asyncio.gather(*some, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
