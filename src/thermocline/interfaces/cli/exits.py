"""Exit codes, and errors as people and programs read them."""

import json
import re
import sys
from enum import IntEnum
from typing import Any

from thermocline.domain.errors import (
    ContentArchivedError,
    ContentNotFoundError,
    ContentTooLargeError,
    DigestMismatchError,
    IntegrityError,
    IntentLostError,
    InvalidInputError,
    InvalidRangeError,
    ObjectMissingError,
    OutOfSpaceError,
    PreconditionFailedError,
    RestoreBudgetError,
    StorageError,
    TruncatedBodyError,
    UnavailableError,
    UnsafePathError,
)
from thermocline.domain.units import format_moment


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    ARCHIVED = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot do what was asked; the message says why, and `hint` what to do."""

    code = ExitCode.FAILED
    slug = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommandError):
    """The command line itself is wrong; nothing was changed."""

    code = ExitCode.USAGE
    slug = "usage"


class InterruptedCommandError(CommandError):
    """Somebody pressed Ctrl-C, or the system asked the process to end."""

    code = ExitCode.INTERRUPTED
    slug = "interrupted"

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message)


_CODES: tuple[tuple[type[StorageError], ExitCode], ...] = (
    (ContentNotFoundError, ExitCode.NOT_FOUND),
    (ContentArchivedError, ExitCode.ARCHIVED),
    (DigestMismatchError, ExitCode.FAILED),
    (TruncatedBodyError, ExitCode.FAILED),
    (ContentTooLargeError, ExitCode.FAILED),
    (InvalidRangeError, ExitCode.FAILED),
    (InvalidInputError, ExitCode.USAGE),
)
_HINTS: tuple[tuple[type[StorageError], str], ...] = (
    (ContentNotFoundError, "'thermocline ls' lists what there is"),
    (ContentArchivedError, "'thermocline restore' asks for it and tells how far it is, 'get --wait 12h' waits for it"),
    (PreconditionFailedError, "read the content again before changing it"),
    (DigestMismatchError, "send the bytes again, or the digest that belongs to them"),
    (TruncatedBodyError, "try again when the source no longer changes"),
    (OutOfSpaceError, "free some space or make the data folder writable, then try again"),
    (RestoreBudgetError, "try again when the next day's budget begins, or raise the budget"),
    (UnavailableError, "try again; 'thermocline doctor' looks for the cause"),
)
_NAMES: tuple[tuple[type[StorageError], str], ...] = (
    (IntegrityError, "content-corrupted"),
    (ObjectMissingError, "content-corrupted"),
    (UnsafePathError, "content-corrupted"),
    (InvalidRangeError, "range-not-satisfiable"),
    (IntentLostError, "upload-lost"),
)
"""Where the service's name is not the class's."""
_DETAILS = ("content_id", "object_key", "current_etag", "size", "eta", "retry_after")
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LINE_BREAKS = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")


def code_of(exc: Exception) -> ExitCode:
    """Return the exit code that an error leads to."""
    if isinstance(exc, CommandError):
        return exc.code
    return next((code for kind, code in _CODES if isinstance(exc, kind)), ExitCode.FAILED)


def tell(exc: Exception, *, as_json: bool) -> None:
    """Write the error to standard error: one line, `error: what happened (what to do)`, or one JSON object."""
    hint = _hint(exc)
    message = _LINE_BREAKS.sub("; ", str(exc).strip()) or type(exc).__name__
    if not as_json:
        _to_stderr(f"error: {message} ({hint})" if hint else f"error: {message}")
        return
    _to_stderr(json.dumps({"error": slug_of(exc), "message": message, **_extras(exc, hint)}))


def slug_of(exc: Exception) -> str:
    """Return the error's stable name, as in the service's `urn:thermocline:error:NAME`."""
    if isinstance(exc, CommandError):
        return exc.slug
    named = next((name for kind, name in _NAMES if isinstance(exc, kind)), None)
    return named or _WORD.sub("-", type(exc).__name__.removesuffix("Error")).lower()


def _hint(exc: Exception) -> str:
    if isinstance(exc, CommandError):
        return exc.hint
    return next((hint for kind, hint in _HINTS if isinstance(exc, kind)), "")


def _extras(exc: Exception, hint: str) -> dict[str, Any]:
    extras: dict[str, Any] = {"hint": hint} if hint else {}
    extras["exit_code"] = int(code_of(exc))
    extras["retryable"] = isinstance(exc, StorageError) and exc.retryable
    for name in _DETAILS:
        value = getattr(exc, name, None)
        if value is not None:
            extras[name] = format_moment(value) if name == "eta" else value
    return extras


def _to_stderr(line: str) -> None:
    # A closed standard error must not turn a told failure into another one.
    if sys.stderr is not None:
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except OSError:
            return
