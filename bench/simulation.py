"""`thermocline simulate` of accesses as CSV, five policies and the optimum, against parsing the same file and no more.

Ours is the whole command in a process of its own, with its imports; the peer is Arrow's reader, on all cores.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from bench import processes
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan

_BAR = Limit(10.0, at_least=False)
_MOST_MEMORY = Limit(4096.0, at_least=False)
_ACCESSES = 10_000_000
_OBJECTS = 100_000
_DAYS = 365
_BUSY_PERCENT = 20.0
_MIB = 1024
_DAY = 86_400
_POLICIES = "velocity,age,idle,intelligent,learned"
_PARSE = "import sys, pyarrow.csv; pyarrow.csv.read_csv(sys.argv[1])"


@dataclass(frozen=True)
class _Turn:
    seconds: float
    cpu_seconds: float
    peak_mib: float
    others_percent: float


def run(plan: Plan) -> Table:
    accesses, objects = (_ACCESSES // 20, _OBJECTS // 20) if plan.quick else (_ACCESSES, _OBJECTS)
    path = plan.scratch / "trace.csv"
    plan.tell(f"writing {accesses} accesses")
    _write_trace(path, accesses, objects)
    ours: list[_Turn] = []
    peer: list[_Turn] = []
    rounds = min(plan.rounds, 5)
    for number in range(rounds):
        plan.tell(f"round {number + 1} of {rounds}")
        turns = [(ours, _ours(path)), (peer, [sys.executable, "-c", _PARSE, str(path)])]
        for found, command in turns if number % 2 else reversed(turns):
            found.append(_measured(command))
    case = f"{accesses / 1e6:g} million accesses to {objects} objects, a year"
    busy = max(_median(ours, "others_percent"), _median(peer, "others_percent"))
    return Table(
        name="simulation",
        title="simulate: five policies and the optimum, time to that of parsing the file",
        rows=[
            Row(
                case=case,
                peer_name="pyarrow.csv, parsing alone",
                unit="s",
                peer=_spread(peer, "seconds"),
                ours=_spread(ours, "seconds"),
                compared=Spread.of_ratios([turn.seconds for turn in ours], [turn.seconds for turn in peer]),
                bar=_BAR,
                details={
                    "CPU s: peer": _median(peer, "cpu_seconds"),
                    "ours": _median(ours, "cpu_seconds"),
                    "other programs %": busy,
                },
                is_doubtful=busy > _BUSY_PERCENT,
            ),
            Row(
                case=case,
                peer_name="none",
                unit="MiB",
                peer=None,
                ours=_spread(ours, "peak_mib"),
                compared=_spread(ours, "peak_mib"),
                compared_unit="MiB at most",
                bar=_MOST_MEMORY,
            ),
        ],
        notes=(
            f"{_POLICIES}; S3 Standard, IA and Glacier IR. The first half of the time is the past from which",
            "`learned` learns. The peer is Arrow's reader on all cores. Drawn with seed 1.",
        ),
    )


def _ours(path: Path) -> list[str]:
    command = [sys.executable, "-m", "thermocline", "simulate", str(path), "--prices", "s3", "--json"]
    return [*command, "--policies", _POLICIES]


def _measured(command: list[str]) -> _Turn:
    machine = processes.MachineTime.now()
    program = (
        "import json,resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    )
    program += (
        "r = resource.getrusage(resource.RUSAGE_CHILDREN); print(json.dumps([r.ru_utime + r.ru_stime, r.ru_maxrss]))"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    machine = processes.MachineTime.now() - machine
    cpu, peak_kib = json.loads(done.stdout)
    others = 100 * max(machine.busy - cpu, 0) / machine.total
    return _Turn(seconds, cpu, peak_kib / _MIB, others)


def _spread(turns: list[_Turn], name: str) -> Spread:
    return Spread.of([getattr(turn, name) for turn in turns])


def _median(turns: list[_Turn], name: str) -> float:
    return _spread(turns, name).median


def _write_trace(path: Path, accesses: int, objects: int) -> None:
    """Popularity by a power law, each object read less as it ages, sizes log-normal."""
    draws = np.random.default_rng(1)
    popularity = draws.pareto(1.1, objects) + 0.02
    chosen = draws.choice(objects, accesses, p=popularity / popularity.sum()).astype(np.int32)
    born = (draws.random(objects) * _DAYS / 2)[chosen]
    days = born + draws.exponential(_DAYS / 6, accesses)
    late = days >= _DAYS
    days[late] = born[late] + draws.random(int(late.sum())) * (_DAYS - born[late])
    seconds = np.sort((1_600_000_000 + days * _DAY).astype(np.int64))
    sizes = np.clip(np.exp(draws.normal(np.log(4e6), 1.8, objects)), 130e3, 5e9).astype(np.int64)
    names = pa.array([f"content/{number:06}.bin" for number in range(objects)])
    table = pa.table({"ts": seconds, "obj": names.take(pa.array(chosen)), "size": sizes[chosen]})
    arrow_csv.write_csv(table, path)
