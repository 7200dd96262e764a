"""What there is to say about where a content is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thermocline.domain.content import Record
from thermocline.domain.moves import LedgerEntry


@dataclass(frozen=True, slots=True)
class PlaceCost:
    """What a content would cost in a placement, in USD a month, by the reads to expect."""

    placement: str
    tiers: tuple[str, ...]
    usd_per_month: float | None
    """None: there are no prices."""
    storage_usd_per_month: float | None
    is_open: bool
    """Whether policies may put content there."""
    is_here: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "placement": self.placement,
            "tiers": list(self.tiers),
            "usd_per_month": self.usd_per_month,
            "storage_usd_per_month": self.storage_usd_per_month,
            "open_to_policies": self.is_open,
            "here": self.is_here,
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that would change the tier."""

    when: str
    """Such as `not read for 12 more days`."""
    days: int
    tier: str
    placement: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "when": self.when,
            "days": self.days,
            "tier": self.tier,
            "placement": self.placement,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy makes of the content now."""

    tier: str
    """Where it would be after the next pass; its own, if it stays."""
    placement: str
    reason: str
    refusal: str | None
    """Why it stays although a rule would move it."""
    wanted_placement: str
    """Where that rule would move it."""
    saving_usd_per_month: float
    """What that would save, before its cost."""
    cost_usd: float
    """What it would cost, once."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "tier": self.tier,
            "placement": self.placement,
            "reason": self.reason,
            "refusal": self.refusal,
            "wanted_placement": self.wanted_placement,
            "saving_usd_per_month": self.saving_usd_per_month,
            "cost_usd": self.cost_usd,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a content is where it is."""

    record: Record
    policy: str
    note: str | None
    """Why another policy decides than the one that was set, if so."""
    arrived: LedgerEntry | None
    """The last move; None: it is where it was stored."""
    verdict: Verdict | None
    """None: it lies where no tier is placed, or changed while it was looked at."""
    turns: Sequence[Turn]
    """What would change its tier: more silence, more reads; within the next two years."""
    costs: Sequence[PlaceCost]
    expected_reads_per_month: float
    """Days with storage reads, by the higher estimate."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "content_id": self.record.content_id,
            "tier": self.record.tier.value,
            "placement": self.record.placement,
            "why": self.arrived.as_dict() if self.arrived is not None else {"reason": "stored there"},
            "policy": self.policy,
            "note": self.note,
            "decision": None if self.verdict is None else self.verdict.as_dict(),
            "would_change": [turn.as_dict() for turn in self.turns],
            "costs": [cost.as_dict() for cost in self.costs],
            "expected_storage_reads_per_month": self.expected_reads_per_month,
        }
