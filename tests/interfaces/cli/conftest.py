from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file and no variables but those of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THERMOCLINE_CONFIG", raising=False)


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path / "data", capfd)
