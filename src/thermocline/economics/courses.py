"""How a cost came about over time."""

from collections.abc import Sequence

import numpy as np

from thermocline.economics.bills import Moves, bill
from thermocline.economics.histories import History
from thermocline.economics.sheets import CostSheet
from thermocline.economics.starts import Starts


def points_of(start: int, days: int, count: int) -> tuple[int, ...]:
    """Return the ends of `count` periods of about the same length, of fewer where there are fewer days."""
    length = days - start
    parts = min(count, length)
    # Without any period there is nothing to divide by, and no part either.
    return tuple(start + length * part // parts for part in range(1, parts + 1))


def course(
    history: History,
    moves: Moves,
    sheet: CostSheet,
    start: int,
    points: Sequence[int],
    starts: Starts | None = None,
) -> list[float]:
    """Return what each period cost in USD: from `start` to the first of the `points`, from there to the second.

    A period pays for what was decided in it: moves, and the minimum stays that they broke. The sum is the whole bill if
    the last point is the history's end.
    """
    reached = [_until(history, moves, sheet, start, point, starts) for point in points]
    return [float(cost) for cost in np.diff(reached, prepend=0.0)]


def _until(history: History, moves: Moves, sheet: CostSheet, start: int, day: int, starts: Starts | None) -> float:
    if day == history.days:
        return bill(history, moves, sheet, start, starts).total
    made = moves.days < day
    earlier = Moves(moves.objects[made], moves.days[made], moves.classes[made])
    return bill(history.before(day), earlier, sheet, start, starts).total
