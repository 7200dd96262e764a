"""One measurement of each side: the service under wrk, and the bare system calls."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.servers import Server

CONNECTIONS = 16
BODY_BYTES = 64 * 1024
_SCRIPT = Path(__file__).parent / "put.lua"


@dataclass(frozen=True)
class Turn:
    """One side's turn in one round."""

    per_second: float
    server_cpu_us: float
    """Of the side that stores, for each operation."""
    client_cpu_us: float = 0.0
    idle_percent: float = 0.0
    """Of all cores; waiting for the disk counts as idle."""
    others_percent: float = 0.0
    """What neither server nor client used: the kernel's own threads, other programs."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def service(server: Server, bodies: Path, *, prefix: str, ids: int, seconds: int) -> Turn:
    """PUT over HTTP; `ids` 0 gives every request its own id. Raises `RuntimeError` if any request failed."""
    pids = server.pids
    machine, server_cpu = processes.MachineTime.now(), processes.cpu_seconds(pids)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(_SCRIPT), server.url]
    arguments = [str(bodies), str(BODY_BYTES), prefix, str(ids)]
    with subprocess.Popen([*command, "--", *arguments], stdout=subprocess.PIPE, text=True) as client:
        if client.stdout is None:
            raise AssertionError
        output = client.stdout.read()
        # Read while it can still be read: the process has ended its work, but is not yet reaped.
        client_cpu = processes.cpu_seconds([client.pid])
    server_cpu = processes.cpu_seconds(pids) - server_cpu
    machine = processes.MachineTime.now() - machine
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    found = json.loads(line.removeprefix("RESULT ")) if line else None
    if found is None or found["failed"] or found["statuses"] or not found["operations"]:
        raise RuntimeError(f"PUTs failed:\n{output}")
    operations = found["operations"]
    return Turn(
        per_second=operations / found["seconds"],
        server_cpu_us=server_cpu / operations * 1e6,
        client_cpu_us=client_cpu / operations * 1e6,
        idle_percent=100 * (machine.idle + machine.waiting_for_disk) / machine.total,
        others_percent=100 * max(machine.busy - server_cpu - client_cpu, 0) / machine.total,
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
    )


def system_calls(folder: Path, bodies: Path, *, sync_folder: bool, seconds: int) -> Turn:
    """Write files and rows one after the other, in a process of its own."""
    command = [sys.executable, "-m", "bench.durable_put.system_calls", str(folder), str(bodies), str(BODY_BYTES)]
    machine = processes.MachineTime.now()
    found = json.loads(
        subprocess.run(
            [*command, str(seconds), *(["--sync-folder"] if sync_folder else [])],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    machine = processes.MachineTime.now() - machine
    return Turn(
        per_second=found["operations"] / found["seconds"],
        server_cpu_us=found["cpu_seconds"] / found["operations"] * 1e6,
        idle_percent=100 * (machine.idle + machine.waiting_for_disk) / machine.total,
        others_percent=100 * max(machine.busy - found["cpu_seconds"], 0) / machine.total,
    )
