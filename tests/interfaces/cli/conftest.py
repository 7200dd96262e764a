import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.interfaces.cli.commandline import CommandLine


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file and no variables but those of the test."""
    monkeypatch.chdir(tmp_path)
    # Unbuffered output would hide what is lost when nobody flushes.
    for name in ("THERMOCLINE_CONFIG", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Commands set up logging for their process, which here is that of all tests."""
    yield
    structlog.reset_defaults()
    logging.disable(logging.NOTSET)


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path / "data", capfd)
