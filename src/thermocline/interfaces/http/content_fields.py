"""The headers of an answer with content (or 304). Pure: two answers about the same state differ only in `Age`."""

import base64
from urllib.parse import quote

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp
from thermocline.interfaces.http.cache_policy import cache_fields
from thermocline.interfaces.http.cache_tags import cache_tag
from thermocline.interfaces.http.conditionals import format_http_date
from thermocline.interfaces.http.facts import ContentFacts, Source
from thermocline.interfaces.http.problems import Fields

# Users' content never runs scripts, loads anything, or is taken for another type than it says.
_SAFETY: Fields = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
]
# Public content is meant to be embedded anywhere. Private content must not even be loadable by another site's
# page, whose tag would carry nothing that proves a right but might learn from sizes and timing.
_EMBEDDABLE = (b"cross-origin-resource-policy", b"cross-origin")
_NOT_EMBEDDABLE = (b"cross-origin-resource-policy", b"same-origin")

_CACHE_STATUS = {
    Source.MEMORY: (b"cache-status", b"thermocline; hit; detail=memory"),
    Source.REDIS: (b"cache-status", b"thermocline; hit; detail=redis"),
    Source.STORAGE: (b"cache-status", b"thermocline; fwd=miss; detail=storage"),
}


def freshness_fields(facts: ContentFacts, *, now: Timestamp, immutable: bool) -> Fields:
    """Return what 200, 206 and 304 all say: what these bytes are called and how long they may be kept."""
    return [
        (b"etag", facts.etag.encode()),
        *cache_fields(facts, now=now, immutable=immutable),
        (b"cache-tag", cache_tag(facts.content_id, facts.tier)),
        _CACHE_STATUS[facts.source],
    ]


def description_fields(facts: ContentFacts) -> Fields:
    """Return what 200 and 206 say about the bytes besides their type and length."""
    return [
        (b"last-modified", format_http_date(facts.modified_at).encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", disposition_of(facts).encode()),
        (b"repr-digest", b"sha-256=:%b:" % base64.b64encode(facts.digest)),
        *_SAFETY,
        _EMBEDDABLE if facts.is_public else _NOT_EMBEDDABLE,
    ]


def age_of(facts: ContentFacts, now: Timestamp) -> int | None:
    """Return `Age`: whole seconds since the copy was taken; None if it comes from storage (RFC 9111 §5.1)."""
    return None if facts.cached_at is None else max(now - facts.cached_at, 0) // MICROS_PER_SECOND


def age_fields(facts: ContentFacts, now: Timestamp) -> Fields:
    """Return the `Age` field, or nothing."""
    age = age_of(facts, now)
    return [] if age is None else [(b"age", b"%d" % age)]


def disposition_of(facts: ContentFacts) -> str:
    """Return the stored `Content-Disposition`, or one that offers the last segment of the id as the file's name."""
    stored = facts.headers.content_disposition
    if stored is not None:
        return stored
    name = facts.content_id.rpartition("/")[2]
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in name)
    if plain == name:
        return f'inline; filename="{name}"'
    # Old clients take the first, all others the second (RFC 6266 §4.3, RFC 8187).
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
