"""Requests that are not fit to run get one problem document, after the answers owed, and nothing after it."""

import json
import logging

import pytest

from tests.interfaces.http.wire.harness import (
    MIB,
    Connection,
    Response,
    get,
    in_loop,
    put,
    put_chunked,
    settle,
)
from thermocline.interfaces.http.wire.guarded import GuardedProtocol
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.protocol import HotProtocol

SMUGGLED = get("/hot/9")
CHUNKED = get("/x", "Transfer-Encoding: chunked", method="PUT")

MALFORMED = {
    "two lengths": get("/x", "Content-Length: 3", "Content-Length: 3", method="PUT") + b"abc",
    "two different lengths": get("/x", "Content-Length: 3", "Content-Length: 4", method="PUT") + b"abc",
    "length list": get("/x", "Content-Length: 3, 3", method="PUT") + b"abc",
    "signed length": get("/x", "Content-Length: +3", method="PUT") + b"abc",
    "empty length": get("/x", "Content-Length: ", method="PUT"),
    "length and coding": get("/x", "Content-Length: 3", "Transfer-Encoding: chunked", method="PUT") + b"0\r\n\r\n",
    "coding and length": get("/x", "Transfer-Encoding: chunked", "Content-Length: 3", method="PUT") + b"0\r\n\r\n",
    "two codings": get("/x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", method="PUT") + b"0\r\n\r\n",
    "chunked not last": get("/x", "Transfer-Encoding: chunked, gzip", method="PUT") + b"0\r\n\r\n",
    "empty coding": get("/x", "Transfer-Encoding: ", method="PUT"),
    "coding in 1.0": get("/x", "Transfer-Encoding: chunked", method="PUT", version="1.0") + b"0\r\n\r\n",
    "bare LF": b"GET /hot/1 HTTP/1.1\nHost: a\n\n",
    "bare LF after a header": b"GET /hot/1 HTTP/1.1\r\nHost: a\n\r\n",
    "bare CR in a value": get("/hot/1", "A: b\rc"),
    "folded header": get("/hot/1", "A: b\r\n c"),
    "space before colon": get("/hot/1", "A : b"),
    "header without a name": get("/hot/1", ": b"),
    "header without a colon": get("/hot/1", "Ab"),
    "NUL in a value": get("/hot/1", "A: b\0c"),
    "control character in a value": get("/hot/1", "A: b\x01c"),
    "NUL in the target": get("/hot/\0"),
    "bytes past ASCII in the target": get("/hot/\xff"),
    "space in the target": get("/hot/1 2"),
    "unknown method": get("/hot/1", method="GRAB"),
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /hot/1\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": get("/hot/1", version="2.0"),
    "HTTP/1.2": get("/hot/1", version="1.2"),
    "no host, hot": b"GET /hot/1 HTTP/1.1\r\n\r\n",
    "no host": b"PUT /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": get("/hot/1", "Host: b"),
    "absolute target without a path": get("http://a"),
    "CONNECT": get("a:443", method="CONNECT"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
MALFORMED_BODIES = {
    "chunk with bare LF": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "chunk size with space": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "hexadecimal prefix": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "overflowing chunk": CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"3\r\nabcX\r\n0\r\n\r\n",
    "chunk without a size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "folded trailer": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
}


def problem(response: Response) -> str:
    """Check the form of a refusal and return its slug."""
    assert response.header(b"content-type") == b"application/problem+json"
    assert response.header(b"connection") == b"close"
    document = json.loads(response.body)
    assert document["status"] == response.status
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    assert document["request_id"].encode() == response.header(b"x-request-id")
    slug: str = document["type"].removeprefix("urn:thermocline:error:")
    return slug


@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", MALFORMED | MALFORMED_BODIES)
def test_malformed_request_gets_one_400_and_nothing_after_it_runs(name: str, *, split: bool) -> None:
    @in_loop
    async def each() -> None:
        client = Connection()
        stream = (MALFORMED | MALFORMED_BODIES)[name] + SMUGGLED
        await client.ask(*([stream[at : at + 1] for at in range(len(stream))] if split else [stream]))
        await client.ask(SMUGGLED)
        (response,) = client.responses
        assert (response.status, problem(response)) == (400, "malformed-request")
        assert client.over
        assert client.app.bodies == []
        assert client.shared.refused == {"malformed-request": 1}

    each()


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_head_never_reaches_the_application(name: str) -> None:
    @in_loop
    async def each() -> None:
        client = Connection()
        await client.ask(MALFORMED[name])
        assert client.app.requests == []

    each()


@pytest.mark.parametrize("name", MALFORMED | MALFORMED_BODIES)
def test_refusal_waits_for_the_answers_that_are_owed(name: str) -> None:
    @in_loop
    async def each() -> None:
        client = Connection()
        await client.ask(get("/gate") + get("/missing") + (MALFORMED | MALFORMED_BODIES)[name] + SMUGGLED)
        assert client.responses == []
        client.app.gate.set()
        await settle()
        assert client.statuses == [404, 404, 400]
        assert client.over
        assert client.app.requests == [("GET", b"/gate"), ("GET", b"/missing")]

    each()


@in_loop
async def test_bad_body_disconnects_the_application() -> None:
    client = Connection()
    await client.ask(CHUNKED, b"3\r\nabc\r\n")
    assert client.app.requests == [("PUT", b"/x")]
    await client.ask(b"nonsense")
    assert client.statuses == [400]
    assert (client.app.bodies, client.app.disconnects) == ([], 1)


@in_loop
async def test_unknown_coding_is_refused_before_the_application_sees_it() -> None:
    for coding in ("gzip, chunked", "xchunked"):
        client = Connection()
        (response,) = await client.ask(get("/x", f"Transfer-Encoding: {coding}", method="DELETE") + b"0\r\n\r\n")
        assert (response.status, problem(response)) == (501, "transfer-coding-not-implemented")
        assert client.app.requests == []


@in_loop
async def test_request_shaped_bodies_stay_bodies() -> None:
    client = Connection()
    await client.ask(put("/x", SMUGGLED) + put_chunked("/y", SMUGGLED, SMUGGLED[:3]))
    assert client.statuses == [201, 201]
    assert client.app.bodies == [SMUGGLED, SMUGGLED + SMUGGLED[:3]]


@in_loop
async def test_trailers_are_dropped() -> None:
    client = Connection()
    await client.ask(put_chunked("/x", b"abc", trailer="Authorization: evil\r\n") + get("/missing"))
    assert client.statuses == [201, 404]
    assert b"authorization" not in dict(client.app.headers[0]) | dict(client.app.headers[1])


@pytest.mark.parametrize("size", [0, 5, MIB])
def test_body_sent_with_an_upgrade_arrives_whole(size: int) -> None:
    @in_loop
    async def each() -> None:
        body = SMUGGLED[:5] * (size // 5)
        headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
        stream = put("/x", body, *headers) + get("/hot/3", *headers) + get("/hot/4")
        client = Connection()
        await client.ask(*(stream[at : at + 65536] for at in range(0, len(stream), 65536)))
        assert client.statuses == [201, 200, 200]
        assert client.app.bodies[0] == body
        assert dict(client.app.headers[0]).keys() == {b"host", b"content-length"}

    each()


@in_loop
async def test_upgrade_keeps_the_wish_to_close() -> None:
    client = Connection()
    await client.ask(get("/missing", "Connection: close, Upgrade", "Upgrade: websocket"))
    assert client.statuses == [404]
    assert client.over


@in_loop
async def test_long_target_is_refused() -> None:
    client = Connection(limits=WireLimits(target_bytes=100))
    await client.ask(get("/" + "x" * 99))
    assert client.statuses == [404]
    await client.ask(get("/" + "x" * 100))
    assert [problem(response) for response in client.responses[1:]] == ["target-too-long"]
    assert client.statuses == [404, 414]


@in_loop
async def test_endless_target_is_refused_while_it_arrives() -> None:
    client = Connection()
    await client.ask(b"GET /", *[b"x" * 1000] * 20)
    assert client.statuses == [414]
    assert client.over


@in_loop
async def test_headers_up_to_the_limit_pass_however_they_are_cut() -> None:
    limits = WireLimits(header_bytes=1000)
    for filler, statuses in ((900, [200]), (2000, [431])):
        stream = get("/hot/1", f"A: {'x' * filler}")
        for cut in (len(stream), 1, 7, 500):
            for kind in (GuardedProtocol, HotProtocol):
                client = Connection(kind=kind, limits=limits)
                await client.ask(*(stream[at : at + cut] for at in range(0, len(stream), cut)))
                assert client.statuses == statuses, cut


@in_loop
async def test_many_small_headers_count_too() -> None:
    client = Connection(limits=WireLimits(header_bytes=1000))
    await client.ask(get("/hot/1", *["a:"] * 300))
    assert client.statuses == [431]


@in_loop
async def test_many_pipelined_requests_are_no_large_head() -> None:
    client = Connection(limits=WireLimits(header_bytes=200))
    await client.ask(get("/hot/1") * 100 + get("/hot/2")[:10], get("/hot/2")[10:])
    assert client.statuses == [200] * 101


@in_loop
async def test_endless_header_is_refused_while_it_arrives() -> None:
    client = Connection()
    await client.ask(b"GET / HTTP/1.1\r\nA: ", *[b"x" * 4096] * 10)
    assert client.statuses == [431]
    assert problem(client.responses[0]) == "headers-too-large"


@pytest.mark.parametrize("framing", [b"3;a=", b"0\r\nA: "], ids=["chunk extension", "trailer"])
def test_endless_framing_is_refused_while_it_arrives(framing: bytes) -> None:
    @in_loop
    async def each() -> None:
        client = Connection()
        await client.ask(CHUNKED + framing, *[b"x" * 4096] * 10)
        assert client.statuses == [431]
        assert client.app.disconnects == 1

    each()


@in_loop
async def test_long_uploads_in_small_pieces_are_not_framing() -> None:
    client = Connection(limits=WireLimits(header_bytes=100))
    await client.ask(CHUNKED, *[b"1\r\nx\r\n"] * 500, b"0\r\n\r\n")
    assert client.statuses == [201]
    assert client.app.bodies == [b"x" * 500]


@in_loop
async def test_crashing_application_is_a_problem_document() -> None:
    logging.disable(logging.CRITICAL)
    try:
        client = Connection()
        await client.ask(get("/crash"))
    finally:
        logging.disable(logging.NOTSET)
    (response,) = client.responses
    assert (response.status, problem(response)) == (500, "internal")
    assert client.over


@in_loop
async def test_connections_past_the_cap_are_told_so() -> None:
    first = Connection(limits=WireLimits(connections=1))
    second = Connection(server=first)
    (response,) = await second.ask(get("/hot/1"))
    assert (response.status, problem(response), response.header(b"retry-after")) == (503, "busy", b"1")
    assert second.over
    first.transport.close()
    await settle()
    third = Connection(server=first)
    await third.ask(get("/hot/1"))
    assert third.statuses == [200]


@in_loop
async def test_refused_client_may_finish_sending_within_bounds() -> None:
    client = Connection(limits=WireLimits(linger_bytes=10_000))
    await client.ask(b"nonsense\r\n\r\n")
    assert (client.transport.eof, client.transport.is_closing()) == (True, False)
    await client.ask(b"x" * 9_000)
    assert not client.transport.is_closing()
    await client.ask(b"x" * 2_000)
    assert client.transport.aborted
    assert client.shared.lingering == 0


@in_loop
async def test_refused_client_is_closed_after_the_linger_time() -> None:
    client = Connection(limits=WireLimits(linger_seconds=2))
    await client.ask(b"nonsense\r\n\r\n")
    await client.clock.advance(1.9)
    assert not client.transport.is_closing()
    await client.clock.advance(0.1)
    assert client.transport.is_closing()
    assert client.statuses == [400]


@in_loop
async def test_lingering_clients_are_counted_and_bounded() -> None:
    first = Connection(limits=WireLimits(lingering_connections=1))
    second = Connection(server=first)
    await first.ask(b"nonsense\r\n\r\n")
    await second.ask(b"nonsense\r\n\r\n")
    assert (first.transport.is_closing(), second.transport.is_closing()) == (False, True)
    assert first.statuses == second.statuses == [400]


@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_positive(value: int) -> None:
    with pytest.raises(ValueError, match="header_bytes must be positive"):
        WireLimits(header_bytes=value)
