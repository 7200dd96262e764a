"""What a day, a read and a move cost, for each object in each class: the prices applied to sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Usd
from thermocline.economics.figures import BYTES_PER_GB, DAYS_PER_MONTH, ClassPrices

Money = NDArray[np.float64]
"""US dollars, one per object (or per class and object)."""
Sizes = NDArray[np.int64]
"""Bytes, one per object."""

STAGES: Final = (30, 90)
"""Days without a read after which a watching class makes an object cheaper, and cheaper again."""
PER_THOUSAND: Final = 1000.0


@dataclass(frozen=True, slots=True)
class CostSheet:
    """What each object costs in each class. Rows are the classes in their order, columns the objects.

    A day in a class costs `storage` (+ `monitoring`); a day with reads adds one read of everything (`read_request`,
    `read_retrieval`, `read_egress`, `read_delay`): caches answer the others. Entering costs `entering`; moving up, or
    to another vendor, reads the source once (`leaving`) unless it was read the day before, when its bytes are in hand.
    Moves between vendors pay the source's `egress` always.
    """

    classes: tuple[ClassPrices, ...]
    sizes: Sizes
    storage: tuple[Money, ...]
    """Per class: USD a day, one row per stage of a watching class (days without a read: 0, 30, 90), else one row."""
    monitoring: Money
    read_request: Money
    read_retrieval: Money
    read_egress: Money
    read_delay: Money
    entering: Money
    egress: Money
    minimum_days: tuple[int, ...]
    is_up: NDArray[np.bool_]
    """Whether a move from the row's class to the column's reads its source."""
    is_abroad: NDArray[np.bool_]
    """Whether it goes to another vendor."""
    stages: tuple[int, ...] = STAGES
    """Days without a read after which a watching class makes an object cheaper."""
    read: Money = field(init=False)
    """All of a day's reads."""
    leaving: Money = field(init=False)
    """Reading the source of a move."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "leaving", self.read_request + self.read_retrieval)
        object.__setattr__(self, "read", self.leaving + self.read_egress + self.read_delay)

    def of(self, objects: slice) -> "CostSheet":
        """Return the sheet of some of the objects, without copying."""
        return CostSheet(
            self.classes,
            self.sizes[objects],
            tuple(rows[:, objects] for rows in self.storage),
            self.monitoring[:, objects],
            self.read_request[:, objects],
            self.read_retrieval[:, objects],
            self.read_egress[:, objects],
            self.read_delay[:, objects],
            self.entering[:, objects],
            self.egress[:, objects],
            self.minimum_days,
            self.is_up,
            self.is_abroad,
            self.stages,
        )

    def daily(self, place: int) -> Money:
        """Return USD a day in the class at this place, by stage and object, monitoring included."""
        daily: Money = self.storage[place] + self.monitoring[place]
        return daily

    def moving(self, source: int, target: int) -> Money:
        """Return what a move costs before its source is read."""
        written: Money = self.entering[target]
        return written + self.egress[source] if self.is_abroad[source, target] else written

    @property
    def is_watching(self) -> tuple[bool, ...]:
        """Return for each class whether its price falls while nobody reads."""
        return tuple(rows.shape[0] > 1 for rows in self.storage)


def cost_sheet(classes: Sequence[ClassPrices], sizes: Sizes, *, delayed_read: Usd = Usd(0.0)) -> CostSheet:
    """Return what objects of these sizes cost in these classes.

    `delayed_read` is the price of one read that waits for a restore; infinite means that every read must answer in
    milliseconds. Readers are in the network of the first class's vendor: reads from another vendor pay its egress.
    Raises `InvalidInputError` for a negative size or price, and for a class that waits where none may.
    """
    if sizes.size and int(sizes.min()) < 0:
        raise InvalidInputError("sizes are not negative")
    if math.isnan(delayed_read) or delayed_read < 0:
        raise InvalidInputError(f"the price of a delayed read is not negative, not {delayed_read}")
    if math.isinf(delayed_read):
        slow = [prices.name for prices in classes if prices.first_byte > 0]
        if slow:
            raise InvalidInputError(f"reads must answer in milliseconds, and {', '.join(slow)} does not")
    staying = [prices.name for prices in classes if prices.is_watching and prices.minimum_days]
    if staying:
        raise InvalidInputError(f"{staying[0]} watches how objects are read, so it cannot have a minimum stay too")
    home = classes[0].vendor
    gigabytes = sizes / BYTES_PER_GB
    ones = np.ones(len(sizes))
    ranks = np.array([prices.value("rank") for prices in classes])
    vendors = np.array([prices.vendor for prices in classes])
    abroad = vendors[:, None] != vendors[None, :]
    return CostSheet(
        classes=tuple(classes),
        sizes=sizes,
        storage=tuple(_storage(prices, sizes) for prices in classes),
        monitoring=np.stack([_monitoring(prices, sizes) for prices in classes]),
        read_request=np.stack([(_get(prices) / PER_THOUSAND) * ones for prices in classes]),
        read_retrieval=np.stack([prices.value("retrieval") * gigabytes for prices in classes]),
        read_egress=np.stack(
            [(prices.value("egress") if prices.vendor != home else 0.0) * gigabytes for prices in classes]
        ),
        read_delay=np.stack([(delayed_read if prices.first_byte > 0 else 0.0) * ones for prices in classes]),
        entering=np.stack([(prices.transition / PER_THOUSAND) * ones for prices in classes]),
        egress=np.stack([prices.value("egress") * gigabytes for prices in classes]),
        minimum_days=tuple(prices.minimum_days for prices in classes),
        is_up=(ranks[None, :] < ranks[:, None]) | abroad,
        is_abroad=abroad,
    )


def billed_bytes(prices: ClassPrices, sizes: Sizes) -> Sizes:
    """Return the bytes that the class bills at its own price: at least its minimum, plus its index."""
    return np.maximum(sizes, prices.minimum_bytes) + int(prices.value("overhead_bytes"))


def _get(prices: ClassPrices) -> float:
    return prices.value("get") + prices.value("retrieval_request")


def _storage(prices: ClassPrices, sizes: Sizes) -> Money:
    per_day = billed_bytes(prices, sizes) / (BYTES_PER_GB * DAYS_PER_MONTH)
    index = prices.value("overhead_bytes_standard") * prices.value("overhead_storage") / (BYTES_PER_GB * DAYS_PER_MONTH)
    first = prices.value("storage") * per_day + index
    if not prices.is_watching:
        return first[None, :]
    watched = _is_watched(prices, sizes)
    rows = [first]
    for days in STAGES:
        figure = f"storage_after_{days}_days"
        rate = prices.value(figure) * per_day if figure in prices.figures else rows[-1]
        rows.append(np.where(watched, rate, first))
    return np.stack(rows)


def _monitoring(prices: ClassPrices, sizes: Sizes) -> Money:
    if not prices.is_watching:
        return np.zeros(len(sizes))
    fee = prices.value("monitoring") / PER_THOUSAND / DAYS_PER_MONTH
    return np.where(_is_watched(prices, sizes), fee, 0.0)


def _is_watched(prices: ClassPrices, sizes: Sizes) -> NDArray[np.bool_]:
    return np.asarray(sizes >= prices.value("monitored_bytes"))
