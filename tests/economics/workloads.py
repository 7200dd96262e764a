"""Made workloads of many shapes, on which `learned` is developed, and others on which it is only judged.

Each is a history of a few thousand objects over one to three years: on each day an object is read or not, by a rate of
its own that the shape moves. Sizes are log-normal with a median of 4 MB and sigma 1.8, cut off at 130 KB and 5 GB, and
have nothing to do with the reads. The same seed gives the same history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thermocline.economics.histories import History

Rates = NDArray[np.float64]
"""Reads a day: one row for each object, one column for each day."""

MEDIAN_BYTES: Final = 4_000_000
SIGMA: Final = 1.8
SMALLEST_BYTES: Final = 130_000
LARGEST_BYTES: Final = 5_000_000_000
ORIGIN: Final = 19_000
"""The first day's number, from 1970-01-01 on."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A shape with its figures. `draw` makes the rates; objects are born over time unless `is_closed`."""

    draw: Callable[[np.random.Generator, "Births"], Rates]
    objects: int = 4000
    days: int = 730
    born_share: float = 0.7
    """This share of the objects comes over time, evenly; the others were there on the first day."""
    is_seen_when_born: bool = True
    """Whether its upload is in the trace, as its first access."""

    def history(self, seed: int) -> History:
        """Return the reads of this seed."""
        return self.drawn(seed)[0]

    def drawn(self, seed: int) -> tuple[History, Rates]:
        """Return the reads of this seed, and the rates that they were drawn by: a row for each object that is read."""
        rng = np.random.default_rng(seed)
        births = Births.draw(rng, self)
        alive = births.ages >= 0
        chances = rng.random(alive.shape)
        rates = self.draw(rng, births)
        reads = chances < -np.expm1(-rates)
        reads &= alive
        if self.is_seen_when_born:
            reads |= births.ages == 0
        return _history(rng, reads), rates[reads.any(axis=1)]


@dataclass(frozen=True, slots=True)
class Births:
    """When the objects came: `ages` in days, one row each, negative before."""

    ages: NDArray[np.int64]

    @classmethod
    def draw(cls, rng: np.random.Generator, workload: Workload) -> "Births":
        """Draw the days of birth."""
        born = rng.integers(0, workload.days, workload.objects)
        born[rng.random(workload.objects) >= workload.born_share] = 0
        return cls(np.arange(workload.days)[None, :] - born[:, None])

    @property
    def count(self) -> int:
        """Return how many objects there are."""
        return len(self.ages)

    @property
    def days(self) -> NDArray[np.int64]:
        """Return the days, as one row."""
        return np.arange(self.ages.shape[1])[None, :]


def _history(rng: np.random.Generator, reads: NDArray[np.bool_]) -> History:
    reads = reads[reads.any(axis=1)]
    objects, days = np.nonzero(reads)
    sizes = np.clip(np.exp(rng.normal(np.log(MEDIAN_BYTES), SIGMA, len(reads))), SMALLEST_BYTES, LARGEST_BYTES)
    first = reads.argmax(axis=1).astype(np.int32)
    counts = np.ones(len(objects), np.int64)
    return History(
        ORIGIN, reads.shape[1], sizes.astype(np.int64), first,
        objects.astype(np.int32), days.astype(np.int32), counts,
    )  # fmt: skip


def _column(values: Any) -> NDArray[Any]:
    return np.asarray(values)[:, None]


def ageing(
    rng: np.random.Generator,
    births: Births,
    *,
    mean: float = -0.7,
    sigma: float = 1.2,
    scale: float = 15.0,
    power: float = 1.3,
) -> Rates:
    """Popular when new, then ever less: a power of the age."""
    first = _column(rng.lognormal(mean, sigma, births.count))
    rate: Rates = first * (1 + np.maximum(births.ages, 0) / scale) ** -power
    return rate


def weekly(rng: np.random.Generator, births: Births, *, rest: float = 0.05) -> Rates:
    """Read on working days, a third of the objects on one day of the week only; rates differ between objects."""
    rate = _column(rng.lognormal(-3.8, 1.5, births.count))
    weekday = births.days % 7
    own = _column(rng.integers(0, 7, births.count)) == weekday
    is_single = _column(rng.random(births.count) < 1 / 3)
    moved: Rates = rate * np.where(is_single, np.where(own, 6.0, rest), np.where(weekday < 5, 1.3, rest))
    return moved


