"""Errors of S3 become ours here, from a table of its codes.

Sources: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, developers.cloudflare.com/r2/api/error-codes,
src/rgw/rgw_common.cc of Ceph (all November 2026). A code that is not in the table is judged by its HTTP status.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thermocline.domain.errors import (
    IntentLostError,
    ObjectArchivedError,
    ObjectMissingError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.units import Seconds

SOON: Final = Seconds(1.0)
LATER: Final = Seconds(60.0)
"""For what somebody has to mend first."""
LONGEST_WAIT: Final = Seconds(300.0)

_CODE: Final = re.compile(r"<Code>\s*([^<\s]{1,64})\s*</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_DEBUG: Final = "\n\nDebug source"


@dataclass(frozen=True, slots=True)
class Place:
    """Which store is spoken of, in the words of its settings."""

    label: str
    """How messages begin."""
    bucket: str
    endpoint: str
    """Empty: the vendor's own."""
    region: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What a store answered; `code` is empty and `status` 0 if it did not answer."""

    code: str
    status: int
    retry_after: Seconds = SOON


Make = Callable[[Place, Failure, str, str], StorageError]
"""Makes our error of: the store, the failure, what was being done, and the key."""


def _busy(place: Place, failure: Failure, doing: str, _key: str) -> StorageError:
    return UnavailableError(
        f"{place.label} {doing}: the store is busy or failing ({failure.code or failure.status}); try again",
        retry_after=failure.retry_after,
    )


def _wrong(text: str) -> Make:
    def make(place: Place, failure: Failure, doing: str, _key: str) -> StorageError:
        told = text.format(bucket=place.bucket, endpoint=place.endpoint or "AWS", region=place.region, doing=doing)
        return UnavailableError(f"{place.label} {told} ({failure.code})", retry_after=LATER)

    return make


def _full(place: Place, failure: Failure, doing: str, _key: str) -> StorageError:
    return OutOfSpaceError(
        f"{place.label} {doing}: the bucket's or user's quota is used up ({failure.code}); free space or "
        "raise the quota, nothing acknowledged was lost",
        retry_after=LATER,
    )


def _damaged(place: Place, failure: Failure, doing: str, _key: str) -> StorageError:
    return UnavailableError(
        f"{place.label} {doing}: the bytes were damaged on their way ({failure.code}); nothing was stored, try again"
    )


def _other(place: Place, failure: Failure, doing: str, _key: str) -> StorageError:
    return StorageError(
        f"{place.label} {doing}: the store refused it ({failure.code or failure.status}, HTTP status {failure.status})"
    )


def _missing(_place: Place, _failure: Failure, _doing: str, key: str) -> StorageError:
    return ObjectMissingError(key)


def _archived(_place: Place, _failure: Failure, _doing: str, key: str) -> StorageError:
    return ObjectArchivedError(key)


def _aborted(_place: Place, _failure: Failure, _doing: str, key: str) -> StorageError:
    return IntentLostError(f"the unfinished upload of {key!r} was deleted; nothing was stored; try again")


_BUCKET = _wrong("bucket = '{bucket}' does not exist at {endpoint}; create it or correct the setting")
_BUCKET_NAME = _wrong("bucket = '{bucket}' is no valid name of a bucket; correct the setting")
_ACCESS_KEY = _wrong("access_key_id is not known to {endpoint}; correct the setting")
_SECRET = _wrong("secret_access_key does not belong to access_key_id; correct the setting")
_TOKEN = _wrong("session_token is invalid or has expired; renew the credentials")
_REGION = _wrong(
    "region = '{region}' is not where bucket '{bucket}' lies, or endpoint names another region; correct them"
)
_DENIED = _wrong(
    "{doing}: access denied; give the credentials the right to read, write, list and delete in bucket '{bucket}'"
)
_CLASS = _wrong("storage_class of a placement is not one that {endpoint} has; correct [placements]")
_CLOCK = _wrong("the clock of this machine and that of {endpoint} differ too much; synchronise it (NTP)")
_CANNOT = _wrong("{doing}: {endpoint} cannot do that; check dialect")

_TABLE: Final[Mapping[str, Make]] = {
    **dict.fromkeys(
        (
            "SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
            "TooManyRequests", "BandwidthLimitExceeded", "RequestThrottled", "ServerBusy", "InternalError",
            "InternalServerError", "RequestTimeout", "RequestTimeoutException", "OperationAborted",
            "ConditionalRequestConflict", "IncompleteBody", "BadGateway", "GatewayTimeout",
            "GlacierExpeditedRetrievalNotAvailable", "PriorRequestNotComplete",
        ),
        _busy,
    ),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion"), _missing),
    **dict.fromkeys(("InvalidObjectState", "ObjectNotInActiveTierError"), _archived),
    "NoSuchUpload": _aborted,
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET_NAME,
    **dict.fromkeys(("InvalidAccessKeyId", "Unauthorized", "InvalidSecurity"), _ACCESS_KEY),
    "SignatureDoesNotMatch": _SECRET,
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"), _TOKEN),
    **dict.fromkeys(
        (
            "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
            "AuthorizationQueryParametersError", "TemporaryRedirect", "Redirect", "InvalidRegionName",
        ),
        _REGION,
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"), _DENIED),
    "InvalidStorageClass": _CLASS,
    "RequestTimeTooSkewed": _CLOCK,
    **dict.fromkeys(("NotImplemented", "MethodNotAllowed"), _CANNOT),
    **dict.fromkeys(("QuotaExceeded", "InsufficientStorage", "EntityTooLargeForQuota"), _full),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"), _damaged
    ),
}  # fmt: skip

_BY_STATUS: Final[Mapping[int, Make]] = {
    301: _REGION, 307: _REGION, 401: _ACCESS_KEY, 403: _DENIED, 404: _missing, 408: _busy, 429: _busy, 501: _CANNOT,
    507: _full,
}  # fmt: skip
"""For answers without a body, such as those to HEAD."""


def explain(failure: Failure, place: Place, doing: str, key: str = "") -> StorageError:
    """Return our error for a failure while `doing` something with `key`; to be raised `from` the vendor's."""
    if not failure.status and not failure.code:
        where = place.endpoint or "AWS"
        return UnavailableError(
            f"{place.label} {doing}: {where} does not answer; check endpoint and the network, or try again"
        )
    make = _TABLE.get(failure.code) or _BY_STATUS.get(failure.status) or (_busy if failure.status >= 500 else _other)  # noqa: PLR2004
    return make(place, failure, doing, key)


