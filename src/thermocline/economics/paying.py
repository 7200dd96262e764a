"""Whether a move pays: what it saves until the horizon by the reads to expect, and what making it costs once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.units import Timestamp
from thermocline.economics.contents import NO_EXPIRY, Contents, day_number
from thermocline.economics.sheets import CostSheet, Money

ESTIMATES: Final = (20, 80)
"""Two views of how often content will be read, by its rates over these days. A move must pay by both: going down
what was read lately counts, going up what was not read before."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What a move of each content would bring. Where content stays where it is, all are 0."""

    saving_per_day: Money
    """USD a day, by the less favourable estimate; below 0 where the target is dearer."""
    saving_per_day_unread: Money
    """The same, if nobody ever reads it again."""
    cost: Money
    """USD once: the write, reading the source, what leaves the vendor, the rest of minimum stays."""
    days: Money
    """For how long the saving counts: the horizon, or until the content expires."""

    @property
    def net(self) -> Money:
        """Return what is left of the saving when the move is paid."""
        net: Money = self.saving_per_day * self.days - self.cost
        return net

    @property
    def net_unread(self) -> Money:
        """Return the same, if nobody ever reads it again."""
        net: Money = self.saving_per_day_unread * self.days - self.cost
        return net


def payment(
    contents: Contents,
    sheet: CostSheet,
    targets: NDArray[np.int8],
    *,
    cached: NDArray[np.bool_],
    now: Timestamp,
    horizon_days: float,
    until_expiry: bool = True,
) -> Payment:
    """Return what moving each content to its target would bring; places count in the sheet's classes.

    `cached` says for each class whether caches keep what lies there. A copy reads its source in any direction, other
    than a vendor's own lifecycle rule. Without `until_expiry` as if nothing expired.
    """
    everyone = np.arange(len(contents))
    sources = (contents.places, everyone)
    at = (targets, everyone)
    left = np.where(contents.expires_at == NO_EXPIRY, np.inf, (contents.expires_at - now) / DAY_MICROS)
    days = np.clip(left, 0.0, horizon_days) if until_expiry else np.full(len(contents), horizon_days)
    stay = np.array(sheet.minimum_days, np.float64)
    stayed = (now - contents.placed_at) / DAY_MICROS
    first = np.stack([rows[0] for rows in sheet.storage])
    rest = np.maximum(stay[contents.places] - stayed, 0.0) * first[sources]
    # A stay that is longer than it counts for is paid all the same.
    beyond = np.maximum(stay[targets] - days, 0.0) * first[at]
    abroad = np.where(sheet.is_abroad[contents.places, targets], sheet.egress[sources], 0.0)
    cost = sheet.entering[at] + sheet.leaving[sources] + abroad + rest + beyond
    unread = np.zeros(len(contents))
    savings = [
        _daily(contents, sheet, contents.places, here, horizon_days, now, is_there=True)
        - _daily(contents, sheet, targets, there, horizon_days, now, is_there=False)
        for here, there in (
            *zip(
                expected_rates(contents, cached[contents.places], now),
                expected_rates(contents, cached[targets], now),
                strict=True,
            ),
            (unread, unread),
        )
    ]
    moves = contents.places != targets
    return Payment(
        np.where(moves, np.minimum(savings[0], savings[1]), 0.0),
        np.where(moves, savings[2], 0.0),
        np.where(moves, cost, 0.0),
        days,
    )


def expected_rates(contents: Contents, cached: NDArray[np.bool_], now: Timestamp) -> tuple[Money, Money]:
    """Return the storage reads a day to expect, by both `ESTIMATES`, where caches keep the content (`cached`) or not.

    Where they do, a day's reads cost one storage read, or none: as they did. Where they do not, every read is one: what
    only caches have served until now would pay for each.

    Never more than one in as many days as it has been silent by now: gaps between reads have heavy tails, so whatever
    was not read for a month is not to be read daily because it was so before. With this bound a move down pays from
    the break-even idle time on (`policies.idle`), and not before.
    """
    idle = contents.as_policies_see(now, contents.places).idle(day_number(now))
    most = 1.0 / np.maximum(idle, 1)
    silence = contents.silences(now)
    most_of_all = np.where(silence > 1.0, 1.0 / np.maximum(silence, 1.0), np.inf)
    first, second = (
        np.maximum(
            np.minimum(contents.storage_rate(days, now), most),
            np.where(cached, 0.0, np.minimum(contents.rate(days, now), most_of_all)),
        )
        for days in ESTIMATES
    )
    return first, second


def daily_costs(
    contents: Contents, sheet: CostSheet, *, cached: NDArray[np.bool_], now: Timestamp, horizon_days: float
) -> Money:
    """Return what each content costs a day in each class, by the higher estimate of reads: rows are classes."""
    costs = []
    for place in range(len(sheet.classes)):
        there = np.full(len(contents), place, np.int8)
        rate = np.maximum(*expected_rates(contents, cached[there], now))
        stays, comes = (
            _daily(contents, sheet, there, rate, horizon_days, now, is_there=is_there) for is_there in (True, False)
        )
        costs.append(np.where(contents.places == place, stays, comes))
    return np.stack(costs)


def _daily(
    contents: Contents,
    sheet: CostSheet,
    places: NDArray[np.int8],
    rate: Money,
    horizon_days: float,
    now: Timestamp,
    *,
    is_there: bool,
) -> Money:
    """Return USD a day: storage, being watched, and the reads to expect."""
    everyone = np.arange(len(contents))
    storage = np.zeros(len(contents))
    silence = np.zeros(len(contents))
    if is_there and any(sheet.is_watching):
        stored = (now - contents.placed_at) / DAY_MICROS
        last = contents.as_policies_see(now, contents.places).idle(day_number(now))
        silence = np.maximum(np.minimum(stored, last), 0.0)
    for place, rows in enumerate(sheet.storage):
        mine = places == place
        if mine.any():
            storage[mine] = _storage(rows[:, mine], sheet.stages, rate[mine], silence[mine], horizon_days)
    costs: Money = storage + sheet.monitoring[places, everyone] + rate * sheet.read[places, everyone]
    return costs


def _storage(rows: Money, stages: tuple[int, ...], rate: Money, silence: Money, horizon_days: float) -> Money:
    """Return the mean price of a day until the horizon, where the vendor makes silent objects cheaper.

    An object is in a stage once it was silent for so long: with reads at random that is exp(-rate x days) of the
    time, and none of it before the first silence can have passed.
    """
    costs: Money = rows[0].copy()
    for stage in range(1, len(rows)):
        days = stages[stage - 1]
        waits = np.clip(days - silence, 0.0, horizon_days)
        share = np.exp(-rate * days) * (1.0 - waits / horizon_days)
        costs += share * (rows[stage] - rows[stage - 1])
    return costs
