"""What the headers of a PUT ask for. Pure: from a request's head to a `WriteRequest`, or a refusal."""

import math

from thermocline.domain.conditions import parse_condition
from thermocline.domain.content import DEFAULT_CONTENT_TYPE, StoredHeaders, Visibility, parse_visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.tiers import StorageTier, parse_tier
from thermocline.domain.units import Bytes, Seconds, Timestamp, later
from thermocline.interfaces.http.digest_fields import expected_sha256
from thermocline.interfaces.http.problems import ProblemError, invalid_request, unsupported_media_type
from thermocline.interfaces.http.request_head import RequestHead
from thermocline.services.transferring import WriteRequest

LONGEST_LIFE = Seconds(100 * 365.25 * 86400)
"""Longer means never; and timestamps must fit the catalog's integers."""

_META_PREFIX = b"thermocline-meta-"
_LONGEST_NUMBER = 19


def read_write_request(
    head: RequestHead, content_id: ContentId, *, now: Timestamp, default_tier: StorageTier
) -> WriteRequest:
    """Return the write that the headers ask for.

    Raises `InvalidInputError` (or a kind of it) for malformed values, `ProblemError` for a coded body (415) or a
    part of one (400): what is stored is exactly what comes.
    """
    if head.get(b"content-range") is not None:
        raise ProblemError(
            invalid_request("A part of a content cannot be stored; send the whole body without Content-Range.")
        )
    coding = head.get(b"content-encoding")
    if coding is not None and coding.lower() not in {"", "identity"}:
        raise ProblemError(
            unsupported_media_type(
                "Bodies are stored as they come, and read back as they were stored; send it without Content-Encoding.",
                ((b"accept-encoding", b"identity"),),
            )
        )
    tier = head.get(b"thermocline-tier")
    visibility = head.get(b"thermocline-visibility")
    return WriteRequest(
        content_id=content_id,
        tier=default_tier if tier is None else parse_tier(tier),
        headers=StoredHeaders(
            content_type=head.get(b"content-type") or DEFAULT_CONTENT_TYPE,
            cache_control=head.get(b"cache-control") or None,
            content_disposition=head.get(b"content-disposition") or None,
        ),
        metadata=_metadata(head),
        visibility=Visibility.PRIVATE if visibility is None else parse_visibility(visibility),
        expires_at=_expiry(head.get(b"thermocline-expires-in"), now),
        condition=parse_condition(head.get(b"if-match"), head.get(b"if-none-match")),
        expected_size=_size(head.get(b"content-length")),
        expected_sha256=expected_sha256(head.get(b"repr-digest"), head.get(b"content-digest")),
    )


def expiry_after(seconds: float, now: Timestamp) -> Timestamp:
    """Return the moment `seconds` from `now`. Raises `InvalidInputError` unless that is a sensible future."""
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_LIFE):
        raise InvalidInputError(
            "an expiry is a number of seconds above 0 and at most 100 years; leave it out for never"
        )
    return later(now, Seconds(seconds))


def _expiry(text: str | None, now: Timestamp) -> Timestamp | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError as exc:
        raise InvalidInputError("Thermocline-Expires-In must be a number of seconds") from exc
    return expiry_after(seconds, now)


def _size(text: str | None) -> Bytes | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
        raise InvalidInputError("Content-Length must be a number of bytes")
    return Bytes(int(text))


def _metadata(head: RequestHead) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for name, value in head.with_prefix(_META_PREFIX):
        if not name:
            raise InvalidInputError("Thermocline-Meta- must be followed by a name")
        try:
            metadata[name] = value.decode()
        except UnicodeDecodeError as exc:
            raise InvalidInputError(f"Thermocline-Meta-{name} must be UTF-8") from exc
    return metadata
