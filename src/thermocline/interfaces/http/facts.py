"""What an answer about a content is made from, whether a record or a cached copy told it."""

from dataclasses import dataclass
from enum import StrEnum

from thermocline.domain.content import Record, StoredHeaders, Visibility, etag_of
from thermocline.domain.units import Timestamp
from thermocline.ports.cache import CacheEntry


class Source(StrEnum):
    """What serves a read."""

    MEMORY = "memory"
    REDIS = "redis"
    STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """One committed state of a content, as far as readers see it."""

    content_id: str
    revision: int
    version: int
    size: int
    digest: bytes
    modified_at: Timestamp
    headers: StoredHeaders
    visibility: Visibility
    expires_at: Timestamp | None
    tier: str
    source: Source
    cached_at: Timestamp | None = None
    """When the cached copy was taken; None if the bytes come from storage."""

    @property
    def etag(self) -> str:
        """The strong entity tag of these bytes, quotes included."""
        return etag_of(self.revision)

    @property
    def is_public(self) -> bool:
        """Whether anyone may read it."""
        return self.visibility is Visibility.PUBLIC


def facts_of_record(record: Record) -> ContentFacts:
    """Return the facts of a record, whose bytes come from storage."""
    return ContentFacts(
        content_id=record.content_id,
        revision=record.revision,
        version=record.version,
        size=record.size,
        digest=record.digest,
        modified_at=record.modified_at,
        headers=record.headers,
        visibility=record.visibility,
        expires_at=record.expires_at,
        tier=record.tier.value,
        source=Source.STORAGE,
    )


def facts_of_entry(content_id: str, entry: CacheEntry, source: Source) -> ContentFacts:
    """Return the facts of a copy, found in a cache or just read from storage."""
    return ContentFacts(
        content_id=content_id,
        revision=entry.revision,
        version=entry.version,
        size=len(entry.payload),
        digest=entry.digest,
        modified_at=entry.modified_at,
        headers=entry.headers,
        visibility=entry.visibility,
        expires_at=entry.expires_at,
        tier=entry.tier,
        source=source,
        cached_at=None if source is Source.STORAGE else entry.cached_at,
    )
