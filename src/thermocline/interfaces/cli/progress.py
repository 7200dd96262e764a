"""Progress of long work: a bar on a terminal, nothing in a pipe."""

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

QUICK_SECONDS = 0.3
"""Shorter work shows nothing."""


class Progress(AbstractContextManager["Progress"]):
    """Shows how far some work has come on standard error, if both outputs are a terminal and it takes a while."""

    def __init__(self, label: str, *, total: int | None = None, in_bytes: bool = True) -> None:
        self._label = label
        self._total = total
        self._in_bytes = in_bytes
        self._done = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._show_at = time.monotonic() + QUICK_SECONDS
        self._wanted = is_terminal()

    @property
    def is_wanted(self) -> bool:
        """Whether it is shown at all, if the work takes a while."""
        return self._wanted

    def advance(self, amount: int) -> None:
        """Note that `amount` more is done."""
        self.reach(self._done + amount)

    def reach(self, done: int, *, total: int | None = None) -> None:
        """Note that `done` of `total` is done, where the total may become known late."""
        self._done = done
        self._total = total if total is not None else self._total
        if not self._wanted:
            return
        if self._bar is None:
            if time.monotonic() < self._show_at:
                return
            self._begin()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self._total)

    def relabel(self, label: str) -> None:
        """Say something else beside the bar from now on."""
        self._label = label
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=label)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> Self:
        return self

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        amounts = (DownloadColumn(binary_units=True), TransferSpeedColumn()) if self._in_bytes else ()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *(amounts or (MofNCompleteColumn(),)),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._label, total=self._total)
        self._bar.start()


def is_terminal() -> bool:
    """Whether a person looks at both outputs."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
