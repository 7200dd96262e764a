"""Contents as a catalog would show them, made from plain lists of the days on which each was read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from thermocline.domain.heat import DAY_MICROS, HEAT_DAYS, VISIT_DAYS
from thermocline.domain.units import Timestamp, Usd
from thermocline.economics.contents import BITMAP_DAYS, NO_DAY, NO_EXPIRY, Contents
from thermocline.economics.deciding import DecisionRules, Place
from thermocline.economics.price_books import chosen, shipped
from thermocline.economics.rules import RULES

GB = 1_000_000_000
DAY0 = 20_000
"""The day, from 1970-01-01 on, on which these catalogs begin."""
HOT, WARM, COLD, ARCHIVE = range(4)
CACHED = (True, True, False, False)
FREQUENCIES = (7.0, 30.0, 365.0, 365.0)


@dataclass
class Made:
    """One content: days count from `DAY0`."""

    size: int = GB
    tier: int = HOT
    place: int = 0
    since: float = 0.0
    created: float = 0.0
    written: float = 0.0
    expires: float | None = None
    held: bool = False
    pinned: bool = False
    reads: list[int] = field(default_factory=list)
    """The days on which the storage was read, once each."""
    times: int = 1
    """How often it was read on each of them, by whatever served it."""


def at(day: float) -> Timestamp:
    return Timestamp(round((DAY0 + day) * DAY_MICROS))


def catalog(made: Sequence[Made], day: float) -> Contents:
    """Return the contents as they are on this day, knowing the reads up to it."""
    known = [sorted({read for read in each.reads if read <= day}) for each in made]

    def rates(reads: Sequence[int]) -> list[float]:
        return [sum(math.exp(-(day - read) / horizon) for read in reads) / horizon for horizon in HEAT_DAYS]

    every = np.array([rates(reads) for reads in known]).T.reshape(len(HEAT_DAYS), len(made))
    return Contents(
        sizes=np.array([each.size for each in made], np.int64),
        tiers=np.array([each.tier for each in made], np.int8),
        places=np.array([each.place for each in made], np.int8),
        tier_since=np.array([at(each.since) for each in made], np.int64),
        placed_since=np.array([at(each.since) for each in made], np.int64),
        created_at=np.array([at(each.created) for each in made], np.int64),
        written_at=np.array([at(each.written) for each in made], np.int64),
        expires_at=np.array([NO_EXPIRY if each.expires is None else at(each.expires) for each in made], np.int64),
        held=np.array([each.held for each in made], np.bool_),
        pinned=np.array([each.pinned for each in made], np.bool_),
        last_read_at=np.array([at(reads[-1]) if reads else 0 for reads in known], np.int64),
        reads=np.array([len(reads) * each.times for reads, each in zip(known, made, strict=True)], np.int64),
        rates=every * np.array([each.times for each in made]),
        storage_reads=np.array([len(reads) for reads in known], np.int64),
        storage_days=np.array([len(reads) for reads in known], np.int64),
        last_storage_day=np.array([DAY0 + reads[-1] if reads else NO_DAY for reads in known], np.int64),
        recent_storage_days=np.array(
            [sum(1 << (reads[-1] - read) for read in reads if reads[-1] - read < BITMAP_DAYS) for reads in known],
            np.int64,
        ),
        storage_visits=np.array([bool(reads) + int((np.diff(reads) > VISIT_DAYS).sum()) for reads in known], np.int64),
        storage_rates=every,
    )


def rules(
    *names: str,
    policy: str = "idle",
    delayed_read: float = math.inf,
    minimum_stay: float = 7.0,
    horizon: float = 90.0,
    dearer: float = 1.0,
    tiers: Sequence[tuple[int, ...]] | None = None,
) -> DecisionRules:
    """Return rules for these classes: the first for HOT and WARM, the last for all tiers that are left."""
    names = names or ("s3.standard", "s3.standard_ia")
    shared = tiers or [(HOT, WARM), (COLD, ARCHIVE)] if len(names) == 2 else tiers or [(HOT, WARM), (COLD,), (ARCHIVE,)]
    classes = list(chosen(shipped(), names))
    if dearer != 1.0:
        from dataclasses import replace

        figure = classes[0].figures["storage"]
        told = {**classes[0].figures, "storage": replace(figure, value=figure.value * dearer)}
        classes[0] = replace(classes[0], figures=told)
    places = tuple(Place(each.name, each, group) for each, group in zip(classes, shared, strict=True))
    return DecisionRules(places, RULES[policy], horizon, minimum_stay, Usd(delayed_read), FREQUENCIES, CACHED)
