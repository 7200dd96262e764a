"""One measurement: wrk against one URL, with the CPU time that the serving processes took."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    requests_per_second: float
    cpu_microseconds_per_request: float


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return user and system time of the processes so far (fields 14 and 15 of /proc/PID/stat)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def run(url: str, pids: Sequence[int], seconds: int, *, token: str) -> Load:
    """Return what wrk reaches with one thread. Raises `RuntimeError` on any error or status but 2xx."""
    before = cpu_seconds(pids)
    report = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Authorization: Bearer {token}", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    spent = cpu_seconds(pids) - before
    total = re.search(r"(\d+) requests in", report)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if total is None or rate is None or "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"wrk {url} failed:\n{report}")
    return Load(float(rate[1]), spent / int(total[1]) * 1e6)
