"""What an examination of one part brings."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a part is."""

    OK = "ok"
    WARN = "warn"
    """It works; something deserves a look."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found about one part."""

    part: str
    health: Health
    detail: str
    remedy: str | None = None
    """What to do; None where nothing needs doing."""
