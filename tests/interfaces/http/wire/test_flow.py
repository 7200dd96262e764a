"""Memory stays bounded when the client does not read; leaving clients and draining leave nothing behind."""

from tests.interfaces.http.wire.harness import MIB, Connection, get, in_loop, put, settle
from thermocline.interfaces.http.wire.limits import WireLimits


@in_loop
async def test_pipelined_and_unread_large_reads_are_answered_one_by_one() -> None:
    client = Connection()
    client.transport.client_reads = False
    client.send(*[get("/hot/1048576")] * 200)
    await settle()
    assert client.transport.most_unsent < 2 * MIB
    assert not client.transport.reading
    assert len(client.app.requests) <= 2
    while client.transport.unsent:
        client.transport.client_takes(MIB)
        await settle()
        assert client.transport.most_unsent < 3 * MIB
    assert [len(each.body) for each in client.responses] == [MIB] * 200


@in_loop
async def test_many_requests_in_one_chunk_with_an_unread_answer_before_them() -> None:
    client = Connection()
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576") * 200)
    assert client.transport.most_unsent < 2 * MIB
    while client.transport.unsent:
        client.transport.client_takes(MIB)
        await settle()
    assert len(client.responses) == 200


@in_loop
async def test_client_that_leaves_during_a_slow_answer_disconnects_the_application() -> None:
    client = Connection()
    await client.ask(put("/x", b"abc")[:-1])
    client.transport.close()
    await settle()
    assert client.app.disconnects == 1
    assert client.state.tasks == set()
    assert client.state.connections == set()
    assert client.clock.armed == 0


@in_loop
async def test_client_that_leaves_with_requests_queued_runs_none_of_them() -> None:
    client = Connection()
    await client.ask(get("/gate") + put("/x", b"abc"))
    client.transport.close()
    await settle()
    client.app.gate.set()
    await settle()
    assert client.app.requests == [("GET", b"/gate")]
    assert client.state.tasks == set()


@in_loop
async def test_client_that_leaves_amid_a_large_answer() -> None:
    client = Connection()
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576") * 3)
    client.transport.abort()
    await settle()
    assert client.state.tasks == set()
    assert client.clock.armed == 0


@in_loop
async def test_draining_closes_idle_connections_at_once() -> None:
    client = Connection()
    await client.ask(get("/hot/1"))
    client.protocol.shutdown()
    assert client.transport.is_closing()


@in_loop
async def test_draining_sends_the_answer_that_is_owed_first() -> None:
    client = Connection()
    await client.ask(get("/gate"))
    client.protocol.shutdown()
    assert not client.transport.is_closing()
    client.app.gate.set()
    await settle()
    assert client.statuses == [404]
    assert client.responses[0].header(b"connection") == b"close"
    assert client.transport.is_closing()


@in_loop
async def test_draining_sends_a_hot_answer_to_its_end() -> None:
    client = Connection()
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576"))
    client.protocol.shutdown()
    client.transport.client_takes(2 * MIB)
    await settle()
    assert [len(each.body) for each in client.responses] == [MIB]
    assert client.transport.lost


@in_loop
async def test_draining_does_not_wait_for_refused_clients() -> None:
    client = Connection()
    await client.ask(b"nonsense\r\n\r\n")
    client.protocol.shutdown()
    await settle()
    assert client.transport.lost
    assert client.shared.lingering == 0


@in_loop
async def test_refused_client_that_waits_for_owed_answers_cannot_flood() -> None:
    client = Connection(limits=WireLimits(linger_bytes=1000))
    await client.ask(get("/gate") + b"nonsense\r\n\r\n", *[b"x" * 900] * 3)
    assert not client.transport.reading
    client.app.gate.set()
    await settle()
    assert client.statuses == [404, 400]
    assert client.transport.is_closing() or client.transport.eof


@in_loop
async def test_cancelled_task_does_not_wait_for_a_client_that_reads_nothing() -> None:
    client = Connection()
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576") * 2)
    (task,) = client.state.tasks
    task.cancel()
    await settle()
    assert task.done()
    assert client.transport.is_closing()
