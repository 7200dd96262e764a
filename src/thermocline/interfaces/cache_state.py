"""How this process gets on with the shared cache, as far as its adapters count."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.wiring.services import Services


@runtime_checkable
class CountsCalls(Protocol):
    """A shared level that counts what happened on the way to it."""

    unreadable: int

    @property
    def retried(self) -> int:
        """Calls that did not succeed at once."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """Counts of this process's dealings with the shared level, since its start; zeros where there is none."""

    unreadable: int = 0
    retried: int = 0
    circuits_opened: int = 0
    circuits_open: int = 0
    refused: int = 0
    waits: int = 0
    waits_in_vain: int = 0
    disbelieved: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return asdict(self)


def shared_state(services: Services) -> SharedState | None:
    """Return how this process gets on with the shared level; None where there is none."""
    level, contents = services.adapters.shared, services.cache.shared
    if level is None or contents is None:
        return None
    breaker = level if isinstance(level, BreakingCache) else None
    below = level if breaker is None else breaker.cache
    counts = below if isinstance(below, CountsCalls) else None
    return SharedState(
        unreadable=counts.unreadable if counts else 0,
        retried=counts.retried if counts else 0,
        circuits_opened=breaker.opened if breaker else 0,
        circuits_open=breaker.open_circuits if breaker else 0,
        refused=breaker.refused if breaker else 0,
        waits=contents.waits,
        waits_in_vain=contents.gave_up,
        disbelieved=contents.disbelieved,
    )
