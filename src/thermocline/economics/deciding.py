"""What shall become of each content: its tier, why, what that saves and costs, or why it stays although a rule says no.

Pure, on whole chunks. 1. The tiers are grouped by the placement that they share. 2. A policy says in which placement
content belongs, from its storage reads: only they cost money. 3. That is a wish: a copy is made only if it pays for
itself, by the reads to expect, until the horizon, and only if nothing forbids it; else it is refused, with the
reason. 4. Among the tiers that share the placement where content then is, the rule on all reads decides
(`tier_rule`): that copies nothing, costs nothing, and needs to pay for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.units import Timestamp, Usd
from thermocline.economics.contents import NO_EXPIRY, TIERS, Contents, day_number, no_history
from thermocline.economics.figures import ClassPrices
from thermocline.economics.paying import Payment, payment
from thermocline.economics.policies.policy import Maker, Reason, Setting
from thermocline.economics.sheets import CostSheet, cost_sheet
from thermocline.economics.tier_rule import nearest, wished_tiers

ELSEWHERE: Final = -1
"""The place of what lies in none of the tiers' placements, or in one that no policy touches."""


@unique
class Refusal(IntEnum):
    """Why content stays although a rule wants to move it."""

    NONE = 0
    """Nothing is refused."""
    HELD = 1
    """It is on hold."""
    PINNED = 2
    """It is pinned: only users move it."""
    TOO_SMALL = 3
    """Even if it is never read again, what its bytes save does not pay for the move until the horizon."""
    DOES_NOT_PAY = 4
    """By the reads to expect the saving until the horizon does not pay for the move."""
    EXPIRES_SOON = 5
    """It would pay, but the content expires before."""
    MINIMUM_STAY = 6
    """It has not been there for as long as its class, or the policy, wants it to stay before it goes further down."""
    NO_PRICES = 7
    """There are no prices for where it lies."""
    OUTSIDE_WINDOW = 8
    """Policies plan copies only in a window of the day."""
    ALREADY_PLANNED = 9
    """The same move, or one that somebody asked for, is planned already."""
    LIMIT_MOVES = 10
    """As many copies as a day may have are planned today."""
    LIMIT_BYTES = 11
    """As many bytes."""
    LIMIT_USD = 12
    """As much money."""
    CHANGED = 13
    """It was changed, moved or deleted meanwhile."""


