"""`make dev-stack`: everything starts, fits together, and is gone after Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

START_SECONDS = 90.0


def _told(process: subprocess.Popen[str]) -> Path:
    """Read what the stack prints until it names its settings."""
    assert process.stdout is not None
    for line in process.stdout:
        found = re.fullmatch(r"export THERMOCLINE_CONFIG=(\S+)\n", line)
        if found:
            return Path(found[1])
    raise AssertionError(f"it ended with {process.wait(START_SECONDS)}")


def test_the_stack_serves_and_leaves_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "thermocline.testing.servers.stack"], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        settings = _told(process)
        environment = {**os.environ, "THERMOCLINE_CONFIG": str(settings)}

        def thermocline(*arguments: str, given: str = "") -> str:
            done = subprocess.run(
                [sys.executable, "-m", "thermocline", *arguments],
                input=given,
                env=environment,
                capture_output=True,
                text=True,
                timeout=START_SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stderr + done.stdout
            return done.stdout

        assert all(line.startswith("ok") for line in thermocline("doctor").splitlines())
        thermocline("put", "-", "a", given="hello")
        assert thermocline("tier", "a", "archive") == "a: archive\n"
        assert "readable until" in thermocline("restore", "a", "--wait", "60s")
        assert thermocline("get", "a") == "hello"
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(START_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
    assert code == 0
    assert not settings.exists()
    assert (
        str(settings.parent)
        not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    )
