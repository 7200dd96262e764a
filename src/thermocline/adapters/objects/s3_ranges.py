"""What a range of keys in a bucket holds, in order: finished objects and unfinished uploads, merged.

Uploads are listed first, then objects, as in a listing of everything: an upload that is completed in between is in
both, and told once, as the unfinished one that it was. The other way round it could be in neither. Objects come page
by page in the order of their keys; the uploads, which are few, are remembered until the page that they belong into.

Ceph keeps an upload as `{key}.{upload id}`, and lists uploads, and goes on from a key marker, in the order of *those*:
`a-b` comes before `a`, as `-` sorts before the full stop; and without an upload id the marker's own uploads come again.
So the marker is put a little before where the range begins, and the end is looked for a little behind it.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from thermocline.adapters.objects.s3_clients import S3Clients
from thermocline.adapters.objects.s3_keys import fitting_start, original_key, stored_key
from thermocline.adapters.objects.s3_listing import MOST_UPLOADS, UNKNOWN_SIZE, too_many_uploads, whole_second
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import ObjectInfo

_PAGE: Final = 1000
_STOP: Final = "."
"""What Ceph writes between the key and the upload id."""

Page = list[ObjectInfo]


class S3Ranges:
    """Lists ranges."""

    def __init__(self, clients: S3Clients) -> None:
        self._clients = clients

    async def pages(self, prefix: str, *, after: str, until: str | None) -> AsyncGenerator[Page]:
        """Yield the objects and unfinished uploads with this prefix and `after` < key <= `until`."""
        uploads = await self._uploads(prefix, after, until)
        waiting = sorted(uploads, reverse=True)
        async for objects, reached in self._objects(prefix, after, until):
            merged = {info.key: info for info in objects if info.key not in uploads}
            while waiting and (reached is None or waiting[-1] <= reached):
                key = waiting.pop()
                merged[key] = uploads[key]
            if merged:
                yield [merged[key] for key in sorted(merged)]

    async def _uploads(self, prefix: str, after: str, until: str | None) -> Mapping[str, ObjectInfo]:
        marker = _before(after)
        place: dict[str, Any] = {"KeyMarker": marker} if marker else {}
        found: dict[str, ObjectInfo] = {}
        while True:
            answer = await self._clients.call(
                f"listing unfinished uploads of {prefix!r}", "", "list_multipart_uploads",
                Prefix=prefix, MaxUploads=_PAGE, **place,
            )  # fmt: skip
            entries = answer.get("Uploads", ())
            for entry in entries:
                key = entry["Key"]
                if _is_told(key, after, until):
                    info = ObjectInfo(key, UNKNOWN_SIZE, whole_second(entry["Initiated"]), finished=False)
                    found.setdefault(key, info)
            if len(found) > MOST_UPLOADS:
                raise too_many_uploads(self._clients.place)
            if not answer.get("IsTruncated") or (entries and _is_behind(entries[-1]["Key"], until, prefix)):
                return found
            following = {
                "KeyMarker": answer.get("NextKeyMarker", ""),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }
            if not following["KeyMarker"] or following == place:
                raise self._lost_its_way()
            place = following

    async def _objects(self, prefix: str, after: str, until: str | None) -> AsyncGenerator[tuple[Page, str | None]]:
        """Yield pages of objects, each with the key that it reaches up to; None with the last: the whole range."""
        # The answer repeats it, as XML.
        start = fitting_start(after)
        place: dict[str, Any] = {"StartAfter": start} if start else {}
        while True:
            answer = await self._clients.call(
                f"listing {prefix!r}", "", "list_objects_v2", Prefix=prefix, MaxKeys=_PAGE, **place
            )
            entries = answer.get("Contents", ())
            page = [
                ObjectInfo(entry["Key"], Bytes(entry["Size"]), whole_second(entry["LastModified"]))
                for entry in entries
                if _is_told(entry["Key"], after, until)
            ]
            reached = entries[-1]["Key"] if entries else ""
            if not answer.get("IsTruncated") or (until is not None and reached >= until):
                yield page, None
                return
            yield page, reached
            following = {"ContinuationToken": answer.get("NextContinuationToken", "")}
            if not following["ContinuationToken"] or following == place:
                raise self._lost_its_way()
            place = following

    def _lost_its_way(self) -> StorageError:
        return StorageError(f"{self._clients.place.label} the store says that its listing goes on, and not where")


def _is_told(stored: str, after: str, until: str | None) -> bool:
    """Whether it is in the range, and lies where its key says; what is ours and no object, or awkward, is not told."""
    if stored <= after or (until is not None and stored > until):
        return False
    return original_key(stored) == stored and stored_key(stored) == stored


def _before(after: str) -> str:
    """Return a marker from which every store lists all uploads behind `after`, and few others.

    It ends where `after` goes on with a character that is not before the full stop: so does every later key that
    begins as the marker does. The answer repeats it, so it is also what XML can carry.
    """
    fitting = fitting_start(after)
    if fitting != after:
        return fitting
    return after[: max((at for at, character in enumerate(after) if character >= _STOP), default=0)]


def _is_behind(key: str, until: str | None, prefix: str) -> bool:
    """Whether all uploads that are listed after one of `key` are behind `until`, in every store's order."""
    if until is None:
        return False
    short = next((at for at in range(len(prefix) + 1, len(key)) if key[at] < _STOP), len(key))
    return key[:short] > until