@dataclass(frozen=True, slots=True)
class Place:
    """A placement that tiers name."""

    name: str
    prices: ClassPrices | None
    """None: nobody knows what it costs there."""
    tiers: tuple[int, ...]
    """Which tiers share it, in their order."""


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """What decisions go by."""

    places: tuple[Place, ...]
    """In the order of the tiers."""
    policy: Maker
    horizon_days: float
    """How long a saving counts."""
    minimum_stay_days: float
    """How long content stays where it was put before it goes down, whatever its class says."""
    delayed_read: Usd
    """What a read that waits for a restore costs; infinite: nothing that waits is in question."""
    frequencies: tuple[float, ...]
    """For each tier the days of silence for which content keeps it."""
    is_cached: tuple[bool, ...]
    """For each tier whether caches keep its content."""

    def cached(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """Return for each of these places whether caches keep what lies there: in one of its tiers at least."""
        return np.array([any(self.is_cached[tier] for tier in self.places[place].tiers) for place in places])

    @property
    def open_places(self) -> tuple[int, ...]:
        """Return the places that a policy may use: priced, and answering at once unless a delay has its price."""
        return tuple(
            number
            for number, place in enumerate(self.places)
            if place.prices is not None and (place.prices.first_byte <= 0 or np.isfinite(self.delayed_read))
        )


@dataclass(frozen=True, slots=True)
class Decided:
    """One row for each content."""

    tiers: NDArray[np.int8]
    """The tier that it is to have; its own if it stays as it is."""
    in_place: NDArray[np.int8]
    """The tier that it is to have if no copy can be made."""
    copies: NDArray[np.bool_]
    """Whether that takes a copy to another placement."""
    wished: NDArray[np.int8]
    """The place where the policy wants it, refused or not; its own, or `ELSEWHERE`, if nowhere else."""
    reasons: NDArray[np.int8]
    """The policy's `Reason` for the place."""
    in_place_reasons: NDArray[np.int8]
    """The `Reason` for the tier among those of the place."""
    refusals: NDArray[np.int8]
    """The `Refusal` of what was wished."""
    payment: Payment
    """What the wished move would bring."""


def decide(contents: Contents, rules: DecisionRules, now: Timestamp) -> Decided:
    """Return what shall become of each content. The same contents, rules and moment: the same answer."""
    stays = contents.tiers.copy()
    wishes = wished_tiers(contents, rules.frequencies, now)
    free = ~contents.held & ~contents.pinned
    in_place = stays.copy()
    for number, place in enumerate(rules.places):
        # Where the settings have sent a tier elsewhere since, content waits for whoever moves it there.
        here = (contents.places == number) & np.isin(contents.tiers, place.tiers) & free
        in_place[here] = nearest(wishes.tiers, place.tiers)[here]
    wished = _wished_places(contents, rules, now)
    copies = (wished.places != contents.places) & (wished.places != ELSEWHERE)
    targets = in_place.copy()
    for number, place in enumerate(rules.places):
        coming = copies & (wished.places == number)
        targets[coming] = nearest(wishes.tiers, place.tiers)[coming]
    copies &= targets != contents.tiers
    refusals = np.where(copies, wished.refusals, Refusal.NONE)
    refusals = np.where(~copies & (wished.refusals == Refusal.NO_PRICES), Refusal.NO_PRICES, refusals)
    small = ~copies & (wished.reasons == Reason.TOO_SMALL) & (contents.places != ELSEWHERE)
    refusals = np.where(small, Refusal.TOO_SMALL, refusals)
    # What holds or pins keep from an in-place change is refused too.
    would_change = np.zeros(len(contents), bool)
    for number, place in enumerate(rules.places):
        here = (contents.places == number) & np.isin(contents.tiers, place.tiers)
        would_change |= here & (nearest(wishes.tiers, place.tiers) != contents.tiers)
    refusals = np.where(would_change & contents.pinned & ~copies, Refusal.PINNED, refusals)
    refusals = np.where(would_change & contents.held & ~copies, Refusal.HELD, refusals)
    makes = copies & (refusals == Refusal.NONE)
    return Decided(
        tiers=np.where(makes, targets, in_place).astype(np.int8),
        in_place=in_place,
        copies=makes,
        wished=np.where(copies, wished.places, contents.places).astype(np.int8),
        reasons=wished.reasons,
        in_place_reasons=np.where(in_place == stays, Reason.STAYS, wishes.reasons).astype(np.int8),
        refusals=refusals.astype(np.int8),
        payment=wished.payment,
    )


@dataclass(frozen=True, slots=True)
class _Wished:
    places: NDArray[np.int8]
    reasons: NDArray[np.int8]
    refusals: NDArray[np.int8]
    payment: Payment


def sheet_of(contents: Contents, rules: DecisionRules, places: Sequence[int]) -> CostSheet:
    """Return what each content costs in the classes of these places, all of which are priced."""
    classes = [prices for prices in (rules.places[place].prices for place in places) if prices is not None]
    return cost_sheet(classes, contents.sizes, delayed_read=rules.delayed_read)


def _wished_places(contents: Contents, rules: DecisionRules, now: Timestamp) -> _Wished:
    """Return where the policy wants each content, and why that is refused."""
    count = len(contents)
    places = contents.places.copy()
    reasons = np.full(count, Reason.STAYS, np.int8)
    refusals = np.full(count, Refusal.NONE, np.int8)
    nothing = np.zeros(count)
    paid = Payment(nothing.copy(), nothing.copy(), nothing.copy(), nothing.copy())
    usable = rules.open_places
    unpriced = [number for number, place in enumerate(rules.places) if place.prices is None]
    if len(rules.places) > 1:
        refusals[np.isin(contents.places, unpriced)] = Refusal.NO_PRICES
    (mine,) = np.nonzero(np.isin(contents.places, usable))
    if len(usable) < 2 or not len(mine):  # noqa: PLR2004 - one place leaves nothing to choose
        return _Wished(places, reasons, refusals, paid)
    numbers = np.array(usable, np.int8)
    asked = contents.rows(mine)
    local = np.searchsorted(numbers, asked.places).astype(np.int8)
    asked = _at(asked, local)
    sheet = sheet_of(asked, rules, usable)
    setting = Setting(sheet.classes, sheet, no_history(len(mine)), 0)
    seen = asked.as_policies_see(now, local)
    decided = rules.policy(setting).decide(day_number(now), seen)
    places[mine], reasons[mine] = numbers[decided.places], decided.reasons
    # Most stays where it is, which costs nothing and needs no reason.
    (moves,) = np.nonzero(decided.places != local)
    if len(moves):
        own = getattr(decided, "expected_saving", None)
        refused, would = _judged(
            asked.rows(moves), decided.places[moves], None if own is None else own[moves], rules, usable, now
        )
        refusals[mine[moves]] = refused
        for whole, part in (
            (paid.saving_per_day, would.saving_per_day),
            (paid.saving_per_day_unread, would.saving_per_day_unread),
            (paid.cost, would.cost),
            (paid.days, would.days),
        ):
            whole[mine[moves]] = part
    return _Wished(places, reasons, refusals, paid)


def _judged(
    movers: Contents,
    targets: NDArray[np.int8],
    own: NDArray[np.float64] | None,
    rules: DecisionRules,
    usable: Sequence[int],
    now: Timestamp,
) -> tuple[NDArray[np.int64], Payment]:
    """Return the `Refusal` of each wished move, and what the move would bring; places count in `usable`.

    `own` is what the policy itself expects of each, if it expects anything.
    """
    sheet = sheet_of(movers, rules, usable)
    cached = rules.cached(usable)
    would = payment(movers, sheet, targets, cached=cached, now=now, horizon_days=rules.horizon_days)
    net = would.net
    if own is not None:
        net = np.where(np.isnan(own), net, np.minimum(net, own))
    # As if nothing expired, to tell what is refused only because it does.
    unexpired = would
    if (movers.expires_at != NO_EXPIRY).any():
        unexpired = payment(
            movers, sheet, targets, cached=cached, now=now, horizon_days=rules.horizon_days, until_expiry=False
        )
    must_stay = (now - movers.placed_at) / DAY_MICROS < np.array(sheet.minimum_days, np.float64)[movers.places]
    must_stay |= (now - movers.settled_at) / DAY_MICROS < rules.minimum_stay_days
    per_gb = np.array([prices.value("storage") for prices in sheet.classes])
    goes_down = per_gb[targets] < per_gb[movers.places]
    # What is read again comes back as soon as that pays, the rest of the stay included: waiting costs more.
    goes_up = per_gb[targets] > per_gb[movers.places]
    refused = np.select(
        [
            movers.held,
            movers.pinned,
            (net <= 0) & (unexpired.net > 0),
            goes_down & (unexpired.net_unread <= 0),
            net <= 0,
            ~goes_up & must_stay,
        ],
        [
            Refusal.HELD,
            Refusal.PINNED,
            Refusal.EXPIRES_SOON,
            Refusal.TOO_SMALL,
            Refusal.DOES_NOT_PAY,
            Refusal.MINIMUM_STAY,
        ],
        Refusal.NONE,
    )
    return refused, would


def _at(contents: Contents, places: NDArray[np.int8]) -> Contents:
    return replace(contents, places=places)


def tier_name(number: int) -> str:
    """Return the tier's name."""
    return TIERS[number].value
