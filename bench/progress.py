"""Progress on a terminal, on standard error; nothing in a pipe."""

import shutil
import sys
import time


class Progress:
    """One line that is rewritten, with the time since the benchmark began."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._benchmark = ""
        self._began = time.monotonic()

    def begin(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._began = time.monotonic()

    def tell(self, doing: str) -> None:
        if self._shown:
            line = f"{self._benchmark} {time.monotonic() - self._began:4.0f} s: {doing}"
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{line[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
