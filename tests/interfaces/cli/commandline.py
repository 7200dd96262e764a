"""Running the command line: in this process, or as a real one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from thermocline.interfaces.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self) -> Any:
        return json.loads(self.err)


class CommandLine:
    """Commands on one data folder, in this process. No run may show a traceback."""

    def __init__(self, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capfd = capfd

    def run(self, *arguments: str) -> Outcome:
        self._capfd.readouterr()
        code = main([*arguments, "--data", str(self.data)])
        captured = self._capfd.readouterr()
        outcome = Outcome(code, captured.out, captured.err)
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    def ok(self, *arguments: str) -> Outcome:
        outcome = self.run(*arguments)
        assert outcome.code == 0, outcome
        assert outcome.err == ""
        return outcome

    def put(self, content_id: str, data: bytes, *arguments: str) -> Any:
        source = self.data.parent / "source"
        source.write_bytes(data)
        return self.ok("put", str(source), content_id, "--json", *arguments).json()

    def get(self, content_id: str) -> bytes:
        target = self.data.parent / "target"
        self.ok("get", content_id, "-o", str(target), "--force")
        return target.read_bytes()

    def objects(self) -> list[Path]:
        """The object store's files, finished or not, without its bookkeeping."""
        root = self.data / "objects"
        return [path for path in root.rglob("*") if path.is_file() and path.name != ".installation"]


def command(data: Path, *arguments: str) -> list[str]:
    """The command as a real process runs it."""
    return [sys.executable, "-m", "thermocline", *arguments, "--data", str(data)]


def run_process(
    data: Path, *arguments: str | bytes, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a real process, with pipes. It may not show a traceback."""
    raw = [os.fsencode(part) for part in command(data)[:3]]
    raw += [os.fsencode(part) for part in arguments] + [b"--data", os.fsencode(data)]
    done = subprocess.run(
        raw, input=stdin, capture_output=True, timeout=60, check=False, env=os.environ | (environment or {})
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done
