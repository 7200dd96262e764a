"""The servers that are compared, each as a context manager that starts it and gives its URL and processes."""

import os
import pwd
import secrets
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SIZES = (1024, 64 * 1024, 1024 * 1024)
_HERE = Path(__file__).parent
_START_SECONDS = 20


@dataclass(frozen=True)
class Peer:
    """A running server. `base_url` ends before the object's name, which is its size in bytes."""

    base_url: str
    pids: tuple[int, ...]
    token: str = "of any kind"  # noqa: S105 - nginx ignores it
    """What clients send for authorization."""


@contextmanager
def nginx(*, tcp_nopush: bool) -> Generator[Peer, None, None]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "root").mkdir()
        for size in SIZES:
            (folder / "root" / str(size)).write_bytes(secrets.token_bytes(size))
        port = _free_port()
        template = string.Template((_HERE / "nginx.conf.template").read_text(encoding="ascii"))
        (folder / "nginx.conf").write_text(
            template.substitute(
                folder=folder,
                port=port,
                tcp_nopush="on" if tcp_nopush else "off",
                user=pwd.getpwuid(os.getuid()).pw_name,
            ),
            encoding="ascii",
        )
        command = ["nginx", "-p", name, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        with _running(command, port) as process:
            yield Peer(f"http://127.0.0.1:{port}/", _tree(process.pid))


@contextmanager
def service(*, remember: bool) -> Generator[Peer, None, None]:
    """The whole service on a fresh folder: a token exists and is checked, reads are tracked, all headers are sent."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        thermocline = [sys.executable, "-m", "thermocline"]
        made = subprocess.run(
            [*thermocline, "token", "create", "--scope", "read", "--data", str(data)],
            capture_output=True,
            text=True,
            check=True,
        )
        for size in SIZES:
            body = Path(name) / str(size)
            body.write_bytes(secrets.token_bytes(size))
            subprocess.run([*thermocline, "put", str(body), str(size), "--data", str(data)], check=True)
        port = _free_port()
        command = [*thermocline, "serve", "--port", str(port), "--data", str(data)]
        environment = os.environ | {"THERMOCLINE_HTTP__MEMORISE_REQUESTS": str(remember).lower()}
        with _running(command, port, environment) as process:
            yield Peer(f"http://127.0.0.1:{port}/v1/content/", _tree(process.pid), made.stdout.strip())


# The first is the yardstick's first variant; to measure another server, put its context manager here.
ROSTER: Mapping[str, Callable[[], AbstractContextManager[Peer]]] = {
    "nginx, tcp_nopush on": partial(nginx, tcp_nopush=True),
    "nginx, tcp_nopush off": partial(nginx, tcp_nopush=False),
    "thermocline": partial(service, remember=True),
    "thermocline, parsing each head": partial(service, remember=False),
}


@contextmanager
def _running(
    command: list[str], port: int, environment: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes], None, None]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _await_port(process, port)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen after {_START_SECONDS} s")


def _tree(pid: int) -> tuple[int, ...]:
    """Return a process and its children, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return (pid, *(found for child in children for found in _tree(int(child))))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
