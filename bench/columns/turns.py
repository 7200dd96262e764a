"""Sides of a sweep of the whole catalog, each measured in a process of its own, on SQLite and PostgreSQL."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.columns import filling
from bench.figures import Limit, Row, Spread
from bench.plan import Plan
from thermocline.testing.catalog import fresh_postgres_catalog, fresh_sqlite_catalog
from thermocline.testing.servers.postgres import PostgresServer

_MILLION = 1_000_000
_BAR = Limit(2.0, at_least=False)
_GOAL = Limit(1.3, at_least=False)
_MOST_MEMORY = Limit(1024.0, at_least=False)
_BUSY_PERCENT = 20.0
_MIB = 1024 * 1024
_SIDES = {"as they lie": "adbc", "in order": "adbc-in-order"}


@dataclass(frozen=True)
class _Turn:
    seconds: float
    cpu_us: float
    """For each content, the database's included."""
    peak_mib: float
    others_percent: float


def on_both(plan: Plan, *, ours: str) -> list[Row]:
    """Return how our side compares with ADBC's on either database: time, then memory."""
    rows: list[Row] = []
    sizes = [_MILLION // 20] if plan.quick else [_MILLION]
    with _server() as server:
        for in_order in (True, False):
            for contents in [*sizes, *((3 * _MILLION, 10 * _MILLION) if plan.large and in_order else ())]:
                case = f"{contents / _MILLION:g} million, stored {'in order' if in_order else 'at random'}"
                url = _sqlite(plan, contents, in_order=in_order)
                rows += _rows(plan, f"SQLite, {case}", url, contents, None, ours=ours)
                url = _postgres(plan, server, contents, in_order=in_order)
                rows += _rows(plan, f"PostgreSQL, {case}", url, contents, server, ours=ours)
                server.drop_database(url)
    return rows


@contextmanager
def _server() -> Iterator[PostgresServer]:
    # Not under the folder that is measured: another user must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="thermocline-bench-") as folder:
        server = PostgresServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _sqlite(plan: Plan, contents: int, *, in_order: bool) -> str:
    plan.tell(f"SQLite: storing {contents} contents")
    path = plan.scratch / "catalog.db"
    for old in path.parent.glob("catalog.db-*"):
        old.unlink()
    url = fresh_sqlite_catalog(path)
    filling.fill_file(path, contents, in_order=in_order)
    return url


def _postgres(plan: Plan, server: PostgresServer, contents: int, *, in_order: bool) -> str:
    plan.tell(f"PostgreSQL: storing {contents} contents")
    url = fresh_postgres_catalog(server)
    filling.fill_database(url, contents, in_order=in_order)
    return url


def _rows(plan: Plan, case: str, url: str, contents: int, server: PostgresServer | None, *, ours: str) -> list[Row]:
    our_turns: list[_Turn] = []
    peers: dict[str, list[_Turn]] = {name: [] for name in _SIDES}
    rounds = min(plan.rounds, 3) if contents > _MILLION else plan.rounds
    for number in range(rounds):
        plan.tell(f"{case}: round {number + 1} of {rounds}")
        turns = [(our_turns, ours), *((peers[name], side) for name, side in _SIDES.items())]
        for found, side in turns if number % 2 else reversed(turns):
            found.append(_measured(side, url, contents, server))
    return [
        *(_compared(case, name, our_turns, turns) for name, turns in peers.items()),
        Row(
            case=case,
            peer_name="none",
            unit="MiB",
            peer=None,
            ours=Spread.of([turn.peak_mib for turn in our_turns]),
            compared=Spread.of([turn.peak_mib for turn in our_turns]),
            compared_unit="MiB at most",
            bar=_MOST_MEMORY,
        ),
    ]


def _compared(case: str, name: str, ours: Sequence[_Turn], peer: Sequence[_Turn]) -> Row:
    return Row(
        case=case,
        peer_name=f"ADBC, {name}",
        unit="s",
        peer=Spread.of([turn.seconds for turn in peer]),
        ours=Spread.of([turn.seconds for turn in ours]),
        compared=Spread.of_ratios([turn.seconds for turn in ours], [turn.seconds for turn in peer]),
        bar=_BAR,
        goal=_GOAL,
        details={
            "CPU us/content: peer": statistics.median(turn.cpu_us for turn in peer),
            "ours": statistics.median(turn.cpu_us for turn in ours),
            "MiB at most: peer": statistics.median(turn.peak_mib for turn in peer),
            "other programs %": statistics.median(turn.others_percent for turn in ours),
        },
        is_doubtful=statistics.median(turn.others_percent for turn in (*ours, *peer)) > _BUSY_PERCENT,
    )


def _measured(side: str, url: str, contents: int, server: PostgresServer | None) -> _Turn:
    machine = processes.MachineTime.now()
    server_cpu = _cpu_of(server)
    command = [sys.executable, "-m", "bench.columns.loading", side, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    machine = processes.MachineTime.now() - machine
    figures = json.loads(done.stdout)
    if figures["contents"] != contents:
        raise RuntimeError(f"{side} found {figures['contents']} contents of {contents}")
    cpu = figures["cpu"] + _cpu_of(server) - server_cpu
    others = 100 * max(machine.busy - cpu, 0) / machine.total
    return _Turn(figures["seconds"], cpu / contents * 1e6, figures["peak_bytes"] / _MIB, others)


def _cpu_of(server: PostgresServer | None) -> float:
    """Return the CPU time of a server and of all its processes that have ended."""
    return 0.0 if server is None else processes.cpu_seconds_with_ended(server.process.pid)
