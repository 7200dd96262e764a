"""What a range of keys in a bucket holds, in order: finished objects and unfinished uploads, merged.

S3 lists both in the order of the keys' UTF-8 bytes, each by itself, from any key on. A *window* is as far as one page
of uploads reaches: they are listed before the window's objects, so an upload that is completed in between is in both,
and told once, as the unfinished one that it was. The other way round it could be in neither. Nearly always there are
few uploads, and the first window is all. Memory holds one page of each.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from thermocline.adapters.objects.s3_clients import S3Clients
from thermocline.adapters.objects.s3_keys import fitting_start, original_key, stored_key
from thermocline.adapters.objects.s3_listing import UNKNOWN_SIZE, whole_second
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes
from thermocline.ports.object_store import ObjectInfo

_PAGE: Final = 1000


class S3Ranges:
    """Lists ranges."""

    def __init__(self, clients: S3Clients) -> None:
        self._clients = clients

    async def pages(self, prefix: str, *, after: str, until: str | None) -> AsyncGenerator[Sequence[ObjectInfo]]:
        """Yield the objects and unfinished uploads with this prefix and `after` < key <= `until`."""
        while until is None or after < until:
            uploads, end = await self._uploads(prefix, after)
            stop = until if end is None or (until is not None and until <= end) else end
            waiting = [info for info in uploads if stop is None or info.key <= stop]
            async for objects, reached in self._objects(prefix, after, stop):
                # Uploads behind this page of objects wait for the page that they belong into.
                ready = [info for info in waiting if reached is None or info.key <= reached]
                waiting = waiting[len(ready) :]
                merged = {info.key: info for info in [*objects, *ready]}
                if merged:
                    yield [merged[key] for key in sorted(merged)]
            if stop is None or stop == until:
                return
            after = stop

    async def _uploads(self, prefix: str, after: str) -> tuple[Sequence[ObjectInfo], str | None]:
        """Return the next unfinished uploads, one for each key, and the last key that was looked at; None: the end."""
        # The answer repeats the marker, as XML.
        marker = fitting_start(after)
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
                if key > after and _is_told(key):
                    found.setdefault(
                        key, ObjectInfo(key, UNKNOWN_SIZE, whole_second(entry["Initiated"]), finished=False)
                    )
            if not answer.get("IsTruncated"):
                return list(found.values()), None
            if entries and entries[-1]["Key"] > after:
                return list(found.values()), entries[-1]["Key"]
            following = {
                "KeyMarker": answer.get("NextKeyMarker", ""),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }
            if not following["KeyMarker"] or following == place:
                raise self._lost_its_way()
            place = following

    async def _objects(
        self, prefix: str, after: str, stop: str | None
    ) -> AsyncGenerator[tuple[Sequence[ObjectInfo], str | None]]:
        """Yield pages of objects, each with the key that it reaches up to; None with the last: `stop`, or the end."""
        place: dict[str, Any] = {"StartAfter": after} if after else {}
        while True:
            answer = await self._clients.call(
                f"listing {prefix!r}", "", "list_objects_v2", Prefix=prefix, MaxKeys=_PAGE, **place
            )
            entries = answer.get("Contents", ())
            page = [
                ObjectInfo(entry["Key"], Bytes(entry["Size"]), whole_second(entry["LastModified"]))
                for entry in entries
                if entry["Key"] > after and (stop is None or entry["Key"] <= stop) and _is_told(entry["Key"])
            ]
            reached = entries[-1]["Key"] if entries else None
            if not answer.get("IsTruncated") or (stop is not None and reached is not None and reached >= stop):
                yield page, None
                return
            if reached is not None:
                yield page, reached
            following = {"ContinuationToken": answer.get("NextContinuationToken", "")}
            if not following["ContinuationToken"] or following == place:
                raise self._lost_its_way()
            place = following

    def _lost_its_way(self) -> StorageError:
        return StorageError(
            f"[objects.{self._clients.place.name}] the store says that its listing goes on, and not where"
        )


def _is_told(stored: str) -> bool:
    """Whether it lies where its key says; what is ours and no object, or awkward, is not told."""
    return original_key(stored) == stored and stored_key(stored) == stored
