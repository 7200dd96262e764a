"""The two clients of an S3 store, and the one place where their calls are bounded, timed and translated.

obstore carries the bytes: a ranged read of 64 KiB costs it a fifth of the processor time that botocore takes. It
knows neither RestoreObject, copies into a storage class, unfinished uploads nor what a HEAD says besides the size:
that is aiobotocore's, off the hot path. Parts of uploads, HEADs, copies and their probes go through one plain HTTP
session.

**Retries are the clients' alone**: each request passes through exactly one of them, and each knows which of its
requests may be repeated. Everything together ends within `request_time`, which includes waiting for a connection.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import obstore.exceptions
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)
from obstore.store import S3Store
from yarl import URL

from thermocline.adapters.objects.s3_dialects import Dialect
from thermocline.adapters.objects.s3_errors import (
    LATER,
    Failure,
    Place,
    explain,
    failure_of_answer,
    failure_of_body,
    failure_of_text,
    timed_out,
)
from thermocline.adapters.objects.s3_keys import stored_key
from thermocline.adapters.objects.s3_requests import MOST_TOLD, Answer, S3Requests, as_botocore_tells
from thermocline.domain.errors import StorageError, UnavailableError
from thermocline.domain.units import Seconds

T = TypeVar("T")

NO_ANSWER: Final = Failure("", 0)
ATTEMPTS: Final = 3
_VENDOR_ERRORS: Final = (obstore.exceptions.BaseError, OSError)
_SHOWN_BODY: Final = 4096
_MOST_SMALL: Final = 4096


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where a store is, and who we are to it. Secrets never show in a print."""

    label: str
    """How messages call it: `[objects.NAME]` where settings have it."""
    bucket: str
    dialect: Dialect
    endpoint: str = ""
    """Empty: the vendor's own (AWS only)."""
    region: str = ""
    """Empty: the dialect's usual one."""
    access_key_id: str = ""
    """Empty: the usual chain of AWS (environment, profile, role of the machine)."""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    profile: str = ""
    path_style: bool | None = None

    @property
    def place(self) -> Place:
        """What messages say of it."""
        return Place(self.label, self.bucket, self.endpoint, self.region or self.dialect.default_region)

    @property
    def names_bucket_in_path(self) -> bool:
        """Whether the bucket is named in the path rather than in the host."""
        if self.path_style is not None:
            return self.path_style
        return self.dialect.path_style or _is_address(urlsplit(self.endpoint).hostname or "")


@dataclass(frozen=True, slots=True)
class S3Limits:
    """Bounds of one store's clients in one process."""

    connect_time: Seconds = Seconds(5.0)
    stall_time: Seconds = Seconds(15.0)
    """How long a connection may stand still."""
    request_time: Seconds = Seconds(50.0)
    """How long a request may take in all, with its retries and its wait for a connection."""
    max_connections: int = 64
    """Of reads at once, and of writes at once."""


