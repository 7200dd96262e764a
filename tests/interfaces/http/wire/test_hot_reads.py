"""Hot reads are answered from memory exactly when they may be, in order, and like the slow way would."""

import logging

import pytest

from tests.interfaces.http.wire.harness import Connection, Reader, get, in_loop, put, settle
from thermocline.interfaces.http.wire.hot_reads import SLOW_HEADERS, NoHotReads
from thermocline.interfaces.http.wire.limits import WireLimits

REQUEST_SHAPED = get("/hot/7") + get("/hot/8")


@in_loop
async def test_hot_read_never_reaches_the_application() -> None:
    client = Connection()
    (response,) = await client.ask(get("/hot/5"))
    assert (response.status, response.body) == (200, b"55555")
    assert client.app.requests == []


@in_loop
async def test_hot_read_is_written_before_data_received_returns() -> None:
    client = Connection()
    client.send(get("/hot/5"))
    assert client.statuses == [200]


@in_loop
async def test_every_answer_carries_the_servers_current_date() -> None:
    client = Connection()
    client.state.default_headers = [(b"date", b"Mon, 02 Nov 2026 00:00:00 GMT")]
    await client.ask(get("/hot/1"))
    client.state.default_headers = [(b"date", b"Mon, 02 Nov 2026 00:00:01 GMT")]
    await client.ask(get("/hot/1"), get("/missing"))
    dates = [line for line in bytes(client.transport.received).split(b"\r\n") if line.startswith(b"date: ")]
    assert [line[-6:] for line in dates] == [b"00 GMT", b"01 GMT", b"01 GMT"]


@in_loop
async def test_pipelined_reads_writes_and_misses_are_answered_in_order() -> None:
    client = Connection()
    stream = get("/hot/1") + put("/x", REQUEST_SHAPED) + get("/hot/2") + get("/missing") + get("/hot/3")
    responses = await client.ask(stream + get("/hot/4", method="HEAD"))
    assert [(each.status, each.header(b"content-length")) for each in responses] == [
        (200, b"1"),
        (201, b"64"),
        (200, b"2"),
        (404, b"4"),
        (200, b"3"),
        (200, b"4"),
    ]
    assert client.app.bodies[0] == REQUEST_SHAPED


@in_loop
async def test_a_hot_read_waits_for_a_slow_one_before_it() -> None:
    client = Connection()
    assert await client.ask(get("/gate") + get("/hot/1")) == []
    client.app.gate.set()
    await settle()
    assert client.statuses == [404, 200]


@in_loop
async def test_bytewise_input_gives_the_same_answers() -> None:
    client = Connection()
    stream = get("/hot/3") + put("/x", REQUEST_SHAPED) + get("/hot/4")
    responses = await client.ask(*(stream[at : at + 1] for at in range(len(stream))))
    assert [each.status for each in responses] == [200, 201, 200]
    assert client.app.bodies[0] == REQUEST_SHAPED


@in_loop
async def test_head_mirrors_get_without_the_body() -> None:
    client = Connection()
    of_get, of_head = await client.ask(get("/hot/9") + get("/hot/9", method="HEAD"))
    assert of_head.body == b""
    assert [each for each in of_head.headers if each[0] != b"x-method"] == [
        each for each in of_get.headers if each[0] != b"x-method"
    ]
    assert client.app.requests == []


@in_loop
async def test_large_bodies_are_whole() -> None:
    client = Connection()
    responses = await client.ask(*[get("/hot/1048576")] * 3)
    assert [len(each.body) for each in responses] == [1048576] * 3


@in_loop
async def test_if_none_match_is_the_readers_to_judge() -> None:
    client = Connection()
    responses = await client.ask(
        get("/hot/5", 'If-None-Match: "/hot/5"') + get("/hot/5", 'If-None-Match: "other"') + get("/hot/1")
    )
    assert [(each.status, each.body) for each in responses] == [(304, b""), (200, b"55555"), (200, b"1")]
    assert client.app.requests == []


def test_each_slow_header_takes_the_slow_way() -> None:
    @in_loop
    async def each() -> None:
        for name in sorted(SLOW_HEADERS - {b"content-length", b"transfer-encoding", b"upgrade"}):
            client = Connection()
            await client.ask(get("/hot/5", f"{name.decode().title()}: x"))
            assert client.app.requests == [("GET", b"/hot/5")], name
            assert client.statuses == [200]

    each()


@in_loop
async def test_a_read_with_a_body_takes_the_slow_way() -> None:
    client = Connection()
    # The last one waits for the others: a hot answer never overtakes.
    await client.ask(get("/hot/5", "Content-Length: 2") + b"GE" + get("/hot/6", "Content-Length: 0") + get("/hot/7"))
    assert [each.body for each in client.responses] == [b"55555", b"666666", b"7777777"]
    assert client.app.bodies == [b"GE", b"", b""]
    assert client.app.requests == [("GET", b"/hot/5"), ("GET", b"/hot/6"), ("GET", b"/hot/7")]


