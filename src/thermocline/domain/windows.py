"""A window of the day, in UTC, in which something may be done."""

import re
from dataclasses import dataclass

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp

_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class DayWindow:
    """From one minute of the day up to another; past midnight if the end comes first."""

    start_minute: int
    end_minute: int

    def contains(self, moment: Timestamp) -> bool:
        """Whether the moment lies in it: the start belongs to it, the end does not."""
        minute = moment // (60 * MICROS_PER_SECOND) % _DAY_MINUTES
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute

    def __str__(self) -> str:
        """Return it as it is written in the settings."""
        return "-".join(f"{minute // 60:02d}:{minute % 60:02d}" for minute in (self.start_minute, self.end_minute))


def parse_window(text: str) -> DayWindow:
    """Return the window that `01:00-05:00` writes. Raises `ValueError`, for an empty one too."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or match[1] + match[2] == match[3] + match[4]:
        raise ValueError(f"not a window of the day: {text!r}; write it as 01:00-05:00, in UTC, with different ends")
    hours = [int(part) for part in match.groups()]
    return DayWindow(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])
