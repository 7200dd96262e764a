"""What is known about a content: its record, and the rules for what users may attach to it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import InvalidInputError, InvalidMetadataError
from thermocline.domain.heat import AccessSummary
from thermocline.domain.moves import MoveStatus
from thermocline.domain.restores import RestoreStatus
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Timestamp, format_moment

MAX_METADATA_BYTES = Bytes(16 * 1024)
MAX_METADATA_DEPTH = 64
"""Whoever can write metadata can have it rendered: no depth may overflow somebody's stack."""
MAX_HEADER_BYTES = Bytes(1024)
LAST_MOMENT = Timestamp(253_402_300_799_000_000)
"""9999-12-31T23:59:59Z: no calendar and no HTTP date goes on after it."""
DEFAULT_CONTENT_TYPE = "application/octet-stream"

_CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\s*;[\x20-\x7e]*)?")
_UNQUOTED = re.compile(r"[A-Za-z0-9_.~/-]*")
"""What percent-encoding leaves as it is: most content ids."""
_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")


class Visibility(StrEnum):
    """Who may read: anyone, or only callers with the right."""

    PUBLIC = "public"
    PRIVATE = "private"


def parse_visibility(text: str) -> Visibility:
    """Return the visibility that `text` names. Raises `InvalidInputError`."""
    try:
        return Visibility(text)
    except ValueError as exc:
        raise InvalidInputError(f"there is no visibility {text!r}; write public or private") from exc


@dataclass(frozen=True, slots=True)
class StoredHeaders:
    """Response headers that were given with the bytes and are replayed with them, exactly."""

    content_type: str = DEFAULT_CONTENT_TYPE
    cache_control: str | None = None
    content_disposition: str | None = None

    def __post_init__(self) -> None:
        """Raise `InvalidMetadataError` for a value that cannot be sent in a header."""
        if not _CONTENT_TYPE.fullmatch(self.content_type) or len(self.content_type) > MAX_HEADER_BYTES:
            raise InvalidMetadataError(f"not a content type: {self.content_type!r}; write type/subtype, like image/png")
        for name, value in (("Cache-Control", self.cache_control), ("Content-Disposition", self.content_disposition)):
            if value is not None and (len(value) > MAX_HEADER_BYTES or not _FIELD_VALUE.fullmatch(value)):
                raise InvalidMetadataError(
                    f"{name} must be 1 to {MAX_HEADER_BYTES} printable ASCII characters; "
                    "write other characters as filename*=UTF-8''percent-encoded"
                )


@dataclass(frozen=True, slots=True)
class Record:
    """One committed state of a content: the catalog's row. The object that `object_key` names is the live one."""

    content_id: ContentId
    revision: int
    """Of the bytes; only grows, also across delete and re-create."""
    version: int
    """Raised by every committed change; what caches compare."""
    placement: str
    object_key: str
    digest: bytes
    """SHA-256 of the content."""
    chunk_digests: bytes | None
    """See `domain.digests`; None where it was not loaded (pages of records)."""
    size: Bytes
    headers: StoredHeaders
    metadata: Mapping[str, Any]
    tier: StorageTier
    tier_since: Timestamp
    visibility: Visibility
    created_at: Timestamp
    """When this content first came into being (since the last delete)."""
    modified_at: Timestamp
    """When these bytes were committed."""
    expires_at: Timestamp | None
    held: bool
    pinned: bool = False
    """Whether policies leave its tier alone; users may still move it."""
    unproven: bool = False
    """Whether it was adopted from a store that could not prove that these were the bytes last acknowledged."""
    access: AccessSummary | None = None
    """This and what follows: None where it was not loaded (only `Records.describe` does)."""
    restore: RestoreStatus | None = None
    """Of an object in an archive class; None also for all others."""
    move: MoveStatus | None = None
    """A move that is planned."""

    @property
    def etag(self) -> str:
        """The strong entity tag of these bytes, quotes included; another revision never has it, even of equal bytes."""
        return etag_of(self.revision)

    def is_alive(self, now: Timestamp) -> bool:
        """Whether the content has not expired at `now`."""
        return self.expires_at is None or now < self.expires_at

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values: what HTTP and the command line show."""
        return {
            "content_id": self.content_id,
            "revision": self.revision,
            "version": self.version,
            "etag": self.etag,
            "size": self.size,
            "sha256": self.digest.hex(),
            "content_type": self.headers.content_type,
            "cache_control": self.headers.cache_control,
            "content_disposition": self.headers.content_disposition,
            "metadata": dict(self.metadata),
            "tier": self.tier.value,
            "tier_since": format_moment(self.tier_since),
            "placement": self.placement,
            "object_key": self.object_key,
            "visibility": self.visibility.value,
            "created_at": format_moment(self.created_at),
            "modified_at": format_moment(self.modified_at),
            "expires_at": format_moment(self.expires_at),
            "held": self.held,
            "pinned": self.pinned,
            "unproven": self.unproven,
            **({} if self.access is None else {"access": self.access.as_dict()}),
            **({} if self.restore is None else {"restore": self.restore.as_dict()}),
            **({} if self.move is None else {"move": self.move.as_dict()}),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a change was committed: `revision` and `version` are what a later read will show or exceed."""

    content_id: ContentId
    revision: int
    version: int
    object_key: str
    etag: str
    size: Bytes
    tier: StorageTier
    created: bool
    """Whether no content had this id just before."""

    def as_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON-ready values."""
        return {
            "content_id": self.content_id,
            "revision": self.revision,
            "version": self.version,
            "object_key": self.object_key,
            "etag": self.etag,
            "size": self.size,
            "tier": self.tier.value,
            "created": self.created,
        }


def etag_of(revision: int) -> str:
    """Return the entity tag of a revision: revision-based, so that two writers of equal bytes differ."""
    return f'"{revision:x}"'


def revision_of(etag: str) -> int | None:
    """Return the revision that an entity tag of ours names, or None if it is not a strong tag of ours."""
    if len(etag) > 2 and etag[0] == etag[-1] == '"':  # noqa: PLR2004 - two quotes
        try:
            revision = int(etag[1:-1], 16)
        except ValueError:
            return None
        if revision >= 0 and etag_of(revision) == etag:
            return revision
    return None


def check_end(expires_at: Timestamp | None, now: Timestamp) -> None:
    """Return if content may be told to end then. Raises `InvalidInputError` for the past and beyond the year 9999."""
    if expires_at is not None and not now < expires_at <= LAST_MOMENT:
        raise InvalidInputError("content must expire in the future and before the year 10000; to end it now, delete it")


def freeze_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a read-only copy. Raises `InvalidMetadataError` unless it is JSON of at most 16 KiB with text keys."""
    if not metadata:
        return _NO_METADATA
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except RecursionError as exc:
        raise _too_deep() from exc
    except (TypeError, ValueError) as exc:
        raise InvalidMetadataError(f"metadata must be JSON: {exc}") from exc
    if any(not isinstance(key, str) for key in metadata):
        raise InvalidMetadataError("metadata keys must be text")
    if size > MAX_METADATA_BYTES:
        raise InvalidMetadataError(f"metadata must have at most {MAX_METADATA_BYTES} bytes as JSON, not {size}")
    frozen = json.loads(text)
    if not _is_shallow(frozen, MAX_METADATA_DEPTH):
        raise _too_deep()
    return MappingProxyType(frozen)


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(member, levels - 1) for member in inner)


