"""Server processes: started, watched until they answer, stopped, killed, paused and resumed; never left behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from thermocline.domain.units import Seconds

START_WAIT: Final = Seconds(60.0)
STOP_WAIT: Final = Seconds(20.0)
POLL: Final = Seconds(0.02)
_LOG_SHOWN: Final = 4000


class ServerFailedError(Exception):
    """A server could not be started or stopped; the message ends with its last log lines."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str, *folders: str) -> str:
    """Return the path of a program. Raises `ServerFailedError` that says how to get it."""
    found = shutil.which(name, path=os.pathsep.join((*folders, os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if found is None:
        raise ServerFailedError(f"the program {name!r} is missing; run 'make tools'")
    return found


class ServerProcess:
    """One server in a process of its own, with its output in a file. May be started again after it ended.

    The server is killed when the thread that started it ends, so that an aborted test run leaves nothing behind.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log_path = log
        self._name = Path(arguments[0]).name
        self._is_ready = is_ready
        self._environment = {**os.environ, **(environment or {})}
        self._stop_signal = stop_signal
        as_user = ("--reuid", user, "--regid", user, "--init-groups") if user and os.geteuid() == 0 else ()
        self._arguments = [program("setpriv"), "--pdeathsig", "KILL", *as_user, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerFailedError("the server was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is alive, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: Seconds = START_WAIT) -> None:
        """Start the server and return once it answers. Raises `ServerFailedError`; then it does not run."""
        self.launch()
        self.wait_until_ready(wait=wait)

    def launch(self) -> None:
        """Start the server without waiting, so that several can start side by side."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def wait_until_ready(self, *, wait: Seconds = START_WAIT) -> None:
        """Return once the launched server answers. Raises `ServerFailedError`; then it does not run."""
        deadline = time.monotonic() + wait
        while not self._is_ready():
            if not self.is_running:
                raise ServerFailedError(f"{self._name} ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self._name} did not answer in {wait:.0f} s:\n{self.log_tail()}")
            time.sleep(POLL)

    def stop(self, *, wait: Seconds = STOP_WAIT) -> None:
        """End the server as an operator would, or at once if it does not end in time. Idempotent."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process this instant. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_WAIT)

    def pause(self) -> None:
        """Let the process stand still: connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on. Idempotent."""
        os.kill(self.pid, signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the end of what the server printed."""
        return self.log_path.read_text(errors="replace")[-_LOG_SHOWN:]
