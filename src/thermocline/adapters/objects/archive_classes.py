"""Storage classes that need a restore, and what becomes of a restore with time: the rules of every store of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thermocline.adapters.objects.key_rules import check_class
from thermocline.domain.restores import RestoreSpeed, RestoreStage, StoreRestore
from thermocline.domain.units import LONGEST_DURATION, Seconds, Timestamp, later
from thermocline.ports.object_store import STANDARD

_DAY: Final = Seconds(86400.0)


class ArchiveClasses:
    """The storage classes whose objects must be restored, and how long each speed takes.

    Raises `ValueError` for STANDARD, which every store reads at once, and for delays that are none.
    """

    def __init__(self, classes: Mapping[str, Mapping[RestoreSpeed, Seconds]]) -> None:
        for name, delays in classes.items():
            check_class(name)
            if name == STANDARD:
                raise ValueError(f"{STANDARD} is the class that is read at once; it cannot need a restore")
            for speed, delay in delays.items():
                if not 0 <= delay <= LONGEST_DURATION:
                    raise ValueError(f"a restore from {name} cannot take {delay} seconds ({speed})")
        self._classes = {name: dict(delays) for name, delays in classes.items()}

    def __contains__(self, storage_class: object) -> bool:
        return storage_class in self._classes

    def delay(self, storage_class: str, speed: RestoreSpeed) -> Seconds:
        """Return how long a restore from this class takes. Raises `ValueError` if the class has no such speed.

        Objects of a class that is not one of these any more still need a restore: it takes no time.
        """
        delays = self._classes.get(storage_class)
        if delays is None:
            return Seconds(0.0)
        if speed not in delays:
            offered = ", ".join(delays) or "none"
            raise ValueError(f"the class {storage_class} has no speed {speed}; its speeds: {offered}")
        return delays[speed]


@dataclass(frozen=True, slots=True)
class RestoredCopy:
    """A readable copy of an archived object, on its way or there."""

    arrives_at: Timestamp
    readable_until: Timestamp


def state_of(copy: RestoredCopy | None, now: Timestamp) -> StoreRestore:
    """Return what a store says of an archived object whose copy is this one."""
    if copy is None or copy.readable_until <= now:
        return StoreRestore(RestoreStage.ARCHIVED)
    if now < copy.arrives_at:
        return StoreRestore(RestoreStage.REQUESTED)
    return StoreRestore(RestoreStage.READABLE, copy.readable_until)


def after_request(held: RestoredCopy | None, now: Timestamp, *, delay: Seconds, days: int) -> RestoredCopy:
    """Return the copy that there is once a restore was asked for: `held` itself if that changes nothing.

    What is under way stays as it is; what is readable stays so until `days` from now, and never shorter than before.
    """
    stage = state_of(held, now).stage
    if held is None or stage is RestoreStage.ARCHIVED:
        arrival = later(now, delay)
        return RestoredCopy(arrival, later(arrival, Seconds(days * _DAY)))
    if stage is RestoreStage.REQUESTED:
        return held
    return RestoredCopy(held.arrives_at, max(held.readable_until, later(now, Seconds(days * _DAY))))
