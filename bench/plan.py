"""What every benchmark is given: how long to measure, where to write, whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """`scratch` is emptied afterwards, `kept` is not; both are on the file system that is measured."""

    rounds: int
    seconds: int
    """For each measurement that has no natural end."""
    quick: bool
    large: bool
    """Whether sizes that take long are measured too."""
    scratch: Path
    kept: Path
    tell: Callable[[str], None]
    """Show what is being done now."""
