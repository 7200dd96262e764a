"""What a pass of the policy over contents came to."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from thermocline.domain.units import Bytes, Usd

MOST_EXAMPLES: Final = 20
"""Transitions that are told one by one."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of tier."""

    content_id: str
    from_tier: str
    to_tier: str
    from_placement: str
    to_placement: str
    size: Bytes
    reason: str
    saving_usd_per_month: Usd
    cost_usd: Usd

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "content_id": self.content_id,
            "from_tier": self.from_tier,
            "to_tier": self.to_tier,
            "from_placement": self.from_placement,
            "to_placement": self.to_placement,
            "size": self.size,
            "reason": self.reason,
            "saving_usd_per_month": self.saving_usd_per_month,
            "cost_usd": self.cost_usd,
        }


@dataclass(slots=True)
class OptimizationReport:
    """What was changed, or would be; bounded, however many contents there are."""

    policy: str
    dry_run: bool
    horizon_days: float
    """How long a saving counts."""
    note: str | None = None
    """Why another policy decided than the one that was set, if so."""
    examined: int = 0
    by_tiers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Transitions by the tier before and after."""
    by_reason: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Contents that a rule would have moved, by the reason why they stay."""
    examples: list[Transition] = field(default_factory=list)
    """The first transitions."""
    in_place: int = 0
    """Transitions that copy nothing: made, unless it was a dry run."""
    copies: int = 0
    """Transitions that copy: planned, unless it was a dry run."""
    copied_bytes: int = 0
    saving_usd_per_month: float = 0.0
    """Before the moves' own cost."""
    cost_usd: float = 0.0
    """Of the moves, once."""
    waited_ms: float = 0.0
    """Sums of reads a day x milliseconds that a read waits longer."""
    reads_a_day: float = 0.0
    """Of everything that was examined."""
    unverified: tuple[str, ...] = ()
    """Prices that this rests on and that nobody read in the vendor's page."""
    unpriced: tuple[str, ...] = ()
    """Placements without prices: nothing is copied from or to them."""
    is_complete: bool = True
    """False: it stopped at the limit of transitions that was asked for."""

    @property
    def transitions(self) -> int:
        """Return how many contents change their tier."""
        return self.in_place + self.copies

    @property
    def cost_savings(self) -> float:
        """Return USD a month, net of what the moves cost, spread over the horizon."""
        return self.saving_usd_per_month - self.cost_usd * DAYS_PER_MONTH / self.horizon_days

    @property
    def performance_impact(self) -> float:
        """Return the expected change of the mean latency of a read in milliseconds; above 0 is slower."""
        return self.waited_ms / self.reads_a_day if self.reads_a_day else 0.0

    def add(self, other: "OptimizationReport") -> None:
        """Add what another part of the same pass came to."""
        for name in ("examined", "in_place", "copies", "copied_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("saving_usd_per_month", "cost_usd", "waited_ms", "reads_a_day"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by_tiers += other.by_tiers
        self.by_reason += other.by_reason
        self.refused += other.refused
        self.examples += other.examples[: MOST_EXAMPLES - len(self.examples)]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values; the seed's keys are `transitions`, `cost_savings`, `performance_impact`."""
        return {
            "transitions": self.transitions,
            "cost_savings": self.cost_savings,
            "performance_impact": self.performance_impact,
            "policy": self.policy,
            "note": self.note,
            "dry_run": self.dry_run,
            "complete": self.is_complete,
            "examined": self.examined,
            "in_place": self.in_place,
            "copies": self.copies,
            "copied_bytes": self.copied_bytes,
            "saving_usd_per_month": self.saving_usd_per_month,
            "cost_usd": self.cost_usd,
            "horizon_days": self.horizon_days,
            "by_tiers": [
                {"from": source, "to": target, "count": count}
                for (source, target), count in sorted(self.by_tiers.items())
            ],
            "by_reason": _sorted(self.by_reason),
            "refused": _sorted(self.refused),
            "examples": [transition.as_dict() for transition in self.examples],
            "unverified_prices": list(self.unverified),
            "unpriced_placements": list(self.unpriced),
        }


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}


DAYS_PER_MONTH: Final = 30.4375
"""As in `economics.figures`, which is not imported here: numpy would come with it, and slow every command's start."""
