"""Where the lines, bars and labels of a chart lie. The template draws them; every chart has its table beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.interfaces.reports.amounts import usd

WIDTH: Final = 960
LINES_HEIGHT: Final = 340
LEFT, RIGHT, TOP, BOTTOM = 72, 150, 16, 34
"""Margins for the labels of the axes and, on the right, those of the lines."""
LABEL_GAP: Final = 17
BAR_HEIGHT: Final = 24
BAR_GAP: Final = 12
TICKS: Final = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and where its name stands."""

    name: str
    points: str
    end_x: float
    end_y: float
    label_y: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """Values over periods."""

    height: int
    lines: Sequence[Line]
    across: Sequence[Tick]
    up: Sequence[Tick]
    zero_y: float
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = LINES_HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar."""

    part: str
    x: float
    width: float
    told: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of parts."""

    name: str
    y: float
    segments: Sequence[Segment]
    end_x: float
    told: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars of parts, one below the other."""

    height: int
    bars: Sequence[Bar]
    left: float
    bar_height: int = BAR_HEIGHT


def line_chart(courses: Mapping[str, Sequence[float]], labels: Sequence[str]) -> LineChart:
    """Return the chart of lines of one length, which `labels` name below the axis (some of them, if many)."""
    values = [value for course in courses.values() for value in course]
    steps = _steps(min([0.0, *values]), max([0.0, *values]))
    low, high = steps[0], steps[-1]
    right, bottom = WIDTH - RIGHT, LINES_HEIGHT - BOTTOM
    count = len(labels)

    def x(number: int) -> float:
        return round(LEFT + (right - LEFT) * (number / (count - 1) if count > 1 else 0.5), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - TOP) * (value - low) / (high - low), 1)

    ends = {name: y(course[-1]) for name, course in courses.items()}
    label_at = _apart(ends)
    lines = [
        Line(
            name,
            " ".join(f"{x(number)},{y(value)}" for number, value in enumerate(course)),
            x(count - 1),
            ends[name],
            label_at[name],
        )
        for name, course in courses.items()
    ]
    shown = max(1, math.ceil(count / 6))
    across = [Tick(x(number), label) for number, label in enumerate(labels) if number % shown == 0]
    return LineChart(LINES_HEIGHT, lines, across, _ticks(steps, y), y(0.0))


def bar_chart(bars: Mapping[str, Mapping[str, float]], parts: Sequence[str]) -> BarChart:
    """Return the chart of bars; of each, parts in this order, none negative."""
    left = 18 + 8 * max(map(len, bars), default=0)
    longest = max((sum(values.values()) for values in bars.values()), default=0.0) or 1.0
    scale = (WIDTH - left - 90) / longest
    drawn = []
    for number, (name, values) in enumerate(bars.items()):
        at = float(left)
        segments = []
        for part in parts:
            width = max(values.get(part, 0.0), 0.0) * scale
            if width:
                segments.append(Segment(part, round(at, 1), round(width, 1), usd(values[part])))
            at += width
        y = number * (BAR_HEIGHT + BAR_GAP) + BAR_GAP / 2
        drawn.append(Bar(name, y, segments, round(at, 1), usd(sum(values.values()))))
    return BarChart(len(drawn) * (BAR_HEIGHT + BAR_GAP), drawn, left)


def _ticks(steps: Sequence[float], y: Callable[[float], float]) -> list[Tick]:
    decimals = max(0, -math.floor(math.log10(steps[1] - steps[0]) + 1e-9))
    return [Tick(y(step), f"{step:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")) for step in steps]


def _steps(low: float, high: float) -> list[float]:
    """Return round numbers that reach from at most `low` to at least `high`."""
    if high - low <= 0 or not math.isfinite(high - low):
        return [0.0, 1.0]
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(each for each in (1, 2, 5, 10) if each * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Return heights in the order of the ends, far enough apart to be read."""
    ordered = sorted(ends, key=lambda name: ends[name])
    at: list[float] = []
    for name in ordered:
        at.append(max(ends[name], at[-1] + LABEL_GAP) if at else max(ends[name], TOP))
    lowest = float(LINES_HEIGHT - BOTTOM)
    for number in reversed(range(len(at))):
        at[number] = min(at[number], lowest)
        lowest = at[number] - LABEL_GAP
    return dict(zip(ordered, at, strict=True))
