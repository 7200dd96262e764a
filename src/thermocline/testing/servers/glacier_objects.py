"""What the Glacier server keeps: buckets, objects, uploads, restores, and the clock that they live by. No network."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp, later

DAY: Final = Seconds(86400.0)
LEAST_PART: Final = 5 * 2**20
Delays = Mapping[str, Mapping[str, float]]
"""By archive class: how many seconds each tier of RestoreObject takes. A class that is not named is read at once."""


class S3Error(Exception):
    """An error as S3 answers it."""

    def __init__(self, status: int, code: str, message: str = "", details: Mapping[str, str] | None = None) -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
        self.details = details or {}
        """Further elements of the answer's body."""


@dataclass(slots=True)
class Restore:
    """A readable copy, on its way or there."""

    arrives_at: Timestamp
    expires_at: Timestamp


@dataclass(slots=True)
class Stored:
    """One object."""

    data: bytes
    metadata: Mapping[str, str]
    """What its headers say: user metadata and content headers, as they came."""
    storage_class: str
    modified_at: Timestamp
    etag: str
    restore: Restore | None = None


@dataclass(slots=True)
class Upload:
    """An unfinished multipart upload."""

    key: str
    metadata: Mapping[str, str]
    storage_class: str
    begun_at: Timestamp
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """Objects and uploads under one name."""

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


class GlacierObjects:
    """The state, changed in one thread. Restores arrive and expire by `now`, which only `advance` moves."""

    def __init__(self, delays: Delays, now: Timestamp) -> None:
        self.now = now
        self.buckets: dict[str, Bucket] = {}
        self._delays = delays

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now = later(self.now, Seconds(seconds))

    def bucket(self, name: str) -> Bucket:
        """Return a bucket that exists."""
        try:
            return self.buckets[name]
        except KeyError:
            raise S3Error(404, "NoSuchBucket", "The specified bucket does not exist") from None

    def find(self, bucket: str, key: str) -> Stored:
        """Return an object that exists."""
        try:
            return self.bucket(bucket).objects[key]
        except KeyError:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.") from None

    def is_archived(self, stored: Stored) -> bool:
        """Whether the object needs a restore before it is read, now."""
        if stored.storage_class not in self._delays:
            return False
        restore = self.restore_of(stored)
        return restore is None or self.now < restore.arrives_at

    def restore_of(self, stored: Stored) -> Restore | None:
        """Return the restore that is under way or has arrived; one that expired is none."""
        if stored.restore is not None and stored.restore.expires_at <= self.now:
            stored.restore = None
        return stored.restore

    def readable(self, bucket: str, key: str) -> Stored:
        """Return an object whose bytes may be read now."""
        stored = self.find(bucket, key)
        if self.is_archived(stored):
            raise S3Error(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        return stored

    def put(self, bucket: str, key: str, stored: Stored, *, only_new: bool = False) -> None:
        """Store an object; `only_new` is the condition `If-None-Match: *`."""
        objects = self.bucket(bucket).objects
        if only_new and key in objects:
            raise S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        objects[key] = stored

    def request_restore(self, bucket: str, key: str, *, days: int, tier: str) -> int:
        """Begin a restore (202) or give an arrived one a new end (200), which may be earlier, as with AWS."""
        stored = self.find(bucket, key)
        delays = self._delays.get(stored.storage_class)
        if delays is None:
            raise S3Error(403, "InvalidObjectState", "Restore is not allowed for the object's current storage class")
        if days < 1:
            raise S3Error(400, "MalformedXML", "Days must be a positive integer")
        restore = self.restore_of(stored)
        if restore is not None and self.now < restore.arrives_at:
            raise S3Error(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
        if restore is not None:
            restore.expires_at = later(self.now, Seconds(days * DAY))
            return 200
        if tier not in delays:
            raise S3Error(400, "InvalidArgument", f"The tier {tier} is not available for {stored.storage_class}")
        arrival = later(self.now, Seconds(delays[tier]))
        stored.restore = Restore(arrival, later(arrival, Seconds(days * DAY)))
        return 202

    def begin_upload(self, bucket: str, key: str, metadata: Mapping[str, str], storage_class: str) -> str:
        """Begin a multipart upload; return its id."""
        upload_id = uuid.uuid4().hex
        self.bucket(bucket).uploads[upload_id] = Upload(key, metadata, storage_class, self.now)
        return upload_id

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Return an upload that is neither completed nor aborted."""
        found = self.bucket(bucket).uploads.get(upload_id)
        if found is None or found.key != key:
            raise S3Error(404, "NoSuchUpload", "The specified multipart upload does not exist")
        return found

    def complete(
        self, bucket: str, key: str, upload_id: str, wanted: list[tuple[int, str]], *, only_new: bool
    ) -> Stored:
        """Make an object of the parts that are named, in ascending order, each with its ETag."""
        upload = self.upload(bucket, key, upload_id)
        if not wanted:
            raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed")
        if [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
            raise S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order")
        bodies = []
        for number, etag in wanted:
            body, held = upload.parts.get(number, (b"", ""))
            if held != etag.strip('"'):
                raise S3Error(400, "InvalidPart", "One or more of the specified parts could not be found")
            bodies.append(body)
        if any(len(body) < LEAST_PART for body in bodies[:-1]):
            raise S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        digests = b"".join([bytes.fromhex(upload.parts[number][1]) for number, _ in wanted])
        etag = f"{md5(digests)}-{len(wanted)}"
        stored = Stored(b"".join(bodies), upload.metadata, upload.storage_class, self.now, etag)
        self.put(bucket, key, stored, only_new=only_new)
        del self.bucket(bucket).uploads[upload_id]
        return stored

    def whole_second(self, moment: Timestamp) -> int:
        """Return a moment as S3 tells it: to the second."""
        return moment // MICROS_PER_SECOND


def md5(data: bytes) -> str:
    """Return the MD5 of `data`, which S3 calls an ETag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
