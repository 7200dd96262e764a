"""One measurement of each side: curl against a server, and the plain pipeline."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.servers import Server


@dataclass(frozen=True)
class Turn:
    """One side's turn in one round."""

    seconds: float
    cpu_seconds: float = 0.0
    """Of the server."""
    peak_before_bytes: int = 0
    peak_after_bytes: int = 0


def pipeline(file: Path, copy: Path, *, synced: bool) -> Turn:
    """Copy and hash the file with plain tools; `synced` also waits until the copy is on stable storage."""
    script = 'cat "$1" | tee "$2" | sha256sum' + (' && sync "$2"' if synced else "")
    began = time.perf_counter()
    subprocess.run(["sh", "-c", script, "sh", str(file), str(copy)], check=True, stdout=subprocess.DEVNULL)
    return Turn(time.perf_counter() - began)


def upload(server: Server, file: Path, name: str) -> Turn:
    """PUT the file; curl's start and end count, as those of the pipeline's tools do."""
    return _measured(server, ["-T", str(file), f"{server.url}/v1/content/{name}"], expected=(200, 201))


def download(server: Server, path: str, size_bytes: int) -> Turn:
    """GET into nothing. Raises `RuntimeError` if the size differs."""
    return _measured(server, [f"{server.url}{path}"], expected=(200,), size_bytes=size_bytes)


def downloaded_sha256(server: Server, path: str) -> str:
    """Return the digest of what a GET returns, as hexadecimal digits."""
    script = 'curl -sS --fail "$1" | sha256sum'
    done = subprocess.run(["sh", "-c", script, "sh", f"{server.url}{path}"], check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


def _measured(
    server: Server, arguments: list[str], *, expected: tuple[int, ...], size_bytes: int | None = None
) -> Turn:
    pids = server.pids
    before, cpu_before = processes.peak_memory_bytes(pids), processes.cpu_seconds(pids)
    began = time.perf_counter()
    done = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{json}", *arguments], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    after, cpu_after = processes.peak_memory_bytes(pids), processes.cpu_seconds(pids)
    told = json.loads(done.stdout)
    if told["http_code"] not in expected or size_bytes not in {None, told["size_download"]}:
        raise RuntimeError(f"curl {arguments}: status {told['http_code']}, {told['size_download']} bytes came")
    return Turn(seconds, cpu_after - cpu_before, before, after)
