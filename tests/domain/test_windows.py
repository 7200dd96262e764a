"""A window of the day holds each minute that its ends say, also past midnight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.units import Timestamp
from thermocline.domain.windows import DayWindow, parse_window

MINUTE = 60_000_000
minutes = st.integers(0, 1439)


@given(minutes, minutes, st.integers(0, 40_000 * 1440), st.integers(0, MINUTE - 1))
def test_a_minute_is_inside_if_walking_from_the_start_meets_it_before_the_end(
    start: int, end: int, minute: int, rest: int
) -> None:
    if start == end:
        return
    window = DayWindow(start, end)
    assert parse_window(str(window)) == window
    inside = (minute - start) % 1440 < (end - start) % 1440
    assert window.contains(Timestamp(minute * MINUTE + rest)) == inside


@pytest.mark.parametrize("text", ["", "01:00", "01:00-01:00", "24:00-01:00", "1:00-2:00", "01:00-05:60", "x-y"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="01:00-05:00"):
        parse_window(text)
