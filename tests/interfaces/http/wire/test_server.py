"""The server on real sockets: start, load, limits, signals, end. Waiting is for events, bounded by timeouts."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interfaces.http.wire.harness import MIB, get, put
from thermocline.interfaces.http.wire.server import bind

pytestmark = pytest.mark.server
TIMEOUT_SECONDS = 20
TCP_NOTSENT_LOWAT = 25


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS)

    def ask(self, request: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(request)
            return read_body(client)

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * 4096

    def await_answer(self, path: str, answer: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.ask(get(path)) != answer:
            assert time.monotonic() < deadline

    def rest(self) -> list[str]:
        """Wait for the end; return what was printed since the port."""
        return self.process.communicate(timeout=TIMEOUT_SECONDS)[0].splitlines()


@contextmanager
def served(*arguments: str) -> Generator[Served, None, None]:
    command = [sys.executable, str(Path(__file__).parent / "served.py"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Served(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def read_body(client: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = bytearray()
    while len(body) < length:
        piece = client.recv(length - len(body))
        assert piece, "cut off body"
        body += piece
    return bytes(body)


def read_all(client: socket.socket) -> bytes:
    received = b""
    try:
        while piece := client.recv(MIB):
            received += piece
    except ConnectionResetError:
        pass
    return received


@pytest.fixture(name="server")
def _server() -> Generator[Served, None, None]:
    with served() as server:
        yield server


def test_hot_and_slow_answers(server: Served) -> None:
    assert server.ask(get("/hot")) == b"x" * MIB
    assert server.ask(put("/x", b"y" * MIB)) == b"%d" % MIB
    with server.connect() as client:
        client.sendall(get("/hot") + put("/x", b"abc") + get("/hot"))
        assert [read_body(client) for _ in range(3)] == [b"x" * MIB, b"3", b"x" * MIB]


def test_pipelined_and_unread_reads_take_bounded_memory_and_are_cut_off(server: Served) -> None:
    server.ask(get("/hot"))
    before = server.resident_bytes()
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(get("/hot") * 200)
        server.await_answer("/waiting", b"0")
        assert server.resident_bytes() - before < 16 * MIB
        # The server gives up within its send-stall limit; what was in flight arrives, then the end.
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while _established(server.port):
            assert time.monotonic() < deadline
            server.await_answer("/waiting", b"0")
        assert len(read_all(client)) < 200 * MIB


def _established(port: int) -> int:
    """Connections that the server side still holds."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_slowloris_gets_a_408(server: Served) -> None:
    with server.connect() as client:
        client.sendall(b"GET /hot HT")
        assert read_all(client).startswith(b"HTTP/1.1 408 ")


def test_refusal_reaches_a_client_that_is_still_sending(server: Served) -> None:
    with server.connect() as client:
        client.sendall(b"GET /" + b"x" * 20_000)
        client.sendall(b"x" * 20_000)
        assert read_all(client).startswith(b"HTTP/1.1 414 ")


def test_connections_past_the_cap_get_a_503(server: Served) -> None:
    clients = [server.connect() for _ in range(8)]
    try:
        with server.connect() as client:
            client.sendall(get("/hot"))
            assert read_all(client).startswith(b"HTTP/1.1 503 ")
    finally:
        for each in clients:
            each.close()


def test_client_that_leaves_amid_an_upload_disconnects_the_application(server: Served) -> None:
    with server.connect() as client:
        client.sendall(put("/x", b"abcdef")[:-3])
    server.await_answer("/left", b"1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_ends(server: Served, number: signal.Signals) -> None:
    with server.connect() as idle, server.connect() as busy:
        idle.sendall(get("/waiting"))
        assert read_body(idle) == b"0"
        busy.sendall(get("/gate"))
        server.await_answer("/waiting", b"1")
        with server.connect() as opener:
            opener.sendall(put("/open", b"abc")[:-1])  # holds the gate until the server is draining
            server.process.send_signal(number)
            assert idle.recv(1) == b""
            opener.sendall(b"c")
            assert read_body(opener) == b"3"
        assert read_body(busy) == b"0"
        assert busy.recv(1) == b""
    assert server.rest() == ["shut down", f"stopped by {number.name}"]
    assert server.process.returncode == 0


def test_second_interrupt_ends_at_once(server: Served) -> None:
    with server.connect() as busy, server.connect() as idle:
        busy.sendall(get("/gate"))
        server.await_answer("/waiting", b"1")
        server.process.send_signal(signal.SIGINT)
        assert idle.recv(1) == b""
        server.process.send_signal(signal.SIGINT)
        assert server.rest() == ["stopped by SIGINT"]


def test_application_that_does_not_start_tells_why() -> None:
    command = [sys.executable, str(Path(__file__).parent / "served.py"), "failing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.stdout == "not started: ValueError('the database is on fire')\n"
    assert done.returncode == 1


def test_taken_address_is_an_error_of_the_caller() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", first.getsockname()[1])


def test_the_kernel_holds_little_of_what_a_connection_cannot_send_yet() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=TIMEOUT_SECONDS), listener.accept()[0] as taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 64 * 1024
