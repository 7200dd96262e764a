"""What would change a decision: so many more days of silence, or a read."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import HEAT_DAYS
from thermocline.economics.columns import RECENT_DAYS
from thermocline.economics.learning.models import Model
from thermocline.economics.learning.observed import Observed

FURTHEST_DAYS: Final = 365
"""How far silence is followed."""
_HORIZONS: Final = np.array(HEAT_DAYS, np.float64)[:, None]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Of one object. Classes are places in the model's."""

    place: int
    """Where it belongs today."""
    silent_days: int | None
    """After so many more days without a read it belongs elsewhere; None if it does not within `FURTHEST_DAYS`."""
    silent_place: int
    """Where it belongs then."""
    read_place: int
    """Where it belongs tomorrow if it is read today."""


def outlook(model: Model, seen: Observed) -> Outlook:
    """Return what would change the decision about the first object of `seen`, if it first goes where it belongs."""
    today = int(model.advise(seen).places[0])
    ahead = np.arange(FURTHEST_DAYS + 1)
    followed = model.advise(_silent(seen, ahead, today)).places
    (elsewhere,) = np.nonzero(followed != today)
    days = int(elsewhere[0]) if len(elsewhere) else None
    after = model.advise(_read(seen, today))
    return Outlook(today, days, today if days is None else int(followed[days]), int(after.places[0]))


def _silent(seen: Observed, ahead: NDArray[np.int64], place: int) -> Observed:
    """Return the object after so many more days without a read, one row each."""
    idle = (seen.idle[0] + ahead).astype(np.int32)
    # On which of the last days it was read is not known: they are taken to lie evenly.
    left = np.maximum(RECENT_DAYS + 1 - idle, 0) / max(RECENT_DAYS + 1 - int(seen.idle[0]), 1)
    return Observed(
        sizes=np.repeat(seen.sizes[:1], len(ahead)),
        ages=(seen.ages[0] + ahead).astype(np.int32),
        idle=idle,
        gaps=np.repeat(seen.gaps[:1], len(ahead)),
        read_days=np.repeat(seen.read_days[:1], len(ahead)),
        recent_days=np.ceil(seen.recent_days[0] * np.minimum(left, 1.0)).astype(np.int32),
        rates=seen.rates[:, :1] * np.exp(-ahead[None, :] / _HORIZONS),
        places=np.full(len(ahead), place, np.int8),
        days_in_class=(_days_in(seen, place) + ahead).astype(np.int32),
    )


def _read(seen: Observed, place: int) -> Observed:
    """Return the object on the morning after a read."""
    return Observed(
        sizes=seen.sizes[:1],
        ages=seen.ages[:1] + np.int32(1),
        idle=np.ones(1, np.int32),
        gaps=seen.idle[:1],
        read_days=seen.read_days[:1] + np.int32(1),
        recent_days=np.minimum(seen.recent_days[:1] + np.int32(1), RECENT_DAYS).astype(np.int32),
        rates=(seen.rates[:, :1] + 1 / _HORIZONS) * np.exp(-1 / _HORIZONS),
        places=np.full(1, place, np.int8),
        days_in_class=(_days_in(seen, place) + np.ones(1)).astype(np.int32),
    )


def _days_in(seen: Observed, place: int) -> int:
    return int(seen.days_in_class[0]) if int(seen.places[0]) == place else 0
