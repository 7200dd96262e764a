"""Peers and service taking turns, for new ids and for overwrites."""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import scratch, servers
from bench.durable_put import turns
from bench.durable_put.turns import BODY_BYTES, CONNECTIONS, Turn
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan

_BODIES = 64
_OVERWRITTEN_IDS = 256
_WARM_UP_SECONDS = 2
_BAR = Limit(0.5)
_GOAL = Limit(1.0)
_BUSY_PERCENT = 20.0
"""A peer that does one thing after the other waits its turn after every fsync: with half of the CPU time taken by
other programs it was seen at a tenth of its speed, while 16 connections hardly suffered. The kernel's own threads
count as other programs, and use some percent."""


def run(plan: Plan) -> Table:
    if not plan.quick:
        scratch.wait_until_forgotten(plan.scratch, plan.tell)
    bodies = plan.scratch / "bodies"
    bodies.write_bytes(os.urandom(_BODIES * BODY_BYTES))
    rows: list[Row] = []
    for case, ids in (("new ids", 0), ("overwrites", _OVERWRITTEN_IDS)):
        rows += _case(plan, bodies, case, ids)
    return Table(
        name="durable_put",
        title=f"durable PUT of {BODY_BYTES // 1024} KiB over HTTP, {CONNECTIONS} connections kept alive",
        rows=rows,
        notes=(
            "Peer: one loop of write, fsync, rename, SQLite commit (WAL, FULL); it loses the file's name in a crash",
            "unless it syncs the folder too. The service pauses while a peer measures.",
        ),
    )


def _case(plan: Plan, bodies: Path, case: str, ids: int) -> list[Row]:
    bare: list[Turn] = []
    synced: list[Turn] = []
    ours: list[Turn] = []
    folder = plan.scratch / case.replace(" ", "-")
    with servers.thermocline(folder / "service") as server:
        plan.tell(f"{case}: warming up")
        turns.service(server, bodies, prefix="warm-up/", ids=ids, seconds=_WARM_UP_SECONDS)
        for number in range(plan.rounds):
            peers = ((bare, False), (synced, True))
            for found, sync_folder in peers if number % 2 else reversed(peers):
                plan.tell(f"{case}: round {number + 1} of {plan.rounds}, peer")
                # What the one before left unwritten must not slow this one.
                os.sync()
                with server.paused():
                    found.append(
                        turns.system_calls(
                            folder / f"peer-{number}-{sync_folder}",
                            bodies,
                            sync_folder=sync_folder,
                            seconds=plan.seconds,
                        )
                    )
            plan.tell(f"{case}: round {number + 1} of {plan.rounds}, ours")
            os.sync()
            prefix = f"round/{number}/" if not ids else "overwritten/"
            ours.append(turns.service(server, bodies, prefix=prefix, ids=ids, seconds=plan.seconds))
    return [
        _row(case, "without folder fsync", bare, ours, details=True),
        _row(case, "with folder fsync", synced, ours, details=False),
    ]


def _row(case: str, peer_name: str, peer: Sequence[Turn], ours: Sequence[Turn], *, details: bool) -> Row:
    peer_rates, our_rates = ([turn.per_second for turn in side] for side in (peer, ours))
    return Row(
        case=case,
        peer_name=peer_name,
        unit="op/s",
        peer=Spread.of(peer_rates),
        ours=Spread.of(our_rates),
        compared=Spread.of_ratios(our_rates, peer_rates),
        bar=_BAR,
        goal=_GOAL,
        details=_details(peer, ours) if details else _peer_details(peer),
        is_doubtful=max(_middle(side, lambda turn: turn.others_percent) for side in (peer, ours)) > _BUSY_PERCENT,
    )


def _details(peer: Sequence[Turn], ours: Sequence[Turn]) -> dict[str, float]:
    return _peer_details(peer) | {
        "server": _middle(ours, lambda turn: turn.server_cpu_us),
        "wrk": _middle(ours, lambda turn: turn.client_cpu_us),
        "machine: idle %": _middle(ours, lambda turn: turn.idle_percent),
        "other programs %": _middle(ours, lambda turn: turn.others_percent),
        "latency ms: p50": _middle(ours, lambda turn: turn.p50_ms),
        "p99": _middle(ours, lambda turn: turn.p99_ms),
    }


def _peer_details(peer: Sequence[Turn]) -> dict[str, float]:
    return {
        "peer: idle %": _middle(peer, lambda turn: turn.idle_percent),
        "other programs %, peer's turn": _middle(peer, lambda turn: turn.others_percent),
        "CPU us/op: peer": _middle(peer, lambda turn: turn.server_cpu_us),
    }


def _middle(turns_of_a_side: Sequence[Turn], figure: Callable[[Turn], float]) -> float:
    return statistics.median(map(figure, turns_of_a_side))
