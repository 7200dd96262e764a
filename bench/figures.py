"""What a benchmark found: rows of peer, ours and how they compare, each with the bar that was set for it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Spread:
    """The median of a figure over the rounds, and its lowest and highest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def of_ratios(cls, ours: Sequence[float], peer: Sequence[float]) -> Self:
        """Compare within each round, so that what slows a whole round cancels out."""
        return cls.of([mine / other for mine, other in zip(ours, peer, strict=True)])


@dataclass(frozen=True)
class Limit:
    """What the compared figure must reach (`at_least`) or keep to."""

    value: float
    at_least: bool = True

    def is_met(self, figure: float) -> bool:
        return figure >= self.value if self.at_least else figure <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Row:
    """One comparison. `compared` is ours / peer, or whatever `compared_unit` says."""

    case: str
    peer_name: str
    unit: str
    peer: Spread | None
    ours: Spread
    compared: Spread
    bar: Limit | None = None
    goal: Limit | None = None
    compared_unit: str = "x"
    details: Mapping[str, float] = field(default_factory=dict)
    """Further figures by what they are, unit included: CPU, latency, idle time."""
    is_doubtful: bool = False
    """Whether something else kept the machine so busy that the comparison favours one side."""

    @property
    def verdict(self) -> str:
        """The median decides; the spread beside it tells how much to make of that."""
        if self.goal is not None and self.goal.is_met(self.compared.median):
            found = "goal"
        elif self.bar is None:
            found = ""
        else:
            found = "met" if self.bar.is_met(self.compared.median) else "MISSED"
        return f"{found} (busy machine)" if self.is_doubtful else found


@dataclass(frozen=True)
class Table:
    """Everything one benchmark found."""

    name: str
    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
