"""Servers that are measured, each in its own process, ended by its id: `thermocline serve` and nginx."""

import os
import pwd
import re
import select
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_ADDRESS = re.compile(rb"http://127\.0\.0\.1:\d+")
_NGINX_TEMPLATE = Path(__file__).parent / "hot_get" / "nginx.conf.template"


@dataclass(frozen=True)
class Server:
    """A running server; `url` has no slash at its end."""

    url: str
    pid: int

    @property
    def pids(self) -> tuple[int, ...]:
        return processes.tree(self.pid)

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Stop the server for the length of the block, so that its background work does not slow a peer."""
        pids = self.pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def thermocline(data: Path) -> Generator[Server, None, None]:
    """Serve the folder with default settings. Raises `RuntimeError` if the service does not start."""
    data.parent.mkdir(parents=True, exist_ok=True)
    log_path = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "thermocline", "serve", "--port", "0", "--data", str(data)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("THERMOCLINE_")}
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
        try:
            yield Server(_announced_address(process, log_path), process.pid)
        finally:
            _end(process)
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def nginx(root: Path) -> Generator[Server, None, None]:
    """Serve the files of a folder from the page cache: one worker, sendfile, no log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "root").symlink_to(root.absolute())
        port = _free_port()
        configuration = string.Template(_NGINX_TEMPLATE.read_text(encoding="ascii")).substitute(
            folder=folder, port=port, tcp_nopush="on", user=pwd.getpwuid(os.getuid()).pw_name
        )
        (folder / "nginx.conf").write_text(configuration, encoding="ascii")
        process = subprocess.Popen(
            ["nginx", "-p", name, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        )
        try:
            _await_port(process, port)
            yield Server(f"http://127.0.0.1:{port}", process.pid)
        finally:
            _end(process)


def _announced_address(process: subprocess.Popen[bytes], log_path: Path) -> str:
    if process.stdout is None:
        raise AssertionError
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    match = _ADDRESS.search(process.stdout.readline()) if readable else None
    if match is None:
        tail = log_path.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the service did not announce its address:\n{tail}")
    return match[0].decode()


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


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
