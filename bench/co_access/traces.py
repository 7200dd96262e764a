"""Reads of a trace, and the sessions that they form."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import zstandard

FOLDER = Path(__file__).parents[1] / "traces"
IDLE_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Read:
    at: float
    content_id: str
    session: str
    size: int
    """1 where the trace has no sizes."""


def load(path: Path) -> list[Read]:
    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
        rows = csv.DictReader(io.TextIOWrapper(plain, encoding="utf-8"))
        reads = [
            Read(float(row["ts"]), row["obj"], row.get("session") or row["client"], max(int(row.get("size") or 1), 1))
            for row in rows
        ]
    reads.sort(key=lambda read: read.at)
    return reads


def sessions_of(reads: list[Read]) -> list[list[Read]]:
    """Return the reads of each session, sessions by their first read; silence for half an hour ends one."""
    sessions: list[list[Read]] = []
    going: dict[str, list[Read]] = {}
    for read in reads:
        session = going.get(read.session)
        if session is None or read.at - session[-1].at > IDLE_SECONDS:
            session = going[read.session] = []
            sessions.append(session)
        session.append(read)
    return sessions
