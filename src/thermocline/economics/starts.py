"""Where objects are when the first day that counts begins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.economics.histories import History


@dataclass(frozen=True, slots=True)
class Starts:
    """For each object its place among the classes, and the days that it has been there already.

    An object that is first seen later begins in its place on that day. What it cost to come there was paid before.
    """

    places: NDArray[np.int8]
    days: NDArray[np.int32]
    """Of its minimum stay, so many days are over; 0 for objects that are not there yet."""

    def of(self, objects: slice) -> "Starts":
        """Return those of some of the objects, without copying."""
        return Starts(self.places[objects], self.days[objects])


def in_the_first_class(history: History) -> Starts:
    """Return that every object comes into the first class when its first day begins."""
    return Starts(np.zeros(history.object_count, np.int8), np.zeros(history.object_count, np.int32))


def checked_starts(starts: Starts | None, history: History, start: int, classes: int) -> Starts:
    """Return the starts, those in the first class for None. Raises `InvalidInputError` for what cannot be."""
    if starts is None:
        return in_the_first_class(history)
    if len(starts.places) != history.object_count or len(starts.days) != history.object_count:
        raise InvalidInputError("the starts are of other objects than the history")
    if history.object_count and not 0 <= int(starts.places.min()) <= int(starts.places.max()) < classes:
        raise InvalidInputError("an object begins in a class that is not in the cost sheet")
    if (starts.days < 0).any() or (starts.days > np.maximum(start - history.first_day, 0)).any():
        raise InvalidInputError("an object has been in its class since before it was there")
    return starts