def flash(rng: np.random.Generator, births: Births, *, between: float = 240.0, lasts: float = 5.0) -> Rates:
    """Hardly read, but for crowds that come without warning and leave within days."""
    shape = births.ages.shape
    begins = rng.random(shape) < 1 / between
    rate = np.broadcast_to(_column(rng.lognormal(-5.5, 1.0, births.count)), shape).copy()
    heat = np.zeros(births.count)
    for day in range(shape[1]):
        heat = heat * np.exp(-1 / lasts) + 2.0 * begins[:, day]
        rate[:, day] += heat
    return rate


def never_again(rng: np.random.Generator, births: Births, *, share: float = 0.9, days: float = 6.0) -> Rates:
    """Read for some days after the upload, then never; a few objects live on."""
    lives = _column(rng.random(births.count) >= share)
    ends = _column(rng.exponential(days, births.count))
    lasting = _column(rng.lognormal(-3.5, 1.0, births.count))
    return np.where(births.ages <= ends, 0.6, np.where(lives, lasting, 0.0002))


def seasonal(rng: np.random.Generator, births: Births, *, period: float = 365.25, depth: float = 3.0) -> Rates:
    """Every object has its season."""
    peak = _column(rng.choice([0.0, 0.25, 0.5, 0.75], births.count) * period + rng.normal(0, 10, births.count))
    rate = _column(rng.lognormal(-4.5, 1.2, births.count))
    moved: Rates = rate * np.exp(depth * np.cos(2 * np.pi * (births.days - peak) / period))
    return moved


def hot(rng: np.random.Generator, births: Births, *, low: float = 0.08, high: float = 0.6) -> Rates:
    """All objects are read all the time."""
    return np.broadcast_to(_column(rng.uniform(low, high, births.count)), births.ages.shape)


