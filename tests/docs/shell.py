"""A shell that stays open over the blocks of a page, as a reader's does."""

import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 60.0
_MARK = b"\x1e"
# Commands come through descriptor 3, so that none of them can read the next one as its input.
_LOOP = r"""
code=0
while IFS= read -r -d '' given <&3; do
  (exit $code); eval "$given" </dev/null 3<&-
  code=$?
  printf '\036%d\036' $code
done
"""


class Shell:
    """Bash in a folder. Variables and the last exit code stay; both outputs come as one, as at a terminal."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        reading, self._commands = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", f"exec 3<&{reading} {reading}<&-\n{_LOOP}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[reading],
        )
        os.close(reading)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._commands)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; return its exit code and what it wrote."""
        os.write(self._commands, command.encode() + b"\0")
        came, until = b"", time.monotonic() + PATIENCE_SECONDS
        while came.count(_MARK) < len((_MARK, _MARK)):
            ready, _, _ = select.select([self._output], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"{command!r} did not end in {PATIENCE_SECONDS} s: {came.decode(errors='replace')}"
            piece = os.read(self._output, 65536)
            assert piece, f"the shell ended in {command!r}: {came.decode(errors='replace')}"
            came += piece
        output, code, _ = came.split(_MARK)
        return int(code), output.decode(errors="replace")
