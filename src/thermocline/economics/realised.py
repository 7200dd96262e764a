"""What moves were worth, once it is known what was read after them."""

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.units import Usd
from thermocline.economics.figures import ClassPrices
from thermocline.economics.sheets import CostSheet, Money, Sizes, cost_sheet

SOURCE, TARGET = 0, 1


def realised_savings(
    source: ClassPrices,
    target: ClassPrices,
    sizes: Sizes,
    days: NDArray[np.float64],
    storage_reads: NDArray[np.int64],
    *,
    delayed_read: Usd = Usd(0.0),
) -> Money:
    """Return in USD how much less objects cost in the target for so many days, read so often, than in the source.

    What the move itself cost is not in it; below 0 it was dearer there. Every read counts here, other than in a
    forecast, where a day's reads count as one: caches were to answer the others.
    """
    sheet = cost_sheet([source, target], sizes, delayed_read=delayed_read)
    stored = _storage(sheet, SOURCE, days, storage_reads) - _storage(sheet, TARGET, days, storage_reads)
    read: Money = (sheet.read[SOURCE] - sheet.read[TARGET]) * storage_reads
    return stored + read


def _storage(sheet: CostSheet, place: int, days: Money, storage_reads: NDArray[np.int64]) -> Money:
    """Return what storing cost; where silent objects grow cheaper, as if reads had come at even distances."""
    rows = sheet.storage[place]
    silence = days / (storage_reads + 1)
    cost = rows[0] * days
    for stage in range(1, len(rows)):
        cheaper = np.maximum(silence - sheet.stages[stage - 1], 0.0) * (storage_reads + 1)
        cost += (rows[stage] - rows[stage - 1]) * cheaper
    costs: Money = cost + sheet.monitoring[place] * days
    return costs
