"""Remembering header blocks changes no answer: only what was proven to be one whole read is remembered."""

from tests.interfaces.http.wire.harness import MIB, Connection, Reader, get, in_loop, put, settle
from thermocline.interfaces.http.wire.limits import WireLimits
from thermocline.interfaces.http.wire.remembering import RememberingProtocol


class CountingParser:
    """Counts what still reaches llhttp."""

    def __init__(self, client: Connection) -> None:
        self._parser = client.protocol.parser
        self.fed = 0
        client.protocol.parser = self  # type: ignore[assignment]

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        self._parser.feed_data(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._parser, name)


def connect(reader: Reader | None = None, limits: WireLimits | None = None) -> tuple[Connection, CountingParser]:
    client = Connection(kind=RememberingProtocol, reader=reader, limits=limits)
    return client, CountingParser(client)


@in_loop
async def test_an_identical_block_is_parsed_once() -> None:
    client, parser = connect()
    await client.ask(*[get("/hot/3")] * 5)
    assert client.statuses == [200] * 5
    assert parser.fed == 1


@in_loop
async def test_the_token_is_checked_each_time() -> None:
    reader = Reader(token=b"Bearer t")
    client, _ = connect(reader)
    request = get("/hot/3", "Authorization: Bearer t")
    await client.ask(request, request)
    reader.token = b"Bearer other"
    await client.ask(request)
    assert client.app.requests == [("GET", b"/hot/3")]
    assert len(reader.asked) == 4  # the remembered block is asked, refused, parsed, and asked again


@in_loop
async def test_only_one_whole_bodyless_read_is_remembered() -> None:
    read = get("/hot/3")
    for chunks in (
        [read + read],
        [read[:5], read[5:]],
        [read + b"\r\n"],
        [read + b"G"],
        [put("/x", b"abc")],
        [put("/x", read)],
        [get("/x", f"Content-Length: {len(read)}", method="PUT"), read],
        [get("/missing")],
        [get("/hot/3", "Range: bytes=0-1")],
        [get("/hot/3", "X: " + "x" * 3000)],
        [b"nonsense\r\n\r\n"],
    ):
        client, _ = connect()
        await client.ask(*chunks)
        assert read not in client.shared.remembered, chunks
        assert len(client.shared.remembered) == 0 or chunks == [get("/missing")], chunks


@in_loop
async def test_known_bytes_inside_a_body_stay_a_body() -> None:
    client, _ = connect()
    read = get("/hot/3")
    await client.ask(read, read)
    await client.ask(get("/x", f"Content-Length: {2 * len(read)}", method="PUT"), read, read)
    assert client.statuses == [200, 200, 201]
    assert client.app.bodies == [read + read]


@in_loop
async def test_known_bytes_that_continue_a_head_stay_a_head() -> None:
    client, _ = connect()
    read = get("/hot/3")
    await client.ask(read)
    await client.ask(b"GET /hot/4 HTTP/1.1\r\nX: ", read)
    assert client.responses[1].body == b"4444"
    assert len(client.responses) == 2


@in_loop
async def test_known_bytes_wait_for_the_answer_that_is_owed() -> None:
    client, _ = connect()
    read = get("/hot/3")
    await client.ask(read, get("/gate"), read, read)
    assert client.statuses == [200]
    client.app.gate.set()
    await settle()
    assert client.statuses == [200, 404, 200, 200]


@in_loop
async def test_known_bytes_after_a_refusal_are_not_read() -> None:
    client, _ = connect()
    read = get("/hot/3")
    await client.ask(read, b"nonsense\r\n\r\n", read)
    assert client.statuses == [200, 400]


@in_loop
async def test_unread_answers_stop_the_shortcut() -> None:
    client, _ = connect()
    client.transport.client_reads = False
    await client.ask(*[get("/hot/1048576")] * 50)
    assert client.transport.most_unsent < 2 * MIB
    client.transport.abort()


@in_loop
async def test_what_is_remembered_is_bounded() -> None:
    client, _ = connect(limits=WireLimits(remembered_blocks=10))
    await client.ask(*(get(f"/hot/{size}") for size in range(1, 100)))
    assert len(client.shared.remembered) <= 10
    assert client.statuses == [200] * 99


@in_loop
async def test_known_bytes_past_the_connection_cap_are_not_read() -> None:
    first = Connection(kind=RememberingProtocol, limits=WireLimits(connections=1))
    await first.ask(get("/hot/3"))
    second = Connection(kind=RememberingProtocol, server=first)
    await second.ask(get("/hot/3"))
    assert second.statuses == [503]
