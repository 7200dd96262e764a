"""What an import or an export did, told file by file while it works and whole at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from thermocline.domain.errors import StorageError
from thermocline.domain.units import Bytes

MOST_PROBLEMS = 1000
"""So many are listed; the counts go on."""


class Outcome(StrEnum):
    """What became of one file."""

    COPIED = "copied"
    """It is there now and was not before."""
    REPLACED = "replaced"
    """It is there now in place of an older one."""
    UNCHANGED = "unchanged"
    """It was there already; its bytes were not sent again."""
    REFUSED = "refused"
    """It cannot be there: its name, or what is there already, forbids it."""
    FAILED = "failed"
    """It could not be read or written."""
    LEFT_OUT = "left out"
    """It is no file: a symbolic link, a pipe, a device, the store's own data."""
    EXCLUDED = "excluded"
    """The caller did not want it."""


_PROBLEMS = frozenset({Outcome.REFUSED, Outcome.FAILED, Outcome.LEFT_OUT})
_BROUGHT = frozenset({Outcome.COPIED, Outcome.REPLACED})


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """A file that is not there, and why."""

    path: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class TreeProgress:
    """One step: what became of a file, and how far the whole has come."""

    path: str
    outcome: Outcome
    size: Bytes
    files: int
    """How many files are done."""
    done_bytes: Bytes
    total_files: int | None = None
    """None as long as they are being counted."""
    total_bytes: Bytes | None = None


@dataclass(frozen=True, slots=True)
class TreeReport:
    """Everything that an import or an export did; `is_complete` tells whether all of it is there."""

    files: int
    """Regular files come upon, or contents of an export."""
    copied: int
    replaced: int
    unchanged: int
    refused: int
    failed: int
    left_out: int
    excluded: int
    copied_bytes: Bytes
    """Of those copied and replaced."""
    verified: int
    """Read again on both sides, with the same digest."""
    problems: tuple[TreeProblem, ...]
    """The first 1000 that were refused, failed or left out."""
    dry_run: bool
    """Nothing was changed: the counts say what would be."""
    stopped_by: StorageError | None
    """What ended the work early; the same call goes on where it ended."""

    @property
    def is_complete(self) -> bool:
        """Whether every file is there now."""
        return self.stopped_by is None and not self.refused and not self.failed

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        counts = {
            name: getattr(self, name)
            for name in (
                "files", "copied", "replaced", "unchanged", "refused", "failed", "left_out", "excluded",
                "copied_bytes", "verified", "dry_run",
            )
        }  # fmt: skip
        problems = [
            {"path": problem.path, "outcome": problem.outcome.value, "reason": problem.reason}
            for problem in self.problems
        ]
        stopped = None if self.stopped_by is None else str(self.stopped_by)
        return counts | {"problems": problems, "stopped": stopped, "complete": self.is_complete}


class Tally:
    """The counts while the work goes on."""

    def __init__(self, progress: Callable[[TreeProgress], None] | None, *, dry_run: bool) -> None:
        self.verified = 0
        self.stopped_by: StorageError | None = None
        self._progress = progress
        self._dry_run = dry_run
        self._total_files: int | None = None
        self._total_bytes: Bytes | None = None
        self._counts = dict.fromkeys(Outcome, 0)
        self._copied_bytes = 0
        self._done_bytes = 0
        self._problems: list[TreeProblem] = []

    def note(self, path: str, outcome: Outcome, size: int = 0, *, reason: str = "") -> None:
        """Count what became of one file, and tell the caller."""
        self._counts[outcome] += 1
        self._done_bytes += size
        if outcome in _BROUGHT:
            self._copied_bytes += size
        elif outcome in _PROBLEMS and len(self._problems) < MOST_PROBLEMS:
            self._problems.append(TreeProblem(path, outcome, reason))
        if self._progress is not None:
            step = TreeProgress(
                path, outcome, Bytes(size), self.files, Bytes(self._done_bytes), self._total_files, self._total_bytes
            )
            self._progress(step)

    def set_total(self, files: int, size: int) -> None:
        """Note how much there is in all."""
        self._total_files, self._total_bytes = files, Bytes(size)

    @property
    def files(self) -> int:
        """How many files are done, in whatever way."""
        counts = self._counts
        return sum(counts.values()) - counts[Outcome.LEFT_OUT] - counts[Outcome.EXCLUDED]

    def report(self) -> TreeReport:
        """Return the counts so far."""
        counts = self._counts
        return TreeReport(
            files=self.files,
            copied=counts[Outcome.COPIED],
            replaced=counts[Outcome.REPLACED],
            unchanged=counts[Outcome.UNCHANGED],
            refused=counts[Outcome.REFUSED],
            failed=counts[Outcome.FAILED],
            left_out=counts[Outcome.LEFT_OUT],
            excluded=counts[Outcome.EXCLUDED],
            copied_bytes=Bytes(self._copied_bytes),
            verified=self.verified,
            problems=tuple(self._problems),
            dry_run=self._dry_run,
            stopped_by=self.stopped_by,
        )
