"""`serve`: the address it prints, what it refuses, how it ends; and commands beside it."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.interfaces.cli.commandline import command, run_process
from tests.service_process import ServiceProcess

pytestmark = pytest.mark.server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def service(data: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(data)
    yield running
    running.stop()


def test_the_first_line_is_the_address(data: Path) -> None:
    process = subprocess.Popen(
        command(data, "serve", "--port", "0"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Thermocline listens on http://127.0.0.1:")
    assert line.rstrip("\n").rpartition(":")[2] != "0"
    assert httpx.get(line.split()[-1] + "/healthz").status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stdout.read() == ""
    process.stdout.close()


def test_the_address_as_json(data: Path) -> None:
    process = subprocess.Popen(
        command(data, "serve", "--port", "0", "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith('{"address": "http://127.0.0.1:')
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "256.1.1.1", "no such host"])  # noqa: S104 - to be refused
def test_other_addresses_need_a_token(data: Path, host: str) -> None:
    done = run_process(data, "serve", "--port", "0", "--host", host)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - to be refused
        assert b"thermocline token create" in done.stderr


def test_a_port_in_use_is_told(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_process(data, "serve", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Address already in use" in done.stderr
    assert done.stderr.count(b"\n") == 1
    told = run_process(data, "serve", "--host", "256.1.1.1", "--json")
    assert told.stderr.startswith(b'{"error": "configuration"')


def test_commands_work_beside_a_service_with_the_same_guarantees(service: ServiceProcess, data: Path) -> None:
    url = f"{service.url}/v1/content/a"
    assert httpx.put(url, content=b"by http").status_code == 201
    assert run_process(data, "get", "a").stdout == b"by http"
    assert httpx.get(url).content == b"by http"  # now it is in the service's memory
    assert run_process(data, "put", "-", "a", stdin=b"by command").returncode == 0
    # The service polls the change feed at most every 50 ms; the command's start takes longer than its end.
    for _ in range(40):
        if httpx.get(url).content == b"by command":
            break
    assert httpx.get(url).content == b"by command"
    assert run_process(data, "ls").stdout == b"a\n"
    assert run_process(data, "fsck").returncode == 0
    assert run_process(data, "rm", "a").returncode == 0
    assert run_process(data, "stat", "a").returncode == 3


def test_a_token_made_beside_a_service_closes_it(service: ServiceProcess, data: Path) -> None:
    url = f"{service.url}/v1/content/a"
    assert httpx.put(url, content=b"x").status_code == 201
    made = run_process(data, "token", "create", "--scope", "read", "--expires", "90d")
    token = made.stdout.decode().strip()
    assert made.stderr == b"From now on only public content can be read without a token.\n"
    for _ in range(40):
        if httpx.get(url).status_code != 200:
            break
    assert httpx.get(url).status_code in {401, 404}
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx.get(url, headers=bearer).content == b"x"
    assert httpx.put(url, content=b"y", headers=bearer).status_code in {401, 403}
    assert run_process(data, "token", "revoke", token).returncode == 0
    for _ in range(40):
        if httpx.get(url, headers=bearer).status_code != 200:
            break
    assert httpx.get(url, headers=bearer).status_code in {401, 404}
