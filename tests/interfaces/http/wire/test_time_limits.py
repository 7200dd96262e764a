"""No client can hold a connection by being slow; a slow server never costs its client the connection."""

import asyncio

from tests.interfaces.http.wire.harness import MIB, ClockLoop, Connection, get, in_loop, put, settle
from thermocline.interfaces.http.wire.lazy_timer import LazyTimer
from thermocline.interfaces.http.wire.limits import WireLimits

LIMITS = WireLimits(header_arrival_seconds=10, keep_alive_idle_seconds=75, body_stall_seconds=30, send_stall_seconds=20)


@in_loop
async def test_silent_new_connection_is_closed() -> None:
    client = Connection(limits=LIMITS)
    await client.clock.advance(9.9)
    assert not client.transport.is_closing()
    await client.clock.advance(0.1)
    assert client.transport.is_closing()
    assert client.responses == []


@in_loop
async def test_slowloris_gets_a_408_however_steadily_it_sends() -> None:
    client = Connection(limits=LIMITS)
    await client.ask(get("/hot/1"))
    await client.clock.advance(50)
    for byte in get("/hot/1")[:9]:
        assert client.statuses == [200]
        await client.ask(bytes([byte]))
        await client.clock.advance(1)
    assert client.statuses == [200]
    await client.clock.advance(1)
    assert client.statuses == [200, 408]
    assert client.over
    assert client.shared.refused == {"request-timeout": 1}


@in_loop
async def test_blank_lines_are_no_activity() -> None:
    client = Connection(limits=LIMITS)
    for _ in range(9):
        await client.ask(b"\r\n")
        await client.clock.advance(1)
    assert not client.transport.is_closing()
    await client.clock.advance(1)
    assert client.transport.is_closing()


@in_loop
async def test_idle_connection_is_closed_counting_from_its_last_hot_answer() -> None:
    client = Connection(limits=LIMITS)
    for _ in range(5):
        await client.ask(get("/hot/1"))
        await client.clock.advance(74)
        assert not client.transport.is_closing()
    await client.clock.advance(1)
    assert client.transport.is_closing()


@in_loop
async def test_idle_connection_is_closed_counting_from_its_last_slow_answer() -> None:
    client = Connection(limits=LIMITS)
    await client.ask(get("/gate"))
    await client.clock.advance(1000)
    client.app.gate.set()
    await settle()
    await client.clock.advance(74.9)
    assert not client.transport.is_closing()
    await client.clock.advance(0.1)
    assert client.transport.is_closing()


@in_loop
async def test_stalled_body_is_refused_and_the_application_disconnected() -> None:
    client = Connection(limits=LIMITS)
    await client.ask(put("/x", b"x" * 10)[:-5])
    await client.clock.advance(29)
    await client.ask(b"x")
    await client.clock.advance(29.9)
    assert client.app.disconnects == 0
    await client.clock.advance(0.1)
    assert (client.app.disconnects, client.app.bodies) == (1, [])
    assert client.statuses == [408]
    assert client.over