@in_loop
async def test_a_repeated_header_takes_the_slow_way() -> None:
    client = Connection()
    await client.ask(get("/hot/5", "Authorization: a", "Authorization: b"))
    assert client.app.requests == [("GET", b"/hot/5")]


@in_loop
async def test_keep_alive_may_be_said_aloud() -> None:
    client = Connection()
    await client.ask(get("/hot/5", "Connection: Keep-Alive"))
    assert client.statuses == [200]
    assert client.app.requests == []


@in_loop
async def test_connection_close_takes_the_slow_way_and_closes() -> None:
    client = Connection()
    await client.ask(get("/hot/5", "Connection: close") + get("/hot/6"))
    assert client.statuses == [200]
    assert client.over
    assert client.app.requests == [("GET", b"/hot/5")]


@in_loop
async def test_http_1_0_takes_the_slow_way_even_with_keep_alive() -> None:
    client = Connection()
    await client.ask(get("/hot/5", "Connection: keep-alive", version="1.0"))
    assert client.app.requests == [("GET", b"/hot/5")]
    assert client.statuses == [200]
    assert client.over


@in_loop
async def test_absolute_form_reaches_the_application_with_its_path() -> None:
    client = Connection()
    await client.ask(get("http://a/hot/5") + get("/hot/6"))
    assert client.app.requests == [("GET", b"/hot/5"), ("GET", b"/hot/6")]
    assert client.statuses == [200, 200]


@in_loop
async def test_options_asterisk_reaches_the_application() -> None:
    client = Connection()
    await client.ask(get("*", method="OPTIONS"))
    assert client.app.requests == [("OPTIONS", b"*")]


@in_loop
async def test_a_reader_that_raises_costs_nothing_but_time() -> None:
    logging.disable(logging.CRITICAL)
    try:
        client = Connection(reader=Reader(raising=True))
        await client.ask(get("/hot/5"))
    finally:
        logging.disable(logging.NOTSET)
    assert client.statuses == [200]
    assert client.app.requests == [("GET", b"/hot/5")]


@in_loop
async def test_without_a_reader_every_read_takes_the_slow_way() -> None:
    client = Connection(reader=NoHotReads())
    await client.ask(get("/hot/5"))
    assert client.app.requests == [("GET", b"/hot/5")]


@in_loop
async def test_the_reader_sees_the_token_each_time() -> None:
    client = Connection(reader=Reader(token=b"Bearer good"))
    await client.ask(get("/hot/5", "Authorization: Bearer good"), get("/hot/5", "Authorization: Bearer bad"))
    assert client.app.headers == [[(b"host", b"a"), (b"authorization", b"Bearer bad")]]


@in_loop
async def test_equal_heads_are_judged_once() -> None:
    client = Connection()
    for _ in range(3):
        await client.ask(get("/hot/5"), get("/hot/5", method="HEAD"), get("/hot/6", "Cookie: a"))
    assert [response.body for response in client.responses] == [b"55555", b"", b"666666"] * 3
    assert len(client.shared.parsed) == 3


@in_loop
async def test_what_is_judged_of_one_version_is_not_said_of_another() -> None:
    client = Connection()
    keeping = "Connection: keep-alive"
    await client.ask(get("/hot/5", keeping), get("/hot/5", keeping, version="1.0"), get("/hot/5", keeping))
    assert client.app.requests == [("GET", b"/hot/5")]


@in_loop
async def test_judged_heads_are_bounded_in_number_and_size() -> None:
    client = Connection(limits=WireLimits(remembered_blocks=10, remembered_block_bytes=100))
    for size in range(1, 40):
        await client.ask(get(f"/hot/{size}"), get(f"/hot/{size}", "Cookie: " + "x" * 100), get("/missing"))
        assert len(client.shared.parsed) <= 10
    assert client.statuses == [200, 200, 404] * 39
    assert all(len(repr(key)) < 200 for key in client.shared.parsed)


@in_loop
async def test_only_reads_are_asked_about() -> None:
    reader = Reader()
    client = Connection(reader=reader)
    for method in ("POST", "DELETE", "PATCH", "OPTIONS", "GET"):
        await client.ask(get("/hot/5", method=method))
    assert reader.asked == [(b"GET", b"/hot/5")]


@pytest.mark.parametrize("size", [16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1])
def test_joined_and_gathered_writes_are_one_write(size: int) -> None:
    @in_loop
    async def each() -> None:
        client = Connection()
        (response,) = await client.ask(get(f"/hot/{size}"))
        assert len(response.body) == size
        assert client.transport.write_calls == 1

    each()
