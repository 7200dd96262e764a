"""What lies there now costs a month, by class and part, if nothing changes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.figures import DAYS_PER_MONTH, ClassPrices
from thermocline.economics.plans import Holdings, Reads
from thermocline.economics.sheets import CostSheet, Money, cost_sheet

AT_ONCE: Final = 1_000_000
"""Objects that are priced together."""
PRESENT_PARTS: Final = ("storage", "monitoring", "requests", "retrieval")


@dataclass(frozen=True, slots=True)
class ClassBill:
    """One class: what lies in it, and USD a month by `PRESENT_PARTS`; None where it has no price."""

    class_name: str
    objects: int
    bytes: int
    parts: Mapping[str, float] | None

    @property
    def total(self) -> float:
        """Return USD a month, 0 where it has no price."""
        return sum(self.parts.values()) if self.parts is not None else 0.0


def present_bill(
    holdings: Holdings, prices: Mapping[str, ClassPrices], reads: Reads | None, day: int
) -> Sequence[ClassBill]:
    """Return the bill of each class, as it is on this day (from 1970-01-01 on), the dearest first.

    Every read that was logged is paid, of the whole object; without logs, none. Where a vendor watches, an object has
    been silent since it was last read, or since it was written.
    """
    count = len(holdings.sizes)
    monthly = np.zeros(count)
    silent = np.maximum(day - holdings.modified, 0)
    if reads is not None:
        months = reads.days / DAYS_PER_MONTH
        monthly = np.bincount(reads.objects, reads.counts, count) / months
        last = reads.origin + reads.read_days  # rows are in the order of days: the last one of an object stays
        seen = np.zeros(count, np.int32)
        seen[reads.objects] = last
        silent = np.minimum(silent, np.maximum(day - seen, 0))
    found = []
    for place, name in enumerate(holdings.class_names):
        (mine,) = np.nonzero(holdings.classes == place)
        if len(mine):
            parts = _parts(prices[name], holdings.sizes[mine], monthly[mine], silent[mine]) if name in prices else None
            found.append(ClassBill(name, len(mine), int(holdings.sizes[mine].sum()), parts))
    return sorted(found, key=lambda each: (-each.total, each.class_name))


def _parts(
    prices: ClassPrices, sizes: NDArray[np.int64], monthly: NDArray[np.float64], silent: NDArray[np.int32]
) -> Mapping[str, float]:
    sums = dict.fromkeys(PRESENT_PARTS, 0.0)
    for part in _slices(len(sizes)):
        sheet = cost_sheet((prices,), sizes[part])
        storage = _storage(sheet, silent[part])
        sums["storage"] += float(storage.sum()) * DAYS_PER_MONTH
        sums["monitoring"] += float(sheet.monitoring[0].sum()) * DAYS_PER_MONTH
        sums["requests"] += float((sheet.read_request[0] * monthly[part]).sum())
        sums["retrieval"] += float((sheet.read_retrieval[0] * monthly[part]).sum())
    return sums


def _storage(sheet: CostSheet, silent: NDArray[np.int32]) -> Money:
    rows = sheet.storage[0]
    if rows.shape[0] == 1:
        row: Money = rows[0]
        return row
    storage: Money = rows[np.searchsorted(sheet.stages, silent, side="right"), np.arange(len(silent))]
    return storage


def _slices(count: int) -> Iterator[slice]:
    for begin in range(0, count, AT_ONCE):
        yield slice(begin, min(begin + AT_ONCE, count))
