"""One line of an access log: S3 server access logs, Cloudflare's JSON lines, the combined format of web servers.

Sources (November 2026): docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html,
developers.cloudflare.com/logs/logpush/logpush-job/datasets/zone/http_requests/,
httpd.apache.org/docs/2.4/logs.html#combined.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote

SERVED: Final = frozenset({200, 206})
"""Answers that carried bytes."""
FROM_THE_EDGE: Final = frozenset({"hit", "stale", "updating"})
"""Cloudflare answered by itself: no storage read."""

_TIME = r"\[(?P<time>[^\]]{1,40})\]"
S3_LINE: Final = re.compile(
    rf"(?P<owner>\S+) (?P<bucket>\S+) {_TIME} \S+ \S+ \S+ (?P<operation>[A-Z]+(?:\.[A-Z0-9_]+)+) (?P<key>\S+) "
    r'(?:"[^"]*"|-) (?P<status>\d{3}|-) \S+ (?P<sent>\d+|-) (?P<size>\d+|-)(?: |$)'
)
COMBINED_LINE: Final = re.compile(
    rf'\S+ \S+ \S+ {_TIME} "(?P<method>[A-Z]+) (?P<target>\S+)(?: [^"]*)?" (?P<status>\d{{3}}) (?P<sent>\d+|-)(?: |$)'
)
_MONTH_NAMES: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_CLF_TIME: Final = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")
_SECONDS_DIGITS: Final = 11
_MILLIS_DIGITS: Final = 14


class NoRead(Enum):
    """Why a line is no access."""

    SKIPPED = "a write, a listing, a failed request, or an answer from the edge"
    UNREADABLE = "not a line of this log"
    ELSEWHERE = "of another bucket"


@dataclass(frozen=True, slots=True)
class Access:
    """One read."""

    seconds: float
    object_id: str
    size: int
    """Of the object where the log says so, else what was sent."""


ReadLine = Callable[[str], Access | NoRead]


def read_s3(line: str) -> Access | NoRead:
    """Read a line of an S3 server access log: GETs that were served."""
    return _read_s3(line, None)


def s3_reader(bucket: str) -> ReadLine:
    """Return what reads lines of S3 server access logs, of this bucket alone."""
    return lambda line: _read_s3(line, bucket)


def _read_s3(line: str, bucket: str | None) -> Access | NoRead:
    found = S3_LINE.match(line)
    seconds = None if found is None else _clf_seconds(found["time"])
    if found is None or seconds is None:
        return NoRead.UNREADABLE
    if bucket is not None and found["bucket"] != bucket:
        return NoRead.ELSEWHERE
    is_get = found["operation"] in {"REST.GET.OBJECT", "WEBSITE.GET.OBJECT"}
    if not is_get or found["key"] == "-" or found["status"] == "-" or int(found["status"]) not in SERVED:
        return NoRead.SKIPPED
    size = found["size"] if found["size"] != "-" else found["sent"]
    return Access(seconds, unquote(unquote(found["key"])), 0 if size == "-" else int(size))


def read_combined(line: str) -> Access | NoRead:
    """Read a line in the common or combined format: GETs that were served, without their query."""
    found = COMBINED_LINE.match(line)
    seconds = None if found is None else _clf_seconds(found["time"])
    if found is None or seconds is None:
        return NoRead.UNREADABLE
    object_id = unquote(found["target"].partition("?")[0])
    if found["method"] != "GET" or int(found["status"]) not in SERVED or not object_id:
        return NoRead.SKIPPED
    return Access(seconds, object_id, 0 if found["sent"] == "-" else int(found["sent"]))


def read_cloudflare(line: str) -> Access | NoRead:
    """Read a line of Cloudflare's HTTP requests: GETs that were served and that its edge did not answer by itself."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return NoRead.UNREADABLE
    if not isinstance(told, dict):
        return NoRead.UNREADABLE
    seconds = _json_seconds(told.get("EdgeStartTimestamp"))
    path = told.get("ClientRequestPath", told.get("ClientRequestURI"))
    status, size = told.get("EdgeResponseStatus"), told.get("EdgeResponseBytes", 0)
    if seconds is None or not isinstance(path, str) or not isinstance(status, int) or not isinstance(size, int):
        return NoRead.UNREADABLE
    object_id = unquote(path.partition("?")[0])
    from_edge = str(told.get("CacheCacheStatus", "")).lower() in FROM_THE_EDGE
    if from_edge or told.get("ClientRequestMethod", "GET") != "GET" or status not in SERVED or not object_id:
        return NoRead.SKIPPED
    return Access(seconds, object_id, max(size, 0))


S3_LOG: Final = "S3 server access log"
KINDS: Final[dict[str, ReadLine]] = {
    "Cloudflare log": read_cloudflare,
    S3_LOG: read_s3,
    "combined access log": read_combined,
}


def kind_of(head: bytes) -> str | None:
    """Return which of `KINDS` the first lines are, None if none of them can be read as one."""
    lines = head.decode("utf-8", "replace").split("\n")[:50]
    for name, read in KINDS.items():
        if any(read(line.strip("\r")) is not NoRead.UNREADABLE for line in lines if line.strip()):
            return name
    return None


def _clf_seconds(text: str) -> float | None:
    found = _CLF_TIME.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, _, year, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        moment = datetime(
            int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
    except ValueError:
        return None
    offset = int(hours) * 3600 + int(minutes) * 60
    return moment.timestamp() - (offset if sign == "+" else -offset)


def _json_seconds(value: Any) -> float | None:
    """Return seconds, whether Cloudflare was told to write nanoseconds, milliseconds, seconds or RFC 3339."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        digits = len(str(abs(value)))
        divisor = 1 if digits <= _SECONDS_DIGITS else 1e3 if digits <= _MILLIS_DIGITS else 1e9
        return value / divisor
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    return None
