"""Whether a request to the Glacier server is signed by whom it says, in its region, just now: Signature Version 4.

The signature is reckoned by botocore's signer over what came, so it is the client's own canonical form that is checked.
Clients send it in the header, over the digest of the body or over one of the words that stand for it, or, presigned, in
the query. Neither obstore nor aiobotocore, as the store uses them, sends bodies in signed chunks: those are refused.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from thermocline.testing.servers.glacier_objects import S3Error

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MOST_SKEW: Final = 900.0
"""Seconds between a signature and the server's clock (S3 error responses, "RequestTimeTooSkewed", November 2026)."""
_FIELD: Final = re.compile(r"\s*(\w+)=([^,]*)")
_SIGNATURE: Final = "X-Amz-Signature"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature."""

    access_key: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    lives: float | None
    """Of a presigned request: for how many seconds from then on it is good."""


class Signatures:
    """Checks requests of one user in one region, by the clock of this machine, which `skew` puts ahead."""

    def __init__(
        self, access_key: str, secret_key: str, region: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.skew = 0.0
        self._access_key = access_key
        self._region = region
        self._clock = clock
        self._signer = S3SigV4Auth(ReadOnlyCredentials(access_key, secret_key, None), "s3", region)

    def check(self, request: web.Request) -> None:
        """Return if the request is signed. Raises `S3Error`, in the order that AWS looks in."""
        claim = _claim_of(request)
        if claim.region != self._region:
            raise _malformed(
                claim,
                f"the region '{claim.region}' is wrong; expecting '{self._region}'",
                {"Region": self._region},
            )
        if claim.service != "s3":
            raise _malformed(claim, f'incorrect service "{claim.service}". This endpoint belongs to "s3".', {})
        if claim.access_key != self._access_key:
            raise S3Error(
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
                {"AWSAccessKeyId": claim.access_key},
            )
        self._check_time(claim)
        if claim.signature != self._signature_of(request, claim):
            raise S3Error(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and "
                "signing method.",
                {"AWSAccessKeyId": claim.access_key},
            )

    def _check_time(self, claim: Claim) -> None:
        try:
            signed_at = datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise S3Error(
                403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
            ) from None
        if claim.day != claim.timestamp[:8]:
            raise S3Error(403, "SignatureDoesNotMatch", "The day of the credential is not that of the request")
        age = self._clock() + self.skew - signed_at
        if claim.lives is not None:
            if age > claim.lives:
                raise S3Error(403, "AccessDenied", "Request has expired")
            if age < -MOST_SKEW:
                raise S3Error(403, "AccessDenied", "Request is not yet valid")
        elif abs(age) > MOST_SKEW:
            raise S3Error(
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                {"RequestTime": claim.timestamp, "MaxAllowedSkewMilliseconds": str(round(MOST_SKEW * 1000))},
            )

    def _signature_of(self, request: web.Request, claim: Claim) -> str:
        path, _, query = request.raw_path.partition("?")
        if claim.lives is not None:
            query = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != _SIGNATURE)
        headers = {name: ",".join(request.headers.getall(name, ())) for name in claim.signed_headers}
        # Signed or not, it is part of what is signed.
        headers.setdefault("x-amz-content-sha256", request.headers.get("x-amz-content-sha256", _UNSIGNED))
        signed = AWSRequest(request.method, f"http://{request.host}{path}?{query}", headers=headers)
        signed.context["timestamp"] = claim.timestamp
        signer = _Reduced(self._signer, claim.signed_headers)
        return signer.signature(signed)


class _Reduced:
    """The signer of botocore, for the headers that the client has signed."""

    def __init__(self, signer: S3SigV4Auth, signed_headers: tuple[str, ...]) -> None:
        self._signer = signer
        self._names = signed_headers

    def signature(self, request: AWSRequest) -> str:
        """Return the signature that the request should have."""
        signer = self._signer
        lines = signer.canonical_request(request).split("\n")
        # The payload's digest is added to the headers above, which only some clients sign.
        if "x-amz-content-sha256" not in self._names:
            lines = [line for line in lines if not line.startswith("x-amz-content-sha256:")]
            lines[-2] = ";".join(self._names)
        signature: str = signer.signature(signer.string_to_sign(request, "\n".join(lines)), request)
        return signature


def _claim_of(request: web.Request) -> Claim:
    header = request.headers.get("Authorization", "")
    if header:
        scheme, _, rest = header.partition(" ")
        if scheme != ALGORITHM:
            raise S3Error(400, "InvalidRequest", f"The authorization mechanism you have provided is not {ALGORITHM}.")
        fields = dict(_FIELD.findall(rest))
        if request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            raise S3Error(501, "NotImplemented", "Bodies in signed chunks or with trailers are not modelled")
        return _claim(fields, request.headers.get("x-amz-date", ""), None)
    query = request.query
    if query.get("X-Amz-Algorithm") == ALGORITHM:
        fields = {name: query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
        lives = query.get("X-Amz-Expires", "")
        if not lives.isdigit():
            raise S3Error(400, "AuthorizationQueryParametersError", "X-Amz-Expires should be a number")
        return _claim(fields, query.get("X-Amz-Date", ""), float(lives))
    raise S3Error(403, "AccessDenied", "Access Denied")


def _claim(fields: Mapping[str, str], timestamp: str, lives: float | None) -> Claim:
    code = "AuthorizationHeaderMalformed" if lives is None else "AuthorizationQueryParametersError"
    scope = fields.get("Credential", "").split("/")
    names = tuple(fields.get("SignedHeaders", "").split(";"))
    if len(scope) < 5 or scope[-1] != "aws4_request" or "host" not in names:
        raise S3Error(400, code, "The authorization is malformed; the credential or the signed headers are")
    *key, day, region, service, _ = scope
    return Claim("/".join(key), day, region, service, names, fields.get("Signature", "").strip(), timestamp, lives)


def _malformed(claim: Claim, what: str, details: Mapping[str, str]) -> S3Error:
    if claim.lives is None:
        return S3Error(400, "AuthorizationHeaderMalformed", f"The authorization header is malformed; {what}", details)
    return S3Error(
        400, "AuthorizationQueryParametersError", f"Error parsing the X-Amz-Credential parameter; {what}", details
    )
