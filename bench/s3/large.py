"""One large object into a bucket and out again: speed beside obstore that hashes, and the memory that it takes.

Every turn is a process of its own, so that its peak of memory is its own. Ceph keeps the object on disk.
"""

import json
import subprocess
import sys
from pathlib import Path

from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan
from bench.s3 import buckets

_SIZE_BYTES = 5 * 2**30
_QUICK_BYTES = 256 * 2**20
_MIB = 2**20
_BAR = Limit(0.8)
_MEMORY_BAR = Limit(64.0, at_least=False)


def run(plan: Plan) -> Table:
    size = _QUICK_BYTES if plan.quick else _SIZE_BYTES
    rounds = min(plan.rounds, 3)
    found: dict[str, list[dict[str, float]]] = {}
    with buckets.running(plan.scratch / "ceph", on_disk=True) as server:
        for number in range(rounds):
            for side in ("put-bare", "put", "get-bare", "get"):
                plan.tell(f"round {number + 1} of {rounds}, {side}")
                found.setdefault(side, []).append(_turn(plan.scratch, server.endpoint, side, size))
    return Table(
        name="s3_large",
        title=f"{size / 2**30:g} GiB into a bucket on disk and out, a fresh process for each",
        rows=[
            _speed("in", size, found["put-bare"], found["put"]),
            _speed("out", size, found["get-bare"], found["get"]),
            _memory("in", found["put"]),
            _memory("out", found["get"]),
        ],
        notes=(
            "obstore sends parts of 8 MiB, two at once, as we do, and both compute the SHA-256 of the whole.",
            "Memory is how much VmHWM grows from before the first byte to after the last.",
        ),
    )


def _turn(scratch: Path, endpoint: str, side: str, size: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.s3.large_turn", side, endpoint, str(size), str(scratch / "data")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _speed(case: str, size: int, peer: list[dict[str, float]], ours: list[dict[str, float]]) -> Row:
    peer_speeds, our_speeds = ([size / _MIB / turn["seconds"] for turn in side] for side in (peer, ours))
    return Row(
        case=case,
        peer_name="obstore, SHA-256",
        unit="MiB/s",
        peer=Spread.of(peer_speeds),
        ours=Spread.of(our_speeds),
        compared=Spread.of_ratios(our_speeds, peer_speeds),
        bar=_BAR,
    )


def _memory(case: str, ours: list[dict[str, float]]) -> Row:
    grown = Spread.of([turn["grown_bytes"] / _MIB for turn in ours])
    return Row(
        case=f"memory, {case}",
        peer_name="",
        unit="MiB",
        peer=None,
        ours=grown,
        compared=grown,
        compared_unit="MiB more",
        bar=_MEMORY_BAR,
    )