def _too_deep() -> InvalidMetadataError:
    return InvalidMetadataError(f"metadata must be nested at most {MAX_METADATA_DEPTH} levels deep")


_NO_METADATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the current state for a change to be made. The empty condition always holds.

    `None` asks nothing; an empty set of revisions never matches (every tag given was foreign).
    """

    if_revision: frozenset[int] | None = None
    """If-Match: the current revision is one of these."""
    if_exists: bool = False
    """If-Match: *"""
    if_absent: bool = False
    """If-None-Match: *"""
    unless_revision: frozenset[int] | None = None
    """If-None-Match: the current revision is none of these."""

    def holds_for(self, revision: int | None) -> bool:
        """Whether the condition holds when the current revision is `revision` (None: there is no content)."""
        if revision is None:
            return self.if_revision is None and not self.if_exists
        if self.if_absent or (self.if_revision is not None and revision not in self.if_revision):
            return False
        return self.unless_revision is None or revision not in self.unless_revision


ALWAYS = Condition()


@dataclass(frozen=True, slots=True)
class Changes:
    """A change of a record without new bytes; a field that is None is left as it is."""

    metadata: Mapping[str, Any] | None = None
    """A JSON merge patch (RFC 7396): null removes a key."""
    visibility: Visibility | None = None
    expires_at: Timestamp | None = None
    never_expires: bool = False
    """Clears `expires_at`."""
    held: bool | None = None
    pinned: bool | None = None


def merge_metadata(current: Mapping[str, Any], patch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `current` with the JSON merge patch applied. Raises `InvalidMetadataError` as `freeze_metadata` does."""
    try:
        merged = _merge(current, patch)
    except RecursionError as exc:
        raise _too_deep() from exc
    return freeze_metadata(merged)


def _merge(current: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(current) if isinstance(current, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """What every object carries, so that a catalog can be rebuilt from the stores alone."""

    content_id: ContentId
    token: str
    content_type: str
    created_at: Timestamp
    tier: StorageTier
    previous_tier: StorageTier | None = None
    transitioned_at: Timestamp | None = None
    sha256: bytes | None = field(default=None)
    """Where it was known before the upload."""
    revision: int | None = None
    """Where it was known before the upload: of a copy that a move makes."""

    def as_headers(self) -> dict[str, str]:
        """Return the attributes as object metadata: short ASCII values, the content id percent-encoded."""
        values = {
            "content-id": _quote(self.content_id),
            "token": self.token,
            "type": self.content_type,
            "created-at": str(self.created_at),
            "tier": self.tier.value,
        }
        if self.previous_tier is not None:
            values["previous-tier"] = self.previous_tier.value
        if self.transitioned_at is not None:
            values["transitioned-at"] = str(self.transitioned_at)
        if self.sha256 is not None:
            values["sha256"] = self.sha256.hex()
        if self.revision is not None:
            values["revision"] = str(self.revision)
        return values

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> "ObjectAttributes | None":
        """Return what `as_headers` wrote, or None if it is not that: the object is foreign or too old to tell."""
        try:
            previous, moved, digest = (
                headers.get("previous-tier"),
                headers.get("transitioned-at"),
                headers.get("sha256"),
            )
            revision = headers.get("revision")
            return cls(
                content_id=ContentId(unquote(headers["content-id"], errors="strict")),
                token=headers["token"],
                content_type=headers["type"],
                created_at=Timestamp(int(headers["created-at"])),
                tier=StorageTier(headers["tier"]),
                previous_tier=None if previous is None else StorageTier(previous),
                transitioned_at=None if moved is None else Timestamp(int(moved)),
                sha256=None if digest is None else bytes.fromhex(digest),
                revision=None if revision is None else int(revision),
            )
        except (KeyError, ValueError):
            return None


def _quote(text: str) -> str:
    if _UNQUOTED.fullmatch(text):
        return text
    return quote(text, safe="/")
