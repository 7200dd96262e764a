"""What needs a restore, how long it takes, and what becomes of it with time."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.objects.archive_classes import ArchiveClasses, RestoredCopy, after_request, state_of
from thermocline.domain.restores import RestoreSpeed, RestoreStage
from thermocline.domain.units import Seconds, Timestamp, later

BULK = RestoreSpeed.BULK
DAY = 86_400_000_000

moments = st.integers(0, 10_000_000_000_000_000).map(Timestamp)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"STANDARD": {BULK: Seconds(1.0)}}, "read at once"),
        ({"": {}}, "storage class"),
        ({"two words": {}}, "storage class"),
        ({"GLACIER": {BULK: Seconds(-1.0)}}, "GLACIER cannot take -1.0 seconds"),
        ({"GLACIER": {BULK: Seconds(math.nan)}}, "nan"),
        ({"GLACIER": {BULK: Seconds(math.inf)}}, "inf"),
    ],
)
def test_what_makes_no_sense_is_refused(classes: Mapping[str, Mapping[RestoreSpeed, Seconds]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArchiveClasses(classes)


def test_delays_are_of_class_and_speed() -> None:
    classes = ArchiveClasses({"GLACIER": {BULK: Seconds(5.0)}, "NONE": {}})
    assert "GLACIER" in classes
    assert "STANDARD" not in classes
    assert classes.delay("GLACIER", BULK) == 5.0
    assert classes.delay("NO_LONGER_ONE", RestoreSpeed.EXPEDITED) == 0.0
    with pytest.raises(ValueError, match="GLACIER has no speed expedited; its speeds: bulk"):
        classes.delay("GLACIER", RestoreSpeed.EXPEDITED)
    with pytest.raises(ValueError, match="its speeds: none"):
        classes.delay("NONE", BULK)


@given(moments, st.floats(0, 1_000_000), st.integers(1, 365))
def test_a_copy_is_readable_from_its_arrival_to_its_end(now: Timestamp, delay: float, days: int) -> None:
    copy = after_request(None, now, delay=Seconds(delay), days=days)
    assert copy == RestoredCopy(later(now, Seconds(delay)), Timestamp(later(now, Seconds(delay)) + days * DAY))
    assert state_of(copy, Timestamp(copy.arrives_at - 1)).stage is RestoreStage.REQUESTED
    for moment in (copy.arrives_at, copy.readable_until - 1):
        assert state_of(copy, Timestamp(moment)).readable_until == copy.readable_until
    assert state_of(copy, copy.readable_until) == state_of(None, now)


@given(moments, moments, st.integers(1, 365), st.integers(1, 365))
def test_no_request_shortens_what_others_were_promised(
    first: Timestamp, second: Timestamp, first_days: int, second_days: int
) -> None:
    delay = Seconds(3600.0)
    held = after_request(None, first, delay=delay, days=first_days)
    after = after_request(held, second, delay=delay, days=second_days)
    assert after.readable_until >= held.readable_until
    if state_of(held, second).stage is RestoreStage.READABLE:
        assert state_of(after, second).stage is RestoreStage.READABLE
        assert after.readable_until >= second + second_days * DAY
    assert after_request(after, second, delay=delay, days=second_days) == after