def timed_out(place: Place, doing: str, within: Seconds) -> StorageError:
    """Return the error for a request that was given up."""
    return UnavailableError(f"{place.label} {doing}: no answer within {within:g} s; try again")


def failure_of_answer(answer: Mapping[str, Any]) -> Failure:
    """Return what botocore read from an answer."""
    error, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code = str(error.get("Code", ""))
    status = int(meta.get("HTTPStatusCode") or 0)
    if code.isdigit():  # botocore's word for an answer without a body
        status, code = int(code), ""
    return Failure(code, status, _seconds(meta.get("HTTPHeaders", {}).get("retry-after")))


def failure_of_text(text: str) -> Failure:
    """Return what obstore's message quotes of the answer: it has the status and the XML of S3, word for word."""
    told = text.partition(_DEBUG)[0]
    code, status = _CODE.search(told), _STATUS.search(told)
    return Failure(code[1] if code else "", int(status[1]) if status else 0)


def failure_of_body(status: int, body: str, retry_after: str | None) -> Failure:
    """Return what an answer to a bare HTTP request says."""
    code = _CODE.search(body)
    return Failure(code[1] if code else "", status, _seconds(retry_after))


def _seconds(header: str | None) -> Seconds:
    if header and header.strip().isdigit():
        return Seconds(min(float(header.strip()), LONGEST_WAIT))
    return SOON
