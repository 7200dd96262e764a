"""Facts about a content for tests of pure functions."""

import hashlib
from dataclasses import replace
from typing import Any

from thermocline.domain.content import StoredHeaders, Visibility
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp
from thermocline.interfaces.http.facts import ContentFacts, Source

NOW = Timestamp(1_800_000_000 * MICROS_PER_SECOND)

_FACTS = ContentFacts(
    content_id="users/42/cat.jpg",
    revision=0xABC,
    version=7,
    size=100,
    digest=hashlib.sha256(b"cat").digest(),
    modified_at=Timestamp(NOW - 60 * MICROS_PER_SECOND),
    headers=StoredHeaders("image/jpeg"),
    visibility=Visibility.PUBLIC,
    expires_at=None,
    tier="hot",
    source=Source.STORAGE,
)


def made(**changes: Any) -> ContentFacts:
    """Return facts about a public picture, with these changes."""
    return replace(_FACTS, **changes)


def in_seconds(seconds: float) -> Timestamp:
    """Return a moment after NOW."""
    return Timestamp(NOW + round(seconds * MICROS_PER_SECOND))
