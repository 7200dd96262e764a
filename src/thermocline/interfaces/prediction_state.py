"""The state of warming, prediction and prefetching in this process, as far as they count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from thermocline.domain.predictions import WarmOutcome
from thermocline.services.judging import Mode
from thermocline.wiring.services import Services

REASONS = ("switched_off", "busy", "cache_down", "memory", "budget")
"""Why nothing was fetched ahead."""


@runtime_checkable
class CountsLearning(Protocol):
    """A predictor that counts: the ability is optional."""

    learned: int
    dropped: int

    @property
    def contents(self) -> int:
        """How many contents it knows."""

    @property
    def used_bytes(self) -> int:
        """How much memory it takes."""


@dataclass(frozen=True, slots=True)
class PredictionState:
    """Counts since the start of the process; zeros where nothing is learned."""

    warmed: Mapping[WarmOutcome, int]
    warmed_bytes: int
    mode: Mode | None
    fetched: int = 0
    fetched_bytes: int = 0
    used: int = 0
    used_bytes: int = 0
    wasted: int = 0
    wasted_bytes: int = 0
    waiting: int = 0
    precision: float | None = None
    switched_off: int = 0
    shed: Mapping[str, int] | None = None
    contents: int = 0
    predictor_bytes: int = 0
    learned: int = 0
    dropped: int = 0
    saves: int = 0
    failures: int = 0
    refused: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "warmed": {outcome.value: count for outcome, count in sorted(self.warmed.items())},
            "warmed_bytes": self.warmed_bytes,
            "prefetching": None if self.mode is None else self.mode.value,
            "fetched": self.fetched,
            "fetched_bytes": self.fetched_bytes,
            "used": self.used,
            "used_bytes": self.used_bytes,
            "wasted": self.wasted,
            "wasted_bytes": self.wasted_bytes,
            "waiting": self.waiting,
            "precision": self.precision,
            "switched_off": self.switched_off,
            "shed": dict(self.shed or {}),
            "contents": self.contents,
            "bytes": self.predictor_bytes,
            "learned_reads": self.learned,
            "dropped_reads": self.dropped,
            "saves": self.saves,
            "save_failures": self.failures,
            "refused_states": self.refused,
        }


def prediction_state(services: Services) -> PredictionState:
    """Return the state of this process."""
    warmed, warmed_bytes = services.warming.totals.outcomes, services.warming.totals.warmed_bytes
    learning, prefetching = services.learning, services.prefetching
    if learning is None or prefetching is None:
        return PredictionState(warmed, warmed_bytes, None)
    judge = prefetching.judge
    predictor: object = learning.predictor
    counts = predictor if isinstance(predictor, CountsLearning) else None
    return PredictionState(
        warmed=warmed,
        warmed_bytes=warmed_bytes,
        mode=judge.mode,
        fetched=judge.fetched,
        fetched_bytes=judge.fetched_bytes,
        used=judge.used,
        used_bytes=judge.used_bytes,
        wasted=judge.wasted,
        wasted_bytes=judge.wasted_bytes,
        waiting=judge.outstanding,
        precision=judge.precision,
        switched_off=judge.switched_off,
        shed={reason: prefetching.shed[reason] for reason in REASONS},
        contents=counts.contents if counts else 0,
        predictor_bytes=counts.used_bytes if counts else 0,
        learned=counts.learned if counts else 0,
        dropped=counts.dropped if counts else 0,
        saves=learning.saves,
        failures=learning.failures,
        refused=learning.refused,
    )
