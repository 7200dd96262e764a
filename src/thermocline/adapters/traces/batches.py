"""What every reader yields, and what is told about a trace beside its accesses."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError

LATEST_SECONDS: Final = 32_503_680_000.0
"""The year 3000: times beyond are in milliseconds or smaller."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some accesses, in columns of one length."""

    seconds: NDArray[np.float64]
    """Since the epoch."""
    object_ids: Any
    """An Arrow array of text, without nulls."""
    sizes: NDArray[np.int64] | None


@dataclass(slots=True)
class Noted:
    """What was seen on the way."""

    accesses: int = 0
    skipped: int = 0
    """Log lines that are no reads: writes, listings, failed requests, answers from an edge's cache."""
    unreadable: int = 0
    """Log lines that are no log lines."""
    elsewhere: int = 0
    """Log lines of other buckets."""
    backwards: int = 0
    """Accesses that lie before the one above them."""
    _last: float = field(default=-np.inf)

    def note(self, batch: Batch, first_row: int) -> None:
        """Count a batch in, whose first row has this number. Raises `InvalidInputError` for a time that is none."""
        seconds = batch.seconds
        bad = np.flatnonzero(~((seconds >= 0) & (seconds < LATEST_SECONDS)))
        if len(bad):
            row, value = first_row + int(bad[0]), seconds[bad[0]]
            hint = "; times are in seconds, not milliseconds" if value >= LATEST_SECONDS else ""
            raise InvalidInputError(f"row {row}: {value!s} is no time in seconds since 1970-01-01{hint}")
        if not len(seconds):
            return
        self.accesses += len(seconds)
        self.backwards += int((np.diff(seconds, prepend=self._last) < 0).sum())
        self._last = float(seconds[-1])
