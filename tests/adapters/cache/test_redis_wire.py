"""Replies reach whoever asked, in order, however the bytes are cut; a connection that fails tells everybody."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, ReadOnlyError, ResponseError

from thermocline.adapters.cache.redis_wire import LARGE, Reply, Wire, WireLostError
from thermocline.domain.units import Seconds
from thermocline.testing.contracts.running import in_event_loop


class Transport(asyncio.Transport):
    """Keeps what is written, and says that as much of it waits as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.waiting = 0
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.written.append(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Bench:
    """A wire without a socket."""

    wire: Wire
    transport: Transport
    lost: list[Wire]

    def ask(self, command: bytes = b"x", *, is_string: bool = False) -> Reply:
        reply: Reply = asyncio.get_running_loop().create_future()
        self.wire.send(command, reply, is_string=is_string)
        return reply

    def receive(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Let bytes arrive in pieces of these sizes, then the rest; never more at once than there is room for."""
        sizes = iter(cuts)
        while data and not self.transport.aborted:
            room = self.wire.get_buffer(-1)
            size = min(next(sizes, len(data)), len(data), len(room))
            room[:size] = data[:size]
            self.wire.buffer_updated(size)
            data = data[size:]


def on_a_bench(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]], *, timeout: float = 60.0, check: float = 0.0
) -> None:
    @in_event_loop
    async def run() -> None:
        lost: list[Wire] = []
        wire = Wire(timeout=Seconds(timeout), health_check_interval=Seconds(check), on_lost=lost.append)
        transport = Transport()
        wire.connection_made(transport)
        await scenario(Bench(wire, transport, lost))
        wire.close()

    run()


@dataclass(frozen=True)
class Told:
    """A reply: as bytes, and as what it means."""

    raw: bytes
    means: Any
    is_string: bool


def string(payload: bytes, *, asked_for: bool = True) -> Told:
    return Told(b"$%d\r\n%b\r\n" % (len(payload), payload), payload, asked_for)


SIZES = st.one_of(st.integers(0, 300), st.integers(LARGE - 20, LARGE + 20), st.integers(LARGE, 6 * LARGE))
STRINGS = st.builds(
    lambda size, seed: string((seed * (size // len(seed) + 1))[:size]), SIZES, st.binary(min_size=1, max_size=9)
)
REPLIES = st.one_of(
    STRINGS,
    st.just(Told(b"$-1\r\n", None, True)),
    st.just(Told(b"-WRONGTYPE of it\r\n", ResponseError, True)),
    st.integers(-9, 9**9).map(lambda number: Told(b":%d\r\n" % number, number, False)),
    # A large string inside of another reply, and where none was asked for: the parser's.
    st.lists(STRINGS, max_size=3).map(
        lambda parts: Told(
            b"*%d\r\n" % len(parts) + b"".join(part.raw for part in parts), [part.means for part in parts], False
        )
    ),
    STRINGS.map(lambda told: string(told.means, asked_for=False)),
)


@given(st.lists(REPLIES, min_size=1, max_size=8), st.lists(st.integers(1, 70_000), max_size=12), st.randoms())
def test_replies_come_in_order_however_they_are_cut(replies: list[Told], cuts: list[int], dice: Any) -> None:
    async def scenario(bench: Bench) -> None:
        asked = [bench.ask(is_string=told.is_string) for told in replies]
        left = {number for number in range(len(asked)) if dice.random() < 0.2}
        for number in left:
            asked[number].cancel()
        bench.receive(b"".join(told.raw for told in replies), cuts)
        for number, (told, reply) in enumerate(zip(replies, asked, strict=True)):
            if number in left:
                continue
            assert reply.done()
            if told.means is ResponseError:
                assert isinstance(reply.exception(), ResponseError)
            else:
                assert reply.result() == told.means
        assert not bench.wire.due

    on_a_bench(scenario)


def test_a_large_string_inside_of_a_reply_is_no_reply_of_its_own() -> None:
    async def scenario(bench: Bench) -> None:
        asked, after = bench.ask(), bench.ask(is_string=True)
        large = b"x" * LARGE
        front = b"*2\r\n" + string(b"a").raw  # all of which the parser has taken when the large string begins
        bench.receive(front + string(large).raw + string(b"b").raw, [len(front)])
        assert asked.result() == [b"a", large]
        assert after.result() == b"b"

    on_a_bench(scenario)


def test_commands_of_one_turn_are_one_write() -> None:
    async def scenario(bench: Bench) -> None:
        asked = [bench.ask(command) for command in (b"a", b"b", b"c" * 100_000)]
        assert bench.transport.written == []
        await asyncio.sleep(0)
        assert bench.transport.written == [b"ab" + b"c" * 100_000]
        assert not any(reply.done() for reply in asked)

    on_a_bench(scenario)


def test_while_the_socket_is_full_commands_wait() -> None:
    async def scenario(bench: Bench) -> None:
        bench.wire.pause_writing()
        asked = bench.ask(b"a")
        await asyncio.sleep(0)
        assert bench.transport.written == []
        bench.wire.resume_writing()
        assert bench.transport.written == [b"a"]
        assert not asked.done()

    on_a_bench(scenario)


def test_the_end_is_told_to_everybody_once() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.ask(), bench.ask()
        bench.receive(b":1\r\n")
        bench.wire.connection_lost(OSError("gone"))
        bench.wire.connection_lost(None)
        assert first.result() == 1
        failure = second.exception()
        assert isinstance(failure, WireLostError)
        assert isinstance(failure.__cause__, OSError)
        assert isinstance(bench.ask().exception(), WireLostError)
        assert bench.lost == [bench.wire]

    on_a_bench(scenario)


@pytest.mark.parametrize("noise", [b":1\r\n:2\r\n", b":1\r\n!!\r\n"])
def test_what_nobody_asked_for_ends_it(noise: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        asked = bench.ask()
        bench.receive(noise)
        assert asked.result() == 1
        assert bench.transport.aborted

    on_a_bench(scenario)


def test_a_reply_that_is_none_ends_it() -> None:
    async def scenario(bench: Bench) -> None:
        asked = bench.ask(is_string=True)
        bench.receive(b"$many\r\n")
        failure = asked.exception()
        assert isinstance(failure, WireLostError)
        assert isinstance(failure.__cause__, InvalidResponse)

    on_a_bench(scenario)


def test_a_master_no_more_is_left() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = bench.ask(), bench.ask()
        bench.receive(b"-READONLY You can't write against a read only replica.\r\n:1\r\n")
        assert isinstance(first.exception(), ReadOnlyError)
        assert isinstance(second.exception(), WireLostError)
        assert bench.transport.aborted

    on_a_bench(scenario)


def test_silence_ends_it_but_not_slowness() -> None:
    async def scenario(bench: Bench) -> None:
        asked = bench.ask(is_string=True)
        for waiting in (300, 200, 100):  # a large command leaves slowly
            bench.transport.waiting = waiting
            bench.wire._look()
        large = string(b"x" * 100_000).raw
        for begin in range(0, 90_000, 30_000):
            bench.receive(large[begin : begin + 30_000])
            bench.wire._look()
            assert not asked.done()
        with pytest.raises(WireLostError) as failure:
            await asked
        assert isinstance(failure.value.__cause__, TimeoutError)

    on_a_bench(scenario, timeout=0.05)


def test_a_quiet_connection_is_asked_from_time_to_time() -> None:
    async def scenario(bench: Bench) -> None:
        while not bench.transport.written:  # noqa: ASYNC110 - written by a timer
            await asyncio.sleep(0.001)
        assert bench.transport.written == [b"*1\r\n$4\r\nPING\r\n"]
        bench.receive(b"+PONG\r\n")
        while not bench.transport.aborted:  # noqa: ASYNC110 - the next one is not answered
            await asyncio.sleep(0.001)

    on_a_bench(scenario, timeout=0.05, check=0.02)
