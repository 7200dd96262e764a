"""Conditional reads (RFC 9110 §13): whether a read goes on, is not needed, or must not happen. Pure."""

import calendar
from dataclasses import dataclass
from email.utils import formatdate, parsedate_tz
from enum import Enum

from thermocline.domain.conditions import parse_entity_tags
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import MICROS_PER_SECOND, Timestamp


class Verdict(Enum):
    """What the conditions of a read say."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """The conditional headers of a read, as sent."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None


def evaluate(conditions: ReadConditions, *, etag: str, modified_at: Timestamp) -> Verdict:
    """Return the verdict on an existing representation, in the order of precedence of RFC 9110 §13.2.2."""
    modified = modified_at // MICROS_PER_SECOND
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag, weakly=False):
            return Verdict.FAILED
    elif (limit := parse_http_date(conditions.if_unmodified_since)) is not None and modified > limit:
        return Verdict.FAILED
    if conditions.if_none_match is not None:
        return Verdict.NOT_MODIFIED if _matches(conditions.if_none_match, etag, weakly=True) else Verdict.PROCEED
    if (limit := parse_http_date(conditions.if_modified_since)) is not None and modified <= limit:
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def range_applies(if_range: str | None, etag: str) -> bool:
    """Whether `Range` may be honoured: there is no `If-Range`, or it names exactly this representation.

    A date never does: two revisions can come within the second that it names, and parts of both would be
    joined (§13.1.5 asks for a strong validator).
    """
    return if_range is None or if_range.strip() == etag


def format_http_date(moment: Timestamp) -> str:
    """Return `moment`, cut to the second, as headers write it."""
    return formatdate(moment // MICROS_PER_SECOND, usegmt=True)


def parse_http_date(text: str | None) -> int | None:
    """Return the seconds since 1970 that a date header names; None for anything else, which is to be ignored."""
    if text is None:
        return None
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        return calendar.timegm((*parsed[:6], 0, 1, 0)) - (parsed[9] or 0)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _matches(text: str, etag: str, *, weakly: bool) -> bool:
    if text.strip() == "*":
        return True
    try:
        tags = parse_entity_tags(text)
    except InvalidInputError:
        return False  # names nothing of ours
    return any(tag == etag and (weakly or not weak) for weak, tag in tags)
