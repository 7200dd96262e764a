"""Which status and type each error of Thermocline has in HTTP: one table, nowhere else."""

import math

from thermocline.domain.errors import (
    BusyError,
    CommitUnknownError,
    ConfigurationError,
    ContentArchivedError,
    ContentHeldError,
    ContentNotFoundError,
    ContentTooLargeError,
    DigestMismatchError,
    IntegrityError,
    IntentLostError,
    InvalidContentIdError,
    InvalidInputError,
    InvalidMetadataError,
    InvalidRangeError,
    MoveLostError,
    ObjectMissingError,
    OutOfSpaceError,
    PreconditionFailedError,
    RestoreBudgetError,
    StorageError,
    TruncatedBodyError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.units import Timestamp, elapsed
from thermocline.interfaces.http.problems import INTERNAL, Problem

_Row = tuple[int, str, str, str | None]
"""Status, slug, title, and the detail; None: the error's own message, which was written for the caller."""

_DAMAGED = "The stored bytes are damaged, so none were sent. 'thermocline fsck' lists all damage; store it again."

_TABLE: dict[type[StorageError], _Row] = {
    InvalidInputError: (400, "invalid-input", "Invalid input", None),
    InvalidContentIdError: (400, "invalid-content-id", "Invalid content id", None),
    InvalidMetadataError: (400, "invalid-metadata", "Invalid metadata", None),
    DigestMismatchError: (400, "digest-mismatch", "Digest mismatch", None),
    TruncatedBodyError: (400, "truncated-body", "Truncated body", None),
    ContentNotFoundError: (404, "content-not-found", "Content not found", None),
    ContentArchivedError: (409, "content-archived", "Content is archived", None),
    ContentHeldError: (409, "content-held", "Content is on hold", None),
    PreconditionFailedError: (412, "precondition-failed", "Precondition failed", None),
    ContentTooLargeError: (413, "content-too-large", "Content too large", None),
    InvalidRangeError: (416, "range-not-satisfiable", "Range not satisfiable", None),
    # Messages of what failed inside may name paths and servers: they go to the log only.
    IntegrityError: (500, "content-corrupted", "Content is corrupted", _DAMAGED),
    ObjectMissingError: (500, "content-corrupted", "Content is corrupted", _DAMAGED),
    UnsafePathError: (500, "content-corrupted", "Content is corrupted", _DAMAGED),
    ConfigurationError: (
        500,
        "misconfigured",
        "The service is misconfigured",
        "The service cannot work with its settings. Its log says what to change.",
    ),
    UnavailableError: (
        503,
        "unavailable",
        "Temporarily unavailable",
        "A part that the service depends on does not answer. Try again after the time in Retry-After.",
    ),
    BusyError: (503, "busy", "Too busy", None),
    OutOfSpaceError: (
        503,
        "out-of-space",
        "Out of space",
        "The store cannot take more; nothing was stored. Make room, then try again.",
    ),
    RestoreBudgetError: (503, "restore-budget", "Restore budget spent", None),
    CommitUnknownError: (
        503,
        "commit-unknown",
        "Outcome unknown",
        "The change may or may not have been made. Read the content to find out, or make the same change again.",
    ),
    IntentLostError: (503, "upload-lost", "Upload lost", None),
    MoveLostError: (503, "move-lost", "Move lost", None),
}


def problem_of(error: StorageError, *, now: Timestamp) -> Problem:
    """Return how `error` is told to the client. An error without a row of its own has that of its base."""
    for kind in type(error).__mro__:
        row = _TABLE.get(kind)
        if row is not None:
            status, slug, title, detail = row
            return Problem(status, slug, title, _sentence(detail or str(error)), _fields_of(error, now))
    return INTERNAL


def _fields_of(error: StorageError, now: Timestamp) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, InvalidRangeError):
        return ((b"content-range", b"bytes */%d" % error.size),)
    if isinstance(error, ContentArchivedError):
        return () if error.eta is None else ((b"retry-after", _seconds(elapsed(now, error.eta))),)
    if isinstance(error, UnavailableError):
        return ((b"retry-after", _seconds(error.retry_after)),)
    if isinstance(error, IntentLostError | MoveLostError):
        return ((b"retry-after", b"1"),)
    return ()


def _seconds(delay: float) -> bytes:
    return b"%d" % max(1, math.ceil(delay))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