def zipf(rng: np.random.Generator, births: Births, *, power: float = 0.9, total: float = 120.0) -> Rates:
    """The popularity of a rank falls by a power; every day some objects change their ranks."""
    count, days = births.ages.shape
    ranks = np.arange(1, count + 1, dtype=np.float64) ** -power
    ranks *= total / ranks.sum()
    place = rng.permutation(count)
    rate = np.empty((count, days))
    for day in range(days):
        some = rng.choice(count, max(count // 250, 2), replace=False)
        place[some] = place[rng.permutation(some)]
        rate[:, day] = ranks[place]
    return rate


def on_off(rng: np.random.Generator, births: Births, *, on: float = 12.0, off: float = 110.0) -> Rates:
    """In use for some days, then not at all for longer; how long differs between objects."""
    count, days = births.ages.shape
    lasting = rng.lognormal(0, 0.7, count)
    state = np.asarray(rng.random(count) < on / (on + off))
    rate = np.empty((count, days))
    for day in range(days):
        turn = rng.random(count) < np.where(state, 1 / on, 1 / (off * lasting))
        state ^= turn
        rate[:, day] = np.where(state, 0.4, 0.0005)
    return rate


def constant(rng: np.random.Generator, births: Births, *, mean: float = -4.2, sigma: float = 1.6) -> Rates:
    """Every object has a rate for ever; they differ by orders of magnitude."""
    return np.broadcast_to(_column(rng.lognormal(mean, sigma, births.count)), births.ages.shape)


def scans(rng: np.random.Generator, births: Births, *, every: int = 91) -> Rates:
    """Hardly read by users, but something reads half of everything once in a quarter, over a week."""
    own = _column(rng.lognormal(-5.0, 1.2, births.count))
    is_scanned = _column(rng.random(births.count) < 0.5)
    turn = _column(rng.integers(0, 7, births.count)) == births.days % every
    rate: Rates = own + np.where(is_scanned & turn, 5.0, 0.0)
    return rate


def reports(rng: np.random.Generator, births: Births, *, every: int = 30) -> Rates:
    """Read for a week when new, then once a month for as many months as differ between objects."""
    months = _column(rng.geometric(1 / 5, births.count)) * every
    due = (births.ages % every == 0) & (births.ages <= months)
    return np.where(births.ages < 7, 0.7, np.where(due, 2.0, 0.001))


def cooling(rng: np.random.Generator, births: Births, *, life: float = 60.0, mean: float = -1.5) -> Rates:
    """The rate halves with every life, which differs between objects."""
    lives = _column(rng.lognormal(np.log(life), 0.9, births.count))
    rate: Rates = _column(rng.lognormal(mean, 1.0, births.count)) * np.exp(-np.maximum(births.ages, 0) / lives)
    return rate


def mixture(*draws: Callable[[np.random.Generator, Births], Rates]) -> Callable[[np.random.Generator, Births], Rates]:
    """Objects of several shapes, evenly."""

    def draw(rng: np.random.Generator, births: Births) -> Rates:
        which = rng.integers(0, len(draws), births.count)
        rate = np.empty(births.ages.shape)
        for number, one in enumerate(draws):
            mine = which == number
            rate[mine] = one(rng, Births(births.ages[mine]))
        return rate

    return draw


def _long(
    draw: Callable[[np.random.Generator, Births], Rates], *, days: int = 1095, is_seen_when_born: bool = True
) -> Workload:
    return Workload(draw, objects=3000, days=days, is_seen_when_born=is_seen_when_born)


def _with(shape: Callable[..., Rates], **figures: float) -> Callable[[np.random.Generator, Births], Rates]:
    return lambda rng, births: shape(rng, births, **figures)


DEVELOPMENT: Final[Mapping[str, tuple[Workload, tuple[int, ...]]]] = {
    "ageing": (Workload(ageing), (1, 2)),
    "weekly": (Workload(weekly, born_share=0.3), (1,)),
    "flash": (Workload(flash), (1, 2)),
    "never_again": (Workload(never_again, days=500), (1,)),
    "seasonal": (Workload(seasonal, days=1095, objects=3000, born_share=0.3), (1,)),
    "hot": (Workload(hot, objects=2000, days=400), (1,)),
    "zipf": (Workload(zipf, is_seen_when_born=False), (1, 2)),
    "on_off": (Workload(on_off, born_share=0.4), (1, 2)),
    "constant": (Workload(constant, days=500), (1,)),
    "mixture": (Workload(mixture(ageing, flash, never_again, zipf, on_off, constant), objects=6000), (1, 2)),
}
"""Looked at all the time: shapes, figures and seeds."""

VALIDATION: Final[Mapping[str, tuple[Workload, tuple[int, ...]]]] = {
    "ageing_slow": (Workload(_with(ageing, scale=40.0, power=1.0), days=900, objects=3000), (11,)),
    "ageing_year": (Workload(_with(ageing, scale=6.0, power=1.6), days=365, objects=5000), (12,)),
    "weekly_long": (Workload(_with(weekly, rest=0.2), days=800, objects=3000, born_share=0.6), (13,)),
    "flash_rare": (Workload(_with(flash, between=400.0, lasts=9.0), days=1000, objects=3000), (14,)),
    "never_again_share": (Workload(_with(never_again, share=0.75, days=15.0), days=600), (15,)),
    "season_short": (Workload(_with(seasonal, period=91.0, depth=2.0), days=600), (16,)),
    "hot_wide": (Workload(_with(hot, low=0.02, high=0.3), objects=2500, days=500, born_share=0.4), (17,)),
    "zipf_steep": (Workload(_with(zipf, power=1.2, total=80.0), days=600, is_seen_when_born=False), (18,)),
    "on_off_long": (Workload(_with(on_off, on=30.0, off=200.0), days=900, objects=3000), (19,)),
    "constant_cold": (Workload(_with(constant, mean=-5.2, sigma=1.2), days=700), (20,)),
    "scans": (Workload(scans, days=730), (21,)),
    "reports": (Workload(reports, days=730, born_share=0.9), (22,)),
    "cooling": (Workload(cooling, days=600), (23,)),
    "mixture_other": (Workload(mixture(cooling, scans, reports, weekly, hot, seasonal), objects=6000), (24, 25)),
}
"""Looked at only to judge."""

LONG: Final[Mapping[str, tuple[Workload, tuple[int, ...]]]] = {
    name: (workload, (7, 8, 9))
    for name, workload in {
        "steady": _long(_with(constant, mean=-5.5, sigma=2.0)),
        "steady_wide": _long(_with(constant, mean=-6.5, sigma=2.5)),
        "ageing": _long(_with(ageing, mean=0.0, sigma=1.5, scale=5.0, power=1.5)),
        "ageing_fast": _long(_with(ageing, mean=-0.5, sigma=1.5, scale=3.0, power=1.3), days=730),
        "cooling": _long(_with(cooling, life=30.0, mean=-1.0)),
        "cooling_slow": _long(_with(cooling, life=100.0, mean=-2.0)),
        "never_again": _long(_with(never_again, share=0.8, days=10.0)),
        "weekly_cold": _long(weekly),
        "zipf": _long(_with(zipf, power=1.0, total=60.0), days=730, is_seen_when_born=False),
        "flash": _long(flash),
        "season": _long(_with(seasonal, period=91.0)),
        "hot": Workload(hot, days=730, objects=2000),
    }.items()
}
"""Colder and longer, so that there is as much to save, and as little left to chance, as where the targets come from."""
