"""Tables as text for people, and as JSON for programs."""

import json
import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from bench.figures import Row, Spread, Table

_COLUMNS = ("case", "peer", "peer's", "ours", "unit", "compared", "spread", "bar", "goal", "")


def as_text(table: Table) -> str:
    """Return the table with its columns aligned, details and notes below."""
    cells = [_COLUMNS, *(_cells(row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"{table.name}: {table.title}", ""]
    for index, row_cells in enumerate(cells):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row_cells, widths, strict=True)).rstrip())
        if index and (details := table.rows[index - 1].details):
            lines.append("    " + ", ".join(f"{name} {_short(value)}" for name, value in details.items()))
    return "\n".join([*lines, *(f"  {note}" for note in table.notes), ""])


def as_json(tables: Sequence[Table], failures: Mapping[str, str], *, began: datetime, quick: bool) -> str:
    """Return everything found and under what circumstances."""
    report: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "benchmarks": {
            table.name: {
                "title": table.title,
                "rows": [asdict(row) | {"verdict": row.verdict} for row in table.rows],
                "notes": list(table.notes),
            }
            for table in tables
        },
        "failures": dict(failures),
    }
    return json.dumps(report, indent=1)


def machine() -> dict[str, Any]:
    """Return what figures depend on, without naming the machine."""
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.case,
        row.peer_name,
        "" if row.peer is None else _short(row.peer.median),
        _short(row.ours.median),
        row.unit,
        f"{_short(row.compared.median)} {row.compared_unit}",
        _range(row.compared),
        "" if row.bar is None else str(row.bar),
        "" if row.goal is None else str(row.goal),
        row.verdict,
    )


def _range(spread: Spread) -> str:
    return f"{_short(spread.low)} to {_short(spread.high)}"


def _short(value: float) -> str:
    """Return three significant digits, more where the number has more before its point."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