@in_loop
async def test_body_that_the_server_is_not_ready_for_is_not_stalled() -> None:
    client = Connection(limits=LIMITS)
    # The application is busy with the first request; the second one's body fills its buffer and waits.
    await client.ask(get("/gate") + get("/x", f"Content-Length: {MIB}", method="PUT"))
    await client.ask(b"x" * (MIB // 2))
    assert not client.transport.reading
    await client.clock.advance(995)
    assert not client.over
    client.app.gate.set()
    await settle()
    await client.clock.advance(29)
    assert not client.over
    await client.ask(b"x" * (MIB // 2))
    assert client.statuses == [404, 201]


@in_loop
async def test_client_waiting_for_100_continue_is_not_stalled() -> None:
    client = Connection(limits=LIMITS)
    await client.ask(get("/gate") + get("/x", "Expect: 100-continue", "Content-Length: 3", method="PUT"))
    await client.clock.advance(995)
    client.app.gate.set()
    await settle()
    assert client.statuses == [404, 100]
    await client.clock.advance(29)
    await client.ask(b"abc")
    assert client.statuses == [404, 100, 201]


@in_loop
async def test_a_nearer_limit_counts_at_once() -> None:
    client = Connection(limits=WireLimits(body_stall_seconds=3, keep_alive_idle_seconds=75))
    await client.ask(get("/hot/1"))
    await client.clock.advance(11)  # the timer is now armed for the idle time
    await client.ask(put("/x", b"abc")[:-1])
    await client.clock.advance(3)
    assert client.statuses == [200, 408]
    client = Connection(limits=WireLimits(body_stall_seconds=50, header_arrival_seconds=40, keep_alive_idle_seconds=5))
    await client.ask(put("/x", b"abc")[:-1], b"c")
    await client.clock.advance(5)
    assert client.transport.is_closing()


@in_loop
async def test_unread_answer_is_cut_off() -> None:
    client = Connection(limits=LIMITS)
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576"))
    await client.clock.advance(19)
    assert not client.transport.is_closing()
    await client.clock.advance(11)
    assert client.transport.aborted
    assert client.shared.refused == {"send-stall": 1}


@in_loop
async def test_small_unread_answer_is_cut_off_once_it_would_be_idle() -> None:
    client = Connection(limits=LIMITS)
    client.transport.client_reads = False
    await client.ask(get("/hot/1000"))
    await client.clock.advance(200)
    assert client.transport.aborted


@in_loop
async def test_slow_reader_keeps_its_connection_and_then_its_idle_time() -> None:
    client = Connection(limits=LIMITS)
    client.transport.client_reads = False
    await client.ask(get("/hot/1048576"))
    while client.transport.unsent:
        client.transport.client_takes(100_000)
        await client.clock.advance(19)
    await client.clock.advance(50)
    assert not client.transport.is_closing()
    assert [len(each.body) for each in client.responses] == [MIB]


@in_loop
async def test_slow_reader_of_a_small_answer_keeps_its_connection_too() -> None:
    client = Connection(limits=LIMITS)
    client.transport.client_reads = False
    await client.ask(get("/hot/60000"))
    while client.transport.unsent:
        client.transport.client_takes(5000)
        await client.clock.advance(10)
    await client.clock.advance(50)
    assert not client.transport.is_closing()


@in_loop
async def test_one_timer_serves_a_connection() -> None:
    client = Connection(limits=LIMITS)
    for _ in range(50):
        await client.ask(get("/hot/1"), get("/missing"), put("/x", b"abc"))
        await client.clock.advance(1)
        assert client.clock.armed == 1
    client.transport.close()
    await settle()
    assert client.clock.armed == 0


@in_loop
async def test_lazy_timer_fires_at_the_nearest_deadline_and_then_where_it_is_told() -> None:
    clock = ClockLoop()
    fired: list[float] = []

    def check(now: float) -> float | None:
        fired.append(now)
        return now + 5 if len(fired) < 3 else None

    timer = LazyTimer(clock, check)  # type: ignore[arg-type]
    timer.at_latest(clock.time() + 9)
    timer.at_latest(clock.time() + 2)
    timer.at_latest(clock.time() + 7)
    assert clock.armed == 1
    await clock.advance(100)
    assert fired == [1002.0, 1007.0, 1012.0]
    timer.at_latest(clock.time() + 1)
    timer.stop()
    await clock.advance(100)
    assert len(fired) == 3


@in_loop
async def test_pipelined_slow_head_is_refused_after_the_answer_that_is_owed() -> None:
    client = Connection(limits=LIMITS)
    await client.ask(get("/gate") + get("/hot/1")[:9])
    await client.clock.advance(11)
    assert client.responses == []
    client.app.gate.set()
    await asyncio.sleep(0)
    await settle()
    assert client.statuses == [404, 408]
