"""A real service in its own process, on a free port, started and ended by its id."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

START_SECONDS = 30.0
STOP_SECONDS = 40.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class ServiceProcess:
    """`thermocline serve` on a folder. `kill` is SIGKILL, `stop` is SIGTERM and waits for the drain."""

    def __init__(
        self,
        data: Path,
        *,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        port: int = 0,
        open_files: int | None = None,
    ) -> None:
        self.data = data
        self.log_path = data.parent / f"{data.name}.service.log"
        data.parent.mkdir(parents=True, exist_ok=True)
        self._log: IO[bytes] = self.log_path.open("ab")
        # Many systems start processes with a soft limit far below the hard one.
        limited = [] if open_files is None else ["prlimit", f"--nofile={open_files}:"]
        self.process = subprocess.Popen(
            [
                *limited,
                sys.executable,
                "-m",
                "thermocline",
                "serve",
                "--port",
                str(port),
                "--data",
                str(data),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | (environment or {}),
            text=True,
        )
        self.url = self._wait_for_address()

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """End the process this instant, as a power cut of the process would."""
        self.process.kill()
        self._reap(5.0)

    def stop(self) -> int:
        """Ask the process to drain and end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap(STOP_SECONDS)

    def _reap(self, seconds: float) -> int:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the service did not end in {seconds} s:\n{self.log()[-4000:]}") from None
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
            self._log.close()
        return code

    def _wait_for_address(self) -> str:
        line: list[str] = []
        assert self.process.stdout is not None
        reader = threading.Thread(target=lambda: line.append(self.process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(START_SECONDS)
        match = _ADDRESS.search(line[0]) if line else None
        if match is None:
            self.process.kill()
            self._reap(5.0)
            raise AssertionError(f"the service did not start: {line}\n{self.log()[-4000:]}")
        return match[0]


@contextmanager
def running_service(
    data: Path,
    *,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    open_files: int | None = None,
) -> Iterator[ServiceProcess]:
    """Run a service for the length of the block; it must still be alive at the end and stop cleanly."""
    service = ServiceProcess(data, arguments=arguments, environment=environment, open_files=open_files)
    try:
        yield service
    except BaseException:
        if service.process.poll() is None:
            service.kill()
        raise
    assert service.process.poll() is None, service.log()[-4000:]
    assert service.stop() == 0, service.log()[-4000:]


def client(service: ServiceProcess, *, connections: int = 32) -> httpx.Client:
    """A client whose connections match the test's concurrency."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.Client(base_url=service.url, limits=limits, timeout=30.0)
