"""Processes at a terminal of their own, and what it shows."""

import contextlib
import os
import pty
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.interfaces.cli.commandline import command
from tests.interfaces.cli.test_processes import PATIENCE_SECONDS

ESCAPE = b"\x1b"


class Terminal:
    """A process at a terminal that is its own, as a shell starts it: Ctrl-C is a key."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.execve(arguments[0], arguments, os.environ | {"TERM": "xterm", "COLUMNS": "120"})  # noqa: S606 - our own command
        self._seen = b""
        self._code: int | None = None

    def shown(self, until: Callable[[], object] | None = None) -> str:
        """What is shown until the process ends, or until then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if select.select([self._fd], [], [], 0.05)[0]:
                try:
                    piece = os.read(self._fd, 65536)
                except OSError:  # the other end is closed
                    piece = b""
                if not piece:
                    return self._seen.decode()
                self._seen += piece
            if until is not None and until():
                return self._seen.decode()
        raise AssertionError(f"waited in vain: {self._seen!r}")

    @property
    def seen(self) -> str:
        return self._seen.decode()

    def press_ctrl_c(self) -> None:
        os.write(self._fd, b"\x03")

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.01)
        assert self._code is not None, "it did not end"
        return self._code

    def close(self) -> None:
        if self._code is None:
            with contextlib.suppress(ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextlib.contextmanager
def at_terminal(home: Path, *arguments: str) -> Iterator[Terminal]:
    terminal = Terminal(command(home / "data", *arguments), home)
    try:
        yield terminal
    finally:
        terminal.close()


def without_bar(shown: str) -> str:
    """Return what is shown without what moves the cursor or colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "\n")
