"""What policies go by, made from settings."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Usd
from thermocline.domain.windows import parse_window
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.ports.cursors import Cursors
from thermocline.ports.policy_budget import DayLimits
from thermocline.services.deciders import Deciders
from thermocline.services.optimizing import PolicySchedule
from thermocline.services.recovering import RecoveringService
from thermocline.wiring.placing import PlacementSettings
from thermocline.wiring.policy import NO_PRICES, own_figures
from thermocline.wiring.settings import Settings

if TYPE_CHECKING:
    from thermocline.economics.deciding import DecisionRules
    from thermocline.economics.figures import ClassPrices
    from thermocline.services.chunk_decisions import Decider
    from thermocline.services.policy_learning import PolicyLearningService

DAY_SECONDS = 86400.0
LEARNED = "learned"


def make_schedule(settings: Settings) -> PolicySchedule:
    """Return when the policy works by itself."""
    window = settings.policy.window
    return PolicySchedule(settings.policy.every, None if window is None else parse_window(window))


def make_day_limits(settings: Settings) -> DayLimits:
    """Return what policies may spend on copies in a day."""
    policy = settings.policy
    return DayLimits(
        policy.daily_moves,
        None if policy.daily_bytes is None else Bytes(policy.daily_bytes),
        None if policy.daily_usd is None else Usd(policy.daily_usd),
    )


def make_deciders(settings: Settings, cursors: Cursors, clock: Clock) -> Deciders:
    """Return what makes deciders; what those need is imported only then, because it is slow to import."""
    learns = settings.policy.name == LEARNED

    def make(lesson: str | None) -> "Decider":
        from thermocline.services.chunk_decisions import Decider
        from thermocline.services.policy_lessons import taught

        rules = make_decision_rules(settings, settings.policy.name)
        if not learns:
            return Decider(rules, policy=settings.policy.name)
        found = taught(rules, lesson)
        return Decider(replace(rules, policy=found.maker), policy=found.policy, note=found.note)

    return Deciders(make, cursors, clock, learns=learns)


def make_policy_learning(
    settings: Settings, catalog: Catalog, recovering: RecoveringService, clock: Clock
) -> Callable[[], Awaitable[int]] | None:
    """Return the job that learns from reads, made when it first runs for the same reason; None: nobody is to learn."""
    if settings.policy.name != LEARNED:
        return None
    made: list[PolicyLearningService] = []

    def make() -> "PolicyLearningService":
        from thermocline.services.policy_learning import PolicyLearningService

        rules = partial(make_decision_rules, settings, LEARNED)
        return PolicyLearningService(catalog.columns, catalog.read_history, catalog.cursors, recovering, clock, rules)

    async def work() -> int:
        if not made:
            made.append(await asyncio.to_thread(make))
        return await made[0].work()

    return work


def make_decision_rules(settings: Settings, policy: str) -> "DecisionRules":
    """Return what decisions go by under this policy."""
    from thermocline.economics.deciding import DecisionRules, Place
    from thermocline.economics.rules import RULES

    tiers = tuple(StorageTier)
    names = list(dict.fromkeys(settings.tier(tier).placement for tier in tiers))
    delayed = settings.policy.delayed_read
    return DecisionRules(
        places=tuple(
            Place(
                name,
                placement_prices(settings, name),
                tuple(number for number, tier in enumerate(tiers) if settings.tier(tier).placement == name),
            )
            for name in names
        ),
        policy=RULES[policy],
        horizon_days=settings.policy.horizon / DAY_SECONDS,
        minimum_stay_days=settings.policy.minimum_stay / DAY_SECONDS,
        delayed_read=Usd(float("inf") if delayed is None else delayed),
        is_cached=tuple(settings.tier(tier).cache_ttl > 0 for tier in tiers),
        frequencies=tuple(settings.tier(tier).access_frequency / DAY_SECONDS for tier in tiers),
    )


def storage_prices(settings: Settings) -> dict[str, float]:
    """Return USD a month for one byte in each tier that lies where there are prices."""
    from thermocline.economics.figures import BYTES_PER_GB

    found = {tier.value: placement_prices(settings, settings.tier(tier).placement) for tier in StorageTier}
    return {tier: prices.value("storage") / BYTES_PER_GB for tier, prices in found.items() if prices is not None}


def prices_factory(settings: Settings) -> "Callable[[], Mapping[str, ClassPrices]]":
    """Return what makes the prices of each placement that has some; it is made late for the same reason."""

    def make() -> "Mapping[str, ClassPrices]":
        each = {name: placement_prices(settings, name) for name in settings.placements}
        return {name: prices for name, prices in each.items() if prices is not None}

    return make


def placement_prices(settings: Settings, name: str) -> "ClassPrices | None":
    """Return what a placement costs; None if its prices are in no book and not among the settings'."""
    from thermocline.economics.figures import ClassPrices
    from thermocline.economics.price_books import with_own_classes

    placement = settings.placements[name]
    if placement.prices == NO_PRICES:
        return _waiting(ClassPrices(NO_PRICES, {}), placement)
    found = with_own_classes(own_figures(settings.prices)).get(placement.prices)
    return None if found is None else _waiting(found, placement)


def _waiting(prices: "ClassPrices", placement: PlacementSettings) -> "ClassPrices":
    """Return the prices of a placement that must be restored, whose class in the book may answer at once."""
    from thermocline.economics.figures import Figure
    from thermocline.economics.price_books import OVERRIDE

    if placement.restore is None or prices.first_byte > 0:
        return prices
    terms = placement.restore.terms()
    usual = terms.get(RestoreSpeed.STANDARD) or next(iter(terms.values()))
    told = {
        "first_byte_seconds": max(usual.delay, Seconds(1.0)),
        "retrieval": usual.usd_per_gb,
        "retrieval_request": usual.usd_per_request * 1000,
    }
    figures = {name: Figure(float(value), OVERRIDE, "", verified=True) for name, value in told.items()}
    return replace(prices, figures={**prices.figures, **figures})
