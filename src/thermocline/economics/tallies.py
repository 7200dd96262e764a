"""What a comparison comes to, without a word on any single object: comparisons of different objects add up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.bills import PARTS
from thermocline.economics.comparisons import Comparison
from thermocline.economics.histories import History
from thermocline.economics.losses import Losses, losses
from thermocline.economics.price_books import UnverifiedPrice


@dataclass(frozen=True, slots=True)
class Standing:
    """What one policy, or the optimum, came to."""

    parts: Mapping[str, float]
    """USD by part, in the order of `PARTS`."""
    course: Sequence[float]
    """USD of each period."""
    moves: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What is to be known of how the policy decided."""

    @property
    def total(self) -> float:
        """Return USD in all."""
        return sum(self.parts.values())

    @property
    def moving(self) -> float:
        """Return what is paid for the moves alone: their requests and reads, and the minimum stays that they broke."""
        return self.parts["moves"] + self.parts["early_deletion"]

    def plus(self, other: "Standing") -> "Standing":
        """Return both together."""
        return Standing(
            {part: self.parts[part] + other.parts[part] for part in PARTS},
            [mine + theirs for mine, theirs in zip(self.course, other.course, strict=True)],
            self.moves + other.moves,
            Counter(self.reasons) + Counter(other.reasons),
            tuple(dict.fromkeys((*self.notes, *other.notes))),
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """All policies, and the optimum."""

    objects: int
    bytes: int
    optimum: Standing
    policies: Mapping[str, Standing]
    losses: Losses
    unverified: Sequence[UnverifiedPrice]

    def ratio(self, name: str) -> float:
        """Return a policy's cost to the optimum's; 1 where both are nothing."""
        return self.policies[name].total / self.optimum.total if self.optimum.total else 1.0

    def by_cost(self) -> list[tuple[str, Standing]]:
        """Return the policies, the cheapest first."""
        return sorted(self.policies.items(), key=lambda each: each[1].total)

    @property
    def notes(self) -> list[str]:
        """Return what is to be known of how policies decided."""
        return [f"{name}: {note}" for name, standing in self.policies.items() for note in standing.notes]

    def plus(self, other: "Tally") -> "Tally":
        """Return both together; the question was the same, the objects others."""
        return Tally(
            self.objects + other.objects,
            self.bytes + other.bytes,
            self.optimum.plus(other.optimum),
            {name: standing.plus(other.policies[name]) for name, standing in self.policies.items()},
            self.losses.plus(other.losses),
            self.unverified,
        )


def tally(history: History, comparison: Comparison) -> Tally:
    """Return what a comparison of this history came to. Raises `InvalidInputError` for one without periods."""
    optimum = comparison.optimum_bill
    if optimum is None:
        raise InvalidInputError("a comparison is told in full only if it was asked for periods")
    outcomes = comparison.outcomes
    return Tally(
        history.object_count,
        int(history.sizes.sum()),
        Standing(optimum.parts(), comparison.optimum_course),
        {
            name: Standing(
                outcome.bill.parts(), outcome.course, len(outcome.moves), outcome.reasons, tuple(outcome.notes)
            )
            for name, outcome in outcomes.items()
        },
        losses(
            history,
            comparison.first_day,
            optimum.per_object,
            {name: outcome.bill.per_object for name, outcome in outcomes.items()},
        ),
        comparison.unverified,
    )
