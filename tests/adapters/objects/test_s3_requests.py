"""Requests that we sign ourselves: an error in an answer that began well is one, passing trouble is waited out."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from thermocline.adapters.objects.s3 import S3ObjectStore
from thermocline.adapters.objects.s3_clients import S3Limits, S3Location
from thermocline.adapters.objects.s3_dialects import DIALECTS
from thermocline.domain.errors import ObjectArchivedError, ObjectMissingError, StorageError, UnavailableError
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.ports.object_store import ObjectInfo

pytestmark = pytest.mark.server

HEAD = {"Content-Length": "3", "Last-Modified": "Sat, 28 Nov 2026 16:00:00 GMT", "ETag": '"e"'}
PART = {
    "Content-Range": "bytes 2-4/9",
    "Last-Modified": "Sat, 28 Nov 2026 16:00:00 GMT",
    "ETag": f'"{"0" * 32}"',
    "x-amz-server-side-encryption": "aws:kms",
}


def told(code: str) -> str:
    return f'<?xml version="1.0"?>\n\n<Error><Code>{code}</Code><Message>no</Message></Error>'


GOOD = "<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"


def serve(answers: list[tuple[int, str]], act: Callable[[S3ObjectStore], Awaitable[None]]) -> list[web.Request]:
    """Let a store answer copies so, in this order, while `act` is done; return what it was asked."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        if request.method == "HEAD":
            return web.Response(headers=HEAD)
        if "uploads" in request.query:
            return web.Response(text="<ListMultipartUploadsResult/>", content_type="application/xml")
        status, body = answers.pop(0)
        if status == 206:
            return web.Response(status=status, text=body, headers=PART)
        return web.Response(status=status, text=body, content_type="application/xml")

    async def scenario() -> None:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        runner = web.AppRunner(app)
        async with AsyncExitStack() as stack:
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            endpoint = "http://{}:{}".format(*runner.addresses[0][:2])
            location = S3Location(
                "[objects.main]",
                "b",
                DIALECTS["aws"],
                endpoint=endpoint,
                access_key_id="k",
                secret_access_key="s",  # noqa: S106
            )
            store = await stack.enter_async_context(
                S3ObjectStore.open(location, limits=S3Limits(request_time=Seconds(10.0)))
            )
            await act(store)

    asyncio.run(scenario())
    return asked


async def copy(store: S3ObjectStore) -> None:
    await store.copy("from/ä", "to", {"a": "b"}, storage_class="STANDARD_IA")


def test_a_copy_says_all_and_is_signed() -> None:
    (head, put) = serve([(200, GOOD)], copy)
    assert (head.method, head.path, head.raw_path) == ("HEAD", "/b/from/ä", "/b/from/%C3%A4")
    assert put.raw_path == "/b/to"
    assert put.headers["x-amz-copy-source"] == "b/from/%C3%A4"
    assert (put.headers["x-amz-storage-class"], put.headers["x-amz-meta-a"]) == ("STANDARD_IA", "b")
    assert "x-amz-copy-source" in put.headers["Authorization"]


def test_the_signature_is_that_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    for request in serve([(200, GOOD)], copy):
        moment = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda moment=moment: moment)
        signed = request.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        anew = AWSRequest(
            method=request.method,
            url=f"http://{request.host}{request.raw_path}",
            headers={name: request.headers[name] for name in signed if not name.startswith(("host", "x-amz-date"))},
        )
        _, _, region, *_ = request.headers["Authorization"].partition("Credential=")[2].split("/")
        S3SigV4Auth(ReadOnlyCredentials("k", "s", None), "s3", region).add_auth(anew)
        assert anew.headers["Authorization"] == request.headers["Authorization"]


def test_trouble_that_passes_is_waited_out_wherever_it_is_told() -> None:
    asked = serve([(200, told("InternalError")), (503, told("SlowDown")), (200, GOOD)], copy)
    assert [request.method for request in asked] == ["HEAD", "PUT", "PUT", "PUT"]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([(200, told("InternalError"))] * 3, UnavailableError),
        ([(403, told("InvalidObjectState"))], ObjectArchivedError),
        ([(403, told("AccessDenied"))], UnavailableError),
        ([(400, told("Strange"))], StorageError),
        ([(301, told("PermanentRedirect"))], UnavailableError),
    ],
)
def test_what_cannot_be_is_told_at_once(answers: list[tuple[int, str]], error: type[StorageError]) -> None:
    async def act(store: S3ObjectStore) -> None:
        with pytest.raises(error) as raised:
            await copy(store)
        assert type(raised.value) is error

    assert len(serve(list(answers), act)) == 1 + len(answers)


def test_a_store_that_knows_no_ranges_is_told_as_such() -> None:
    async def act(store: S3ObjectStore) -> None:
        with pytest.raises(StorageError, match="does not heed Range"):
            await store.head_and_fetch("k", 2, 5)

    assert len(serve([(200, "012345678")], act)) == 1


def test_a_part_tells_of_the_whole() -> None:
    async def act(store: S3ObjectStore) -> None:
        head, data = await store.head_and_fetch("ä", 2, 5)
        assert (head.size, head.checksum, data) == (9, None, b"234")

    (busy, get) = serve([(503, told("SlowDown")), (206, "234")], act)
    assert (get.method, get.raw_path, get.headers["Range"]) == ("GET", "/b/%C3%A4", "bytes=2-4")
    assert "range" in busy.headers["Authorization"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((206, "2345"), StorageError),
        ((206, "23"), EOFError),
        ((416, told("InvalidRange")), EOFError),
        ((404, told("NoSuchKey")), ObjectMissingError),
        ((403, told("InvalidObjectState")), ObjectArchivedError),
    ],
)
def test_what_is_not_the_part_that_was_asked_for_is_none(answer: tuple[int, str], error: type[Exception]) -> None:
    async def act(store: S3ObjectStore) -> None:
        with pytest.raises(error) as raised:
            await store.head_and_fetch("k", 2, 5)
        assert type(raised.value) is error

    assert len(serve([answer], act)) == 1


@pytest.mark.parametrize(
    "told_as",
    ["2026-11-28T16:00:00Z", "2026-11-28T16:00:00.999Z", "2026-11-28T17:00:00+01:00", "Sat, 28 Nov 2026 16:00:00 GMT"],
)
def test_a_listing_may_tell_moments_as_any_store_does(told_as: str) -> None:
    found: list[ObjectInfo] = []

    async def act(store: S3ObjectStore) -> None:
        async for page in store.list_pages("a"):
            found.extend(page)

    entry = f"<Contents><Key>a</Key><LastModified>{told_as}</LastModified><Size>3</Size></Contents>"
    nothing = (200, "<ListBucketResult/>")
    serve([(200, f"<ListBucketResult>{entry}</ListBucketResult>"), nothing], act)
    moment = datetime(2026, 11, 28, 16, tzinfo=UTC)
    assert found == [ObjectInfo("a", Bytes(3), Timestamp(int(moment.timestamp()) * 1_000_000))]


def test_of_many_deletions_one_that_fails_is_told_when_all_have_ended() -> None:
    async def act(store: S3ObjectStore) -> None:
        with pytest.raises(UnavailableError, match="access denied"):
            await store.delete([f"k{number}" for number in range(250)])

    done = (200, "<DeleteResult/>")
    asked = serve([done, (403, told("AccessDenied")), done], act)
    assert [request.method for request in asked] == ["GET", "POST", "POST", "POST"]
