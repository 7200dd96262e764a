"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.units import Seconds, Timestamp, elapsed, format_moment, later, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (1024, 1024),
        ("64KiB", 65536),
        ("256MiB", 2**28),
        ("1.5 GB", 1_500_000_000),
        ("1tib", 2**40),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", -1, "1 XB", "1e3", "nan", "9" * 400, 2**63, "8388608TiB", True])
def test_refused_sizes(text: str | int) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), (2.5, 2.5), ("250ms", 0.25), ("5m", 300), ("24h", 86400), ("7d", 604800)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", -1, float("inf"), float("nan"), "1y", "9" * 400, 1e12, 10**400, True])
def test_refused_durations(text: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 2**52), st.integers(-(10**9), 10**9))
def test_later_and_elapsed_are_inverse(moment: int, micros: int) -> None:
    delay = Seconds(micros / 1_000_000)
    assert elapsed(Timestamp(moment), later(Timestamp(moment), delay)) == pytest.approx(delay, abs=1e-6)


def test_elapsed_is_negative_backwards() -> None:
    assert elapsed(Timestamp(0), Timestamp(1_500_000)) == 1.5
    assert elapsed(Timestamp(1_500_000), Timestamp(0)) == -1.5


def test_moments_as_text() -> None:
    assert format_moment(None) is None
    assert format_moment(Timestamp(0)) == "1970-01-01T00:00:00.000000Z"
    assert format_moment(Timestamp(1_795_489_894_751_784)) == "2026-11-24T03:11:34.751784Z"
    assert format_moment(Timestamp(10**18)) == "9999-12-31T23:59:59.999999Z"
