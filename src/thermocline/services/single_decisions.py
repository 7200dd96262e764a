"""The decision on a single content, and on what it would be after silence or reads. Heavy to import."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thermocline.domain.heat import DAY_MICROS
from thermocline.domain.units import Timestamp, Usd
from thermocline.economics.contents import TIERS, Contents
from thermocline.economics.deciding import ELSEWHERE, Decided, Refusal, decide, sheet_of
from thermocline.economics.figures import DAYS_PER_MONTH
from thermocline.economics.paying import daily_costs, expected_rates
from thermocline.economics.policies.policy import Reason
from thermocline.ports.columns import ColumnChunk
from thermocline.services.chunk_decisions import TIER_RULE, Decider
from thermocline.services.explanations import PlaceCost, Turn, Verdict

MOST_SILENT_DAYS: Final = 730
MOST_DAYS_WITH_READS: Final = 60


@dataclass(frozen=True, slots=True)
class FoundOne:
    """What was found about one content."""

    verdict: Verdict
    turns: Sequence[Turn]
    costs: Sequence[PlaceCost]
    expected_reads_per_month: float


def decide_on_one(decider: Decider, chunk: ColumnChunk, content_id: str, now: Timestamp) -> FoundOne | None:
    """Return the decision on a content of the chunk; None if it lies where no tier is placed."""
    ids, contents = decider.contents_of(chunk)
    row = ids.to_pylist().index(content_id)
    one = contents.rows(np.array([row]))
    if one.places[0] == ELSEWHERE:
        return None
    verdict = _verdict(decider, one, decide(one, decider.rules, now), 0)
    return FoundOne(
        verdict,
        [*_turns_of_silence(decider, one, now), *_turns_of_reads(decider, one, now)],
        _costs(decider, one, now),
        float(np.maximum(*expected_rates(one, decider.rules.cached(one.places.tolist()), now))[0] * DAYS_PER_MONTH),
    )


def _verdict(decider: Decider, contents: Contents, decided: Decided, row: int) -> Verdict:
    places, payment = decider.rules.places, decided.payment
    is_copy = bool(decided.copies[row])
    refusal = Refusal(int(decided.refusals[row]))
    place = decided.wished[row] if is_copy else contents.places[row]
    is_about_place = is_copy or refusal is not Refusal.NONE or decided.in_place[row] == contents.tiers[row]
    rule = decider.policy if is_about_place else TIER_RULE
    reason = decided.reasons[row] if is_about_place else decided.in_place_reasons[row]
    return Verdict(
        TIERS[decided.tiers[row]].value,
        places[place].name,
        f"{rule}: {Reason(int(reason)).name.lower()}",
        None if refusal is Refusal.NONE else refusal.name.lower(),
        places[decided.wished[row]].name,
        float(payment.saving_per_day[row] * DAYS_PER_MONTH),
        float(payment.cost[row]),
    )


def _turns_of_silence(decider: Decider, one: Contents, now: Timestamp) -> list[Turn]:
    """Return each change of tier that silence would bring, one after the other."""
    days = np.arange(1, MOST_SILENT_DAYS + 1)
    turns: list[Turn] = []
    begun = 0
    while begun < len(days):
        silent = one.rows(np.zeros(len(days), np.int64)).after_silence(days.astype(np.float64))
        if turns:
            silent = _moved(decider, silent, turns, days, now)
        decided = decide(silent, decider.rules, now)
        (changes,) = np.nonzero((decided.tiers != silent.tiers) & (days > begun))
        if not len(changes) or len(turns) == len(TIERS):
            break
        first = int(changes[0])
        begun = int(days[first])
        verdict = _verdict(decider, silent, decided, first)
        turns.append(Turn(_told(begun, "not read for {} more"), begun, verdict.tier, verdict.placement, verdict.reason))
    return turns


def _moved(
    decider: Decider, contents: Contents, turns: Sequence[Turn], days: NDArray[np.int64], now: Timestamp
) -> Contents:
    """Return the content, seen from each of the days after the turns, as they have put it."""
    names = [place.name for place in decider.rules.places]
    tiers = [tier.value for tier in TIERS]
    place, placed_since = int(contents.places[0]), contents.placed_since
    for turn in turns:
        if names.index(turn.placement) != place:
            place, placed_since = names.index(turn.placement), now - (days - turn.days) * DAY_MICROS
    return replace(
        contents,
        tiers=np.full(len(days), tiers.index(turns[-1].tier), np.int8),
        places=np.full(len(days), place, np.int8),
        tier_since=now - (days - turns[-1].days) * DAY_MICROS,
        placed_since=placed_since,
    )


def _turns_of_reads(decider: Decider, one: Contents, now: Timestamp) -> list[Turn]:
    """Return the first change of tier that reads on so many days in a row would bring."""
    read = one
    for day in range(1, MOST_DAYS_WITH_READS + 1):
        read = read.after_silence(np.ones(1)).after_read(now)
        decided = decide(read, decider.rules, now)
        if decided.tiers[0] < read.tiers[0]:
            verdict = _verdict(decider, read, decided, 0)
            told = _told(day, "read on each of the next {}") if day > 1 else "read once on the next day"
            return [Turn(told, day, verdict.tier, verdict.placement, verdict.reason)]
    return []


def _told(days: int, text: str) -> str:
    return text.format(f"{days} day{'' if days == 1 else 's'}")


def _costs(decider: Decider, one: Contents, now: Timestamp) -> list[PlaceCost]:
    rules = decider.rules
    priced = [number for number, place in enumerate(rules.places) if place.prices is not None]
    by_place: dict[int, tuple[float, float]] = {}
    here = int(one.places[0])
    if priced:
        priced_rules = replace(rules, delayed_read=rules.delayed_read if np.isfinite(rules.delayed_read) else Usd(0.0))
        sheet = sheet_of(one, priced_rules, priced)
        local = replace(one, places=np.array([priced.index(here) if here in priced else 0], np.int8))
        whole = daily_costs(local, sheet, cached=rules.cached(priced), now=now, horizon_days=rules.horizon_days)
        for number, place in enumerate(priced):
            storage = float(sheet.daily(number)[0, 0])
            by_place[place] = (float(whole[number, 0]) * DAYS_PER_MONTH, storage * DAYS_PER_MONTH)
    return [
        PlaceCost(
            place.name,
            tuple(TIERS[tier].value for tier in place.tiers),
            by_place[number][0] if number in by_place else None,
            by_place[number][1] if number in by_place else None,
            number in rules.open_places,
            number == here,
        )
        for number, place in enumerate(rules.places)
    ]
