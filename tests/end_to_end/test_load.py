"""Under strain: slow clients block nobody, past the limits comes 503, shutdown drains, memory stays bounded."""

import hashlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service_process import ServiceProcess, client, running_service

pytestmark = pytest.mark.server

MIB = 2**20


def address(service: ServiceProcess) -> tuple[str, int]:
    parts = urlsplit(service.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def peak_memory(pid: int) -> int:
    """Return the highest resident memory of a process so far, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def test_idle_and_slow_clients_block_nobody(tmp_path: Path) -> None:
    """1,000 idle connections, 50 clients that dribble a body, 50 that never read: others are answered at once."""
    with (
        running_service(tmp_path / "data", open_files=1024) as service,
        ExitStack() as stack,
        client(service, connections=4) as http_,
    ):
        assert http_.put("/v1/content/small", content=b"s" * 1000).status_code == 201
        assert http_.put("/v1/content/large", content=os.urandom(8 * MIB)).status_code == 201
        idle: list[socket.socket] = []
        for number in range(1100):
            connection = stack.enter_context(socket.create_connection(address(service), timeout=10))
            if number >= 100:
                idle.append(connection)
            if number < 50:
                connection.sendall(
                    b"PUT /v1/content/slow%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\nx" % number
                )
            elif number < 100:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(b"GET /v1/content/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = time.monotonic()
        for number in range(200):
            assert http_.get("/v1/content/small").content == b"s" * 1000
            if number % 10 == 0:
                assert http_.put(f"/v1/content/more{number}", content=b"m").status_code == 201
        # Not a measurement: blocked requests would wait for the slow clients' limits, half a minute.
        assert time.monotonic() - before < 20
        for connection in idle:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert http_.get("/readyz").status_code == 200


def test_past_the_limits_callers_are_told_to_come_back(tmp_path: Path) -> None:
    tight = {
        "THERMOCLINE_LIMITS__MEMORY": "16MiB",
        "THERMOCLINE_LIMITS__MAX_WAIT": "200ms",
        "THERMOCLINE_LIMITS__MAX_CONNECTIONS": "60",
    }
    with running_service(tmp_path / "data", environment=tight) as service, ExitStack() as stack:
        host, port = address(service)
        # Each of these announces 8 MiB and stalls: together they take all of the memory that is allowed.
        for number in range(4):
            stalled = stack.enter_context(socket.create_connection((host, port), timeout=10))
            stalled.sendall(
                b"PUT /v1/content/s%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\nx" % number
            )
        with client(service) as http_:
            refused = _until_refused(http_)
            assert refused.headers["retry-after"].isdigit()
            assert refused.headers["content-type"] == "application/problem+json"
            assert http_.get("/healthz").status_code == 200
        crowd = [stack.enter_context(socket.create_connection((host, port), timeout=10)) for _ in range(80)]
        answers = [_first_line(connection) for connection in crowd[-10:]]
        assert all(b" 503 " in answer for answer in answers), answers


def _until_refused(http_: httpx.Client) -> httpx.Response:
    for number in range(50):
        answer = http_.put(f"/v1/content/r{number}", content=os.urandom(4 * MIB))
        if answer.status_code == 503:
            return answer
    raise AssertionError("nothing was refused")


def _first_line(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    try:
        return connection.recv(400)
    except ConnectionResetError:
        return b"HTTP/1.1 503 (reset)"


def test_shutdown_drains_what_runs(tmp_path: Path) -> None:
    """A download and an upload that run when SIGTERM comes are finished; new connections are refused."""
    service = ServiceProcess(tmp_path / "data")
    host, port = address(service)
    body = os.urandom(24 * MIB)
    with client(service) as http_:
        assert http_.put("/v1/content/big", content=body).status_code == 201
    download = http.client.HTTPConnection(host, port, timeout=30)
    download.request("GET", "/v1/content/big")
    answer = download.getresponse()
    first = answer.read(65536)
    upload = socket.create_connection((host, port), timeout=30)
    upload.sendall(
        b"PUT /v1/content/late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000
    )
    _wait_for(lambda: http_is_listening(host, port))
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(service.stop()))
    stopping.start()
    _wait_for(lambda: not http_is_listening(host, port))
    upload.sendall(b"a" * 100_000)
    assert upload.recv(400).startswith(b"HTTP/1.1 201")
    upload.close()
    assert first + answer.read() == body
    download.close()
    stopping.join()
    assert codes == [0]
    with running_service(tmp_path / "data") as again, client(again) as http_:
        assert http_.get("/v1/content/late").content == b"a" * 200_000


def http_is_listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in 20 s"
        threading.Event().wait(0.02)


def test_large_contents_take_bounded_memory(tmp_path: Path) -> None:
    """256 MiB in and out, streamed both ways, and ranges of it by several clients: at most 64 MiB more memory."""
    size = 256 * MIB
    block = os.urandom(MIB)

    def body() -> Iterator[bytes]:
        for _ in range(size // MIB):
            yield block

    expected = hashlib.sha256()
    for piece in body():
        expected.update(piece)
    with running_service(tmp_path / "data") as service, client(service) as http_:
        http_.put("/v1/content/warm-up", content=b"x" * MIB)
        http_.get("/v1/content/warm-up")
        before = peak_memory(service.pid)
        assert http_.put("/v1/content/huge", content=body()).status_code == 201
        received = hashlib.sha256()
        with http_.stream("GET", "/v1/content/huge") as answer:
            for piece in answer.iter_bytes():
                received.update(piece)
        assert received.digest() == expected.digest()
        assert peak_memory(service.pid) - before <= 64 * MIB

        def fetch(start: int) -> bool:
            answer = http_.get("/v1/content/huge", headers={"Range": f"bytes={start}-{start + 99_999}"})
            whole = block * 2
            return answer.status_code == 206 and answer.content == whole[start % MIB : start % MIB + 100_000]

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(fetch, range(0, size - 100_000, 7_777_777)))
        assert peak_memory(service.pid) - before <= 64 * MIB
