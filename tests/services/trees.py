"""Trees on a disk for tests of imports and exports."""

import os
from collections.abc import Mapping
from pathlib import Path

from thermocline.services.tree_reports import TreeReport

BEGIN_NS = 1_600_000_000_123_456_789


def plant(root: Path, files: Mapping[str, bytes]) -> Path:
    """Make a tree; each file has a time of its own."""
    root.mkdir(exist_ok=True)
    for number, (path, data) in enumerate(files.items()):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, ns=(BEGIN_NS + number, BEGIN_NS + number))
    return root


def picture(root: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in a tree: bytes and times."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def counts(report: TreeReport) -> dict[str, int]:
    """The counts of a report that are not 0, bytes left out."""
    told = report.as_dict()
    names = ("files", "copied", "replaced", "unchanged", "refused", "failed", "left_out", "excluded", "verified")
    return {name: told[name] for name in names if told[name]}
