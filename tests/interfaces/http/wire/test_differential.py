"""For any bytes, cut anywhere: the same answers as plain uvicorn's, or as the wire's own without shortcuts."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.counts import SOAK
from tests.interfaces.http.wire.harness import App, Connection, Response, get, put, put_chunked, settle
from thermocline.interfaces.http.wire.guarded import GuardedProtocol
from thermocline.interfaces.http.wire.protocol import HotProtocol
from thermocline.interfaces.http.wire.remembering import RememberingProtocol

pytestmark = pytest.mark.thorough

EXAMPLES = 5_000 if SOAK else 120
WIRE = (GuardedProtocol, HotProtocol, RememberingProtocol)

_paths = st.sampled_from(["/hot/0", "/hot/1", "/hot/30", "/hot/20000", "/missing", "/hot/3?x", "http://a/hot/2", "*"])
_headers = st.lists(
    st.sampled_from(
        [
            "Accept: */*",
            "Authorization: Bearer x",
            'If-None-Match: "/hot/1"',
            "Range: bytes=0-1",
            "Connection: keep-alive",
            "Cache-Control: no-cache",
            "Cookie: a",
            "Cookie: b",
            "Content-Length: 0",
        ]
    ),
    unique=True,
    max_size=3,
)
_reads = st.builds(
    lambda path, headers, method: get(path, *headers, method=method),
    _paths,
    _headers,
    st.sampled_from(["GET", "GET", "GET", "HEAD", "DELETE", "OPTIONS"]),
)
_bodies = st.one_of(st.binary(max_size=50), _reads, st.just(get("/hot/1")))
_puts = st.builds(put, st.just("/x"), _bodies)
_chunked = st.builds(lambda chunks: put_chunked("/x", *filter(None, chunks)), st.lists(_bodies, max_size=3))
_requests = st.one_of(st.just(get("/hot/1")), st.just(get("/hot/1")), _reads, _puts, _chunked)
_last = st.one_of(
    st.just(b""),
    st.just(get("/hot/1", "Connection: close") + get("/hot/1")),
    st.just(get("/hot/1", version="1.0")),
    st.just(get("/x", "Expect: 100-continue", "Content-Length: 3", method="PUT") + b"abc"),
    st.just(get("/hot/1")[:20]),
    st.just(put("/x", b"abcdef")[:-3]),
)
_streams = st.builds(lambda requests, last: b"".join(requests) + last, st.lists(_requests, max_size=8), _last)
_cuts = st.lists(st.integers(0, 1500), max_size=6)
_noise = st.one_of(
    st.binary(max_size=10),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"Content-Length: 5\r\n", b"0\r\n\r\n", b"HTTP/1.1"]),
)


def _cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [*sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _served(
    kind: type[HttpToolsProtocol], chunks: Sequence[bytes], *, eager: bool
) -> tuple[list[Response], list[bytes], bool]:
    """Return the responses, the bodies the application got, and whether the connection is over."""

    async def main() -> tuple[list[Response], list[bytes], bool]:
        client = Connection(kind=kind, app=App())
        for chunk in chunks:
            client.send(chunk)
            if not eager:
                await settle()
        for _ in chunks:
            await settle()
        seen = client.responses, list(client.app.bodies), client.over
        client.transport.abort()
        await settle()
        return seen

    return asyncio.run(main())


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=_streams, cuts=_cuts, eager=st.booleans())
@example(stream=get("/hot/1") * 3 + put("/x", get("/hot/1")), cuts=[57], eager=False)
def test_valid_streams_are_answered_as_by_plain_uvicorn(stream: bytes, cuts: list[int], *, eager: bool) -> None:
    chunks = _cut(stream, cuts)
    expected, _, over = _served(HttpToolsProtocol, chunks, eager=eager)
    for kind in WIRE:
        responses, _, ended = _served(kind, chunks, eager=eager)
        assert (responses, ended) == (expected, over), kind


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=_streams, noise=_noise, at=st.integers(0, 2000), gone=st.integers(0, 3), cuts=_cuts, eager=st.booleans())
def test_damaged_streams_are_answered_alike_with_and_without_shortcuts(
    stream: bytes, noise: bytes, at: int, gone: int, cuts: list[int], *, eager: bool
) -> None:
    at = min(at, len(stream))
    chunks = _cut(stream[:at] + noise + stream[at + gone :], cuts)
    expected, bodies, over = _served(GuardedProtocol, chunks, eager=eager)
    refusals = [response for response in expected if response.status in {400, 431, 414, 501}]
    assert len(refusals) <= 1
    if refusals:
        assert expected[-1] is refusals[0]
        assert over
    for kind in (HotProtocol, RememberingProtocol):
        responses, _, ended = _served(kind, chunks, eager=eager)
        assert (responses, ended) == (expected, over), kind
        assert _uploads(_served(kind, chunks, eager=eager)[1]) == _uploads(bodies), kind


def _uploads(bodies: Sequence[bytes]) -> list[bytes]:
    return [body for body in bodies if body]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chunks=st.lists(st.one_of(_reads, st.just(get("/hot/1")), _noise, _puts), max_size=8))
def test_remembering_is_invisible_chunk_by_chunk(chunks: list[bytes]) -> None:
    assert _served(RememberingProtocol, chunks, eager=True)[0] == _served(HotProtocol, chunks, eager=True)[0]
    assert _served(RememberingProtocol, chunks, eager=False)[0] == _served(HotProtocol, chunks, eager=False)[0]
