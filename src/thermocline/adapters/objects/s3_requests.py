"""The requests that moves send by the million, CopyObject, HEAD and GET: signed here, sent over a plain HTTP session.

botocore's client takes more than a millisecond of processor time for each (`bench copies`): its signer
alone is used. Nothing is retried here, and answers are as the store gave them.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from botocore.auth import EMPTY_SHA256_HASH, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from yarl import URL

_METADATA: Final = "x-amz-meta-"
MOST_TOLD: Final = 64 * 1024
"""How much of what a store says of a request is read."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")
_NAMES: Final = {
    "content-type": "ContentType",
    "etag": "ETag",
    "x-amz-archive-status": "ArchiveStatus",
    "x-amz-restore": "Restore",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-storage-class": "StorageClass",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """The beginning of it."""


class _SignerOfOne(S3SigV4Auth):  # type: ignore[misc]
    """Signs one request without a body: what follows from that is not worked out, and nothing is worked out twice."""

    _chosen: Any = None

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002
        return str(EMPTY_SHA256_HASH)

    def headers_to_sign(self, request: AWSRequest) -> Any:
        if self._chosen is None:
            self._chosen = super().headers_to_sign(request)
        return self._chosen


class S3Requests:
    """Signed requests for objects of one bucket."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        region: str,
        bucket_url: Callable[[], Awaitable[str]],
        credentials: Callable[[], Awaitable[Any]],
    ) -> None:
        """`bucket_url` tells what precedes a key in a URL, `credentials` as which frozen credentials to sign."""
        self._http = http
        self._region = region
        self._bucket_url = bucket_url
        self._credentials = credentials

    async def send(self, method: str, stored: str, headers: Mapping[str, str], *, most: int = MOST_TOLD) -> Answer:
        """Send a request without a body for the object at `stored`; return the answer, cut behind `most` bytes."""
        url = await self._bucket_url() + in_url(stored)
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        _SignerOfOne(await self._credentials(), "s3", self._region).add_auth(request)
        async with self._http.request(
            method,
            URL(url, encoded=True),
            headers=dict(request.headers.items()),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            allow_redirects=False,
        ) as answer:
            read = bytearray()
            while len(read) < most and (piece := await answer.content.read(most - len(read))):
                read += piece
            return Answer(answer.status, answer.headers, bytes(read))


def in_url(stored: str) -> str:
    """Return a key as S3 wants it in a URL, and signed."""
    return quote(stored, safe="/-_.~")


def as_botocore_tells(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what the answer to a HEAD, or to a GET of a range, says of the object, under botocore's names for it."""
    part = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    told: dict[str, Any] = {
        "ContentLength": int(part[2] if part else headers["Content-Length"]),
        "LastModified": parsedate_to_datetime(headers["Last-Modified"]),
        "ResponseMetadata": {"HTTPHeaders": {name.lower(): value for name, value in headers.items()}},
    }
    metadata: dict[str, str] = {}
    for name, value in headers.items():
        small = name.lower()
        if small.startswith(_METADATA):
            metadata[small.removeprefix(_METADATA)] = value
        elif small in _NAMES:
            told[_NAMES[small]] = value
    told["Metadata"] = metadata
    return told


def copy_headers(
    bucket: str, source: str, *, metadata: Mapping[str, str], storage_class: str, content_type: str | None
) -> dict[str, str]:
    """Return the headers of a PUT that copies `source` in its bucket and describes the copy anew."""
    headers = {
        "x-amz-copy-source": f"{bucket}/{in_url(source)}",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-storage-class": storage_class,
    } | {_METADATA + name: value for name, value in metadata.items()}
    return headers if content_type is None else headers | {"Content-Type": content_type}