class Refused(Exception):  # noqa: N818 - no error: an answer that the caller asked to hear of
    """The store answered with a code that the caller knows what to do about."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class S3Clients:
    """Open clients of one bucket. Every call raises errors of ours."""

    def __init__(
        self,
        location: S3Location,
        limits: S3Limits,
        objects: S3Store,
        client: Any,
        http: aiohttp.ClientSession,
        credentials: Callable[[], Awaitable[Any]],
    ) -> None:
        self.place = location.place
        self.dialect = location.dialect
        self.bucket = location.bucket
        self.objects = objects
        self.limits = limits
        self._client = client
        self._http = http
        self._requests = S3Requests(
            http, region=location.place.region, bucket_url=self._url_of_bucket, credentials=credentials
        )
        self._bucket_url = ""
        # Apart, so that those who read one object while they write another never wait for one another in a ring.
        self._reads = asyncio.Semaphore(limits.max_connections)
        self._writes = asyncio.Semaphore(limits.max_connections)

    async def call(
        self, doing: str, key: str, operation: str, *, hears: frozenset[str] = frozenset(), **parameters: Any
    ) -> Any:
        """Return botocore's answer. Raises `Refused` for codes in `hears`, or the status where there is no code."""
        async with self._translated(doing, key, hears):
            return await getattr(self._client, operation)(Bucket=self.bucket, **parameters)

    async def head(self, doing: str, key: str) -> Mapping[str, Any] | None:
        """Return what botocore's HeadObject would tell of the object, None if there is none."""
        answer = await self._signed(doing, key, "HEAD", stored_key(key), {})
        if answer.status == 404:  # noqa: PLR2004
            return None
        return as_botocore_tells(answer.headers)

    async def head_and_read(self, doing: str, key: str, start: int, end: int) -> tuple[Mapping[str, Any], bytes]:
        """Return what botocore's HeadObject would tell of the object, and its bytes `[start, end)`, cut at its own end.

        Raises `EOFError` where it has none there.
        """
        asked = {"Range": f"bytes={start}-{end - 1}"}
        answer = await self._signed(doing, key, "GET", stored_key(key), asked, most=max(end - start + 1, MOST_TOLD))
        if len(answer.body) > end - start:
            raise StorageError(f"{self.place.label} {doing}: more bytes came than were asked for")
        return as_botocore_tells(answer.headers), answer.body

    async def copy(self, doing: str, source: str, target: str, headers: Mapping[str, str]) -> None:
        """Copy an object inside the bucket in one request. Repeating it succeeds."""
        await self._signed(doing, source, "PUT", stored_key(target), headers)

    async def _signed(
        self, doing: str, key: str, method: str, stored: str, headers: Mapping[str, str], *, most: int = MOST_TOLD
    ) -> Answer:
        """Return the answer with at most so many bytes; what is worth another attempt has had it.

        It is 200, to a HEAD also 404, to a request for a range 206.
        """
        try:
            async with asyncio.timeout(self.limits.request_time):
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        return await self._signed_once(doing, key, method, stored, headers, most)
                    except UnavailableError as exc:
                        if attempt == ATTEMPTS or exc.retry_after == LATER:
                            raise
                    await asyncio.sleep(0.1 * 2**attempt)
        except TimeoutError as exc:
            raise timed_out(self.place, doing, self.limits.request_time) from exc
        raise AssertionError

    async def _signed_once(
        self, doing: str, key: str, method: str, stored: str, headers: Mapping[str, str], most: int
    ) -> Answer:
        try:
            answer = await self._requests.send(method, stored, headers, most=most)
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise self._no_credentials() from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise explain(NO_ANSWER, self.place, doing, key) from exc
        except BotoCoreError as exc:
            raise StorageError(f"{self.place.label} {doing}: {exc}") from exc
        if answer.status == 404 and method == "HEAD":  # noqa: PLR2004
            return answer
        if method == "GET" and answer.status == 206:  # noqa: PLR2004
            return answer
        if method == "GET" and answer.status == 200:  # noqa: PLR2004
            raise StorageError(
                f"{self.place.label} {doing}: all of the object came where a part was asked for; "
                "the endpoint, or a proxy before it, does not heed Range headers: use another one"
            )
        told = answer.body.decode(errors="replace")
        failure = failure_of_body(answer.status, told, answer.headers.get("Retry-After"))
        if _is_beyond_end(failure):
            raise _ended(key)
        # A copy that fails after its answer began has status 200 all the same.
        if answer.status == 200 and (not failure.code or "<Error>" not in told):  # noqa: PLR2004
            return answer
        raise explain(failure, self.place, doing, key)

    async def _url_of_bucket(self) -> str:
        if not self._bucket_url:
            url = await self.presigned("head_object", Seconds(1.0), Key="k")
            self._bucket_url = url.partition("?")[0].removesuffix("k")
        return self._bucket_url

    async def read_small(self, doing: str, key: str, *, hears: frozenset[str], **parameters: Any) -> bytes:
        """Return a small object whole, by botocore, which tells more of what fails than obstore does."""
        async with self._translated(doing, key, hears):
            answer = await self._client.get_object(Bucket=self.bucket, **parameters)
            async with answer["Body"] as body:
                data: bytes = await body.read(_MOST_SMALL)
        return data

    @asynccontextmanager
    async def _translated(self, doing: str, key: str, hears: frozenset[str]) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.request_time):
                yield
        except ClientError as exc:
            failure = failure_of_answer(exc.response)
            told = failure.code or str(failure.status)
            if told in hears:
                raise Refused(told) from exc
            raise explain(failure, self.place, doing, key) from exc
        except TimeoutError as exc:
            raise timed_out(self.place, doing, self.limits.request_time) from exc
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise self._no_credentials() from exc
        except (HTTPClientError, BotocoreConnectionError, aiohttp.ClientError, OSError) as exc:
            raise explain(NO_ANSWER, self.place, doing, key) from exc
        except BotoCoreError as exc:
            raise StorageError(f"{self.place.label} {doing}: {exc}") from exc

    async def presigned(self, operation: str, within: Seconds, **parameters: Any) -> str:
        """Return a URL with which anybody may send this one request for so long; no request is sent."""
        try:
            url: str = await self._client.generate_presigned_url(
                operation, Params={"Bucket": self.bucket, **parameters}, ExpiresIn=max(1, round(within))
            )
        except (NoCredentialsError, PartialCredentialsError) as exc:
            raise self._no_credentials() from exc
        return url

    async def write(self, doing: str, key: str, send: Callable[[], Awaitable[T]]) -> T:
        """Return what obstore answers to a write."""
        return await self._bounded(self._writes, doing, key, send)

    async def read(self, doing: str, key: str, send: Callable[[], Awaitable[T]]) -> T:
        """Return what obstore answers to a read."""
        return await self._bounded(self._reads, doing, key, send)

    @asynccontextmanager
    async def streaming(self, doing: str, key: str) -> AsyncIterator[None]:
        """Hold a connection for reading for as long as the block takes, and translate what is raised in it."""
        try:
            async with asyncio.timeout(self.limits.request_time):
                await self._reads.acquire()
        except TimeoutError as exc:
            raise timed_out(self.place, doing, self.limits.request_time) from exc
        try:
            yield
        except StorageError:
            raise
        except _VENDOR_ERRORS as exc:
            raise self._explained(exc, doing, key) from exc
        finally:
            self._reads.release()

    async def send_part(self, doing: str, key: str, url: str, headers: Mapping[str, str], body: Any) -> str:
        """PUT `body`, which is made anew for each attempt by calling it, to a presigned URL; return the ETag."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._put(doing, key, url, headers, body())
            except UnavailableError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError

    async def _put(self, doing: str, key: str, url: str, headers: Mapping[str, str], body: Any) -> str:
        try:
            async with (
                asyncio.timeout(self.limits.request_time),
                self._writes,
                self._http.put(URL(url, encoded=True), data=body, headers=headers) as answer,
            ):
                if answer.status == 200:  # noqa: PLR2004
                    return answer.headers["ETag"]
                text = (await answer.content.read(_SHOWN_BODY)).decode(errors="replace")
                failure = failure_of_body(answer.status, text, answer.headers.get("Retry-After"))
        except TimeoutError as exc:
            raise timed_out(self.place, doing, self.limits.request_time) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise explain(NO_ANSWER, self.place, doing, key) from exc
        raise explain(failure, self.place, doing, key)

    async def _bounded(self, slots: asyncio.Semaphore, doing: str, key: str, send: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.limits.request_time), slots:
                return await send()
        except TimeoutError as exc:
            raise timed_out(self.place, doing, self.limits.request_time) from exc
        except obstore.exceptions.AlreadyExistsError as exc:
            raise Refused("PreconditionFailed") from exc
        except _VENDOR_ERRORS as exc:
            raise self._explained(exc, doing, key) from exc

    def _explained(self, exc: Exception, doing: str, key: str) -> Exception:
        failure = failure_of_text(str(exc))
        if _is_beyond_end(failure):
            return _ended(key)
        return explain(failure, self.place, doing, key)

    def _no_credentials(self) -> StorageError:
        return UnavailableError(
            f"{self.place.label} no credentials were found; set access_key_id and secret_access_key, "
            "profile, or the environment of AWS",
            retry_after=LATER,
        )


def _is_beyond_end(failure: Failure) -> bool:
    """Whether a range was asked for that begins behind the object's end."""
    return failure.code == "InvalidRange" or failure.status == 416  # noqa: PLR2004


def _ended(key: str) -> EOFError:
    return EOFError(f"object {key!r} ends before the range that was asked for")


def _is_address(host: str) -> bool:
    """Whether the host is an IP address, which cannot have the bucket's name before it."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
