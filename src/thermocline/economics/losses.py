"""Where policies lose against the optimum: at objects of which size, read how often."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.bills import begins
from thermocline.economics.figures import DAYS_PER_MONTH
from thermocline.economics.histories import History
from thermocline.economics.sheets import Money

SIZE_EDGES: Final = (131_072, 10**6, 10**7, 10**8, 10**9)
SIZE_BINS: Final = (
    "below 128 KiB", "128 KiB to 1 MB", "1 to 10 MB", "10 to 100 MB", "100 MB to 1 GB", "1 GB and more",
)  # fmt: skip
READ_EDGES: Final = (1e-9, 1.0, 3.0, 10.0)
READ_BINS: Final = ("never", "less than once", "1 to 3 days", "3 to 10 days", "10 days and more")
"""Days with reads a month."""
SHAPE: Final = (len(SIZE_BINS), len(READ_BINS))


@dataclass(frozen=True, slots=True)
class Losses:
    """All objects in bins of `SIZE_BINS` (rows) and `READ_BINS` (columns)."""

    objects: NDArray[np.int64]
    sizes: NDArray[np.float64]
    """Bytes of all of a bin."""
    optimum: Money
    beyond: Mapping[str, Money]
    """USD that each policy costs more than the optimum."""

    def plus(self, other: "Losses") -> "Losses":
        """Return both together; they are of the same policies."""
        return Losses(
            self.objects + other.objects,
            self.sizes + other.sizes,
            self.optimum + other.optimum,
            {name: beyond + other.beyond[name] for name, beyond in self.beyond.items()},
        )


def losses(history: History, start: int, optimum: Money, policies: Mapping[str, Money]) -> Losses:
    """Return the bins, from what the optimum and each policy paid for every object from `start` on."""
    paid = history.read_days >= start
    read_days = np.bincount(history.objects[paid], minlength=history.object_count)
    months = (history.days - begins(history, start)) / DAYS_PER_MONTH
    rows = np.searchsorted(SIZE_EDGES, history.sizes, side="right")
    columns = np.searchsorted(READ_EDGES, read_days / months, side="right")
    bins = rows * len(READ_BINS) + columns

    def summed(values: NDArray[np.float64]) -> Money:
        return np.bincount(bins, values, len(SIZE_BINS) * len(READ_BINS)).astype(np.float64).reshape(SHAPE)

    return Losses(
        np.bincount(bins, minlength=len(SIZE_BINS) * len(READ_BINS)).reshape(SHAPE).astype(np.int64),
        summed(history.sizes.astype(np.float64)),
        summed(optimum),
        {name: summed(cost - optimum) for name, cost in policies.items()},
    )
