"""Importing 10,000 small files by the command line, against `cp -r` followed by an fsync of each copy."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes, scratch
from bench.figures import Limit, Row, Spread, Table
from bench.plan import Plan

_FILES = 10_000
_QUICK_FILES = 1000
_MEDIAN_BYTES = 4096
_SIGMA = 1.0
"""Of the sizes' logarithm: two thirds lie between 1.5 and 11 KiB, the largest near 200 KiB."""
_LARGEST_BYTES = 256 * 1024
_FOLDERS = 100
_BAR = Limit(0.4)
_GOAL = Limit(1.0)
_BUSY_PERCENT = 20.0


@dataclass(frozen=True)
class _Turn:
    """One side's turn in one round."""

    seconds: float
    cpu_seconds: float
    others_percent: float
    """Of all cores: what other programs and the kernel's own threads used."""


def run(plan: Plan) -> Table:
    if not plan.quick:
        scratch.wait_until_forgotten(plan.scratch, plan.tell)
    files = _QUICK_FILES if plan.quick else _FILES
    plan.tell(f"making {files} files")
    tree = plan.scratch / "tree"
    size = _plant(tree, files)
    turns: dict[tuple[str, str], list[_Turn]] = {}
    for number in range(plan.rounds):
        sides: list[tuple[str, Callable[[Path, Path], _Turn]]] = [
            ("bare", _peer),
            ("synced", _peer_with_folders),
            ("ours", _ours),
        ]
        for case in ("cold", "warm"):
            # Each goes first in turn, so that none always meets the disk as the same other left it.
            for side, measure in sides[number % 3 :] + sides[: number % 3]:
                plan.tell(f"{case}: round {number + 1} of {plan.rounds}, {side}")
                (_forget if case == "cold" else _recall)(tree)
                os.sync()
                turns.setdefault((case, side), []).append(measure(tree, plan.scratch / f"{case}-{side}-{number}"))
    rows = [
        _row(told, name, files, turns[case, side], turns[case, "ours"])
        for case, told in (("cold", "source on the disk"), ("warm", "source in memory"))
        for side, name in (("bare", "cp -r, fsync of files"), ("synced", "cp -r, fsync of files and folders"))
    ]
    return Table(
        name="import_tree",
        title=f"import of {files} files, {size >> 20} MiB, by the command, its start included",
        rows=rows,
        notes=("Ours hashes each file, stores it with fsync of file and folder, and commits its record and intent.",),
    )


def _plant(tree: Path, files: int) -> int:
    """Make the same files in every run; return their bytes."""
    dice = random.Random(0)
    total = 0
    for number in range(files):
        folder = tree / f"{number % _FOLDERS:02}"
        folder.mkdir(parents=True, exist_ok=True)
        size = min(round(_MEDIAN_BYTES * dice.lognormvariate(0, _SIGMA)), _LARGEST_BYTES)
        (folder / f"file-{number:05}.bin").write_bytes(dice.randbytes(size))
        total += size
    os.sync()
    return total


def _forget(tree: Path) -> None:
    """Let the next reader of the files wait for the disk."""
    for path in _files(tree):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def _recall(tree: Path) -> None:
    for path in _files(tree):
        path.read_bytes()


def _files(tree: Path) -> Sequence[Path]:
    return [path for path in sorted(tree.rglob("*")) if path.is_file()]


def _peer(tree: Path, target: Path) -> _Turn:
    return _measured(lambda: _copy(tree, target, with_folders=False))


def _peer_with_folders(tree: Path, target: Path) -> _Turn:
    return _measured(lambda: _copy(tree, target, with_folders=True))


def _copy(tree: Path, target: Path, *, with_folders: bool) -> None:
    subprocess.run(["cp", "-r", str(tree), str(target)], check=True)
    for folder, _, names in os.walk(target):
        for name in names:
            _sync(os.path.join(folder, name))  # noqa: PTH118 - the peer shall not wait for Path
        if with_folders:
            _sync(folder)


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def _ours(tree: Path, target: Path) -> _Turn:
    _thermocline("ls", target)  # makes the store: who imports has one
    os.sync()
    return _measured(lambda: _thermocline("import", target, str(tree)))


def _thermocline(command: str, data: Path, *arguments: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("THERMOCLINE_")}
    line = [sys.executable, "-m", "thermocline", command, *arguments, "--data", str(data)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=environment)


def _measured(work: Callable[[], object]) -> _Turn:
    machine, cpu, began = processes.MachineTime.now(), _cpu_seconds(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    machine = processes.MachineTime.now() - machine
    return _Turn(seconds, cpu, 100 * max(machine.busy - cpu, 0) / machine.total)


def _cpu_seconds() -> float:
    """Return what this process and those that it started and that have ended used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _row(told: str, name: str, files: int, peer: Sequence[_Turn], ours: Sequence[_Turn]) -> Row:
    peer_rates, our_rates = ([files / turn.seconds for turn in side] for side in (peer, ours))
    return Row(
        case=told,
        peer_name=name,
        unit="files/s",
        peer=Spread.of(peer_rates),
        ours=Spread.of(our_rates),
        compared=Spread.of_ratios(our_rates, peer_rates),
        bar=_BAR,
        goal=_GOAL,
        details={
            "CPU us/file: peer": _middle(peer, lambda turn: turn.cpu_seconds) / files * 1e6,
            "ours": _middle(ours, lambda turn: turn.cpu_seconds) / files * 1e6,
            "other programs %: peer's turn": _middle(peer, lambda turn: turn.others_percent),
            "our turn": _middle(ours, lambda turn: turn.others_percent),
        },
        is_doubtful=max(_middle(side, lambda turn: turn.others_percent) for side in (peer, ours)) > _BUSY_PERCENT,
    )


def _middle(turns: Sequence[_Turn], figure: Callable[[_Turn], float]) -> float:
    return statistics.median(map(figure, turns))
