"""Tools, nginx and the service taking turns; every turn of ours has a server process of its own."""

import hashlib
import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import servers
from bench.figures import Limit, Row, Spread, Table
from bench.gigabyte import turns
from bench.gigabyte.turns import Turn
from bench.plan import Plan

_SIZE_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 24
_MIB = 1 << 20
_BAR = Limit(0.6)
_GOAL = Limit(1.0)
_MEMORY_BAR = Limit(64.0, at_least=False)
_MEMORY_GOAL = Limit(32.0, at_least=False)
_NAME = "gigabyte"


def run(plan: Plan) -> Table:
    plan.tell("making the file")
    file = plan.scratch / "root" / _NAME
    sha256 = _make(file)
    service = plan.scratch / "service"
    plain: list[Turn] = []
    synced: list[Turn] = []
    uploads: list[Turn] = []
    nginx: list[Turn] = []
    downloads: list[Turn] = []
    for number in range(plan.rounds):
        plan.tell(f"round {number + 1} of {plan.rounds}, in")
        copy = plan.scratch / "copy"
        for found, is_synced in ((plain, False), (synced, True)):
            os.sync()
            found.append(turns.pipeline(file, copy, synced=is_synced))
            copy.unlink()
        shutil.rmtree(service, ignore_errors=True)
        with servers.thermocline(service) as server:
            os.sync()
            uploads.append(turns.upload(server, file, _NAME))
        plan.tell(f"round {number + 1} of {plan.rounds}, out")
        with servers.nginx(file.parent) as server:
            turns.download(server, f"/{_NAME}", _SIZE_BYTES)
            nginx.append(turns.download(server, f"/{_NAME}", _SIZE_BYTES))
        with servers.thermocline(service) as server:
            path = f"/v1/content/{_NAME}"
            warming = turns.download(server, path, _SIZE_BYTES)
            downloads.append(_with_peak_before(turns.download(server, path, _SIZE_BYTES), warming))
            if number == 0 and turns.downloaded_sha256(server, path) != sha256:
                raise RuntimeError("the service returned other bytes than were stored")
    return Table(
        name="gigabyte",
        title="1 GiB in and out over HTTP with curl, a fresh server process for each",
        rows=[
            _speed("in", "cat | tee | sha256sum", plain, uploads),
            _speed("in", "... and sync of the copy", synced, uploads),
            _speed("out", "nginx, sendfile", nginx, downloads),
            _memory("in", uploads),
            _memory("out", downloads),
        ],
        notes=(
            "What we acknowledge is on stable storage: the like of that is the pipeline with the sync.",
            "Out comes from the page cache and is verified on its way. Memory is VmHWM of the server.",
        ),
    )


def _make(file: Path) -> str:
    file.parent.mkdir()
    file.parent.chmod(0o755)
    digest = hashlib.sha256()
    with file.open("wb") as sink:
        for _ in range(0, _SIZE_BYTES, _BLOCK_BYTES):
            block = os.urandom(_BLOCK_BYTES)
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()


def _with_peak_before(turn: Turn, first: Turn) -> Turn:
    """The page cache was warmed through the same server: its peak counts from before that."""
    return Turn(turn.seconds, turn.cpu_seconds, first.peak_before_bytes, turn.peak_after_bytes)


def _speed(case: str, peer_name: str, peer: Sequence[Turn], ours: Sequence[Turn]) -> Row:
    peer_speeds, our_speeds = ([_SIZE_BYTES / _MIB / turn.seconds for turn in side] for side in (peer, ours))
    details = {"CPU s/GiB: server": statistics.median(turn.cpu_seconds for turn in ours)}
    if any(turn.cpu_seconds for turn in peer):
        details["peer"] = statistics.median(turn.cpu_seconds for turn in peer)
    return Row(
        case=case,
        peer_name=peer_name,
        unit="MiB/s",
        peer=Spread.of(peer_speeds),
        ours=Spread.of(our_speeds),
        compared=Spread.of_ratios(our_speeds, peer_speeds),
        bar=_BAR,
        goal=_GOAL,
        details=details,
    )


def _memory(case: str, ours: Sequence[Turn]) -> Row:
    def in_mib(figure: Callable[[Turn], int]) -> Spread:
        return Spread.of([figure(turn) / _MIB for turn in ours])

    return Row(
        case=f"memory, {case}",
        peer_name="the same server before",
        unit="MiB",
        peer=in_mib(lambda turn: turn.peak_before_bytes),
        ours=in_mib(lambda turn: turn.peak_after_bytes),
        compared=in_mib(lambda turn: turn.peak_after_bytes - turn.peak_before_bytes),
        compared_unit="MiB more",
        bar=_MEMORY_BAR,
        goal=_MEMORY_GOAL,
    )
