"""Decisions: they pay or are refused, they do not go back and forth, and they do what the rules say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counts import SOAK
from tests.economics.catalogs import ARCHIVE, COLD, GB, HOT, WARM, Made, at, catalog, rules
from tests.economics.workloads import Workload, cooling
from thermocline.domain.heat import DAY_MICROS
from thermocline.economics.columns import Columns, Watcher
from thermocline.economics.contents import Contents, day_number
from thermocline.economics.deciding import Decided, DecisionRules, Place, Refusal, decide
from thermocline.economics.figures import DAYS_PER_MONTH
from thermocline.economics.histories import history_of
from thermocline.economics.learning.training import train
from thermocline.economics.policies.policy import Decisions, Policy, Reason
from thermocline.economics.price_books import chosen, shipped
from thermocline.economics.rules import RULES
from thermocline.economics.shadows import by_model

POLICIES = [name for name in RULES if name != "learned"]
CLASSES = [
    ("s3.standard", "s3.standard_ia"),
    ("s3.standard", "s3.standard_ia", "s3.glacier_ir"),
    ("r2.standard", "r2.infrequent"),
    ("r2.standard", "s3.glacier_ir"),
    ("s3.standard", "s3.intelligent"),
    ("s3.standard", "s3.standard_ia", "s3.deep_archive"),
]
EXAMPLES = 400 if SOAK else 20

made_contents = st.builds(
    Made,
    size=st.sampled_from([0, 1, 20_000, 131_072, 4_000_000, GB, 1000 * GB]),
    tier=st.integers(0, 3),
    place=st.just(0),
    since=st.floats(0, 50),
    created=st.just(0.0),
    written=st.sampled_from([0.0, 0.0, 33.3]),
    expires=st.sampled_from([None, None, 120.0, 1000.0]),
    held=st.sampled_from([False, False, False, True]),
    pinned=st.sampled_from([False, False, False, True]),
    reads=st.lists(st.integers(0, 400), max_size=25),
)
bursts = st.lists(st.tuples(st.integers(40, 145), st.integers(1, 12)), max_size=5).map(
    lambda found: sorted({day for first, days in found for day in range(first, first + days)})
)
"""Days in a row with reads, and silence in between."""
some_rules = st.builds(
    lambda names, policy, delayed, stay: rules(*names, policy=policy, delayed_read=delayed, minimum_stay=stay),
    st.sampled_from(CLASSES),
    st.sampled_from(POLICIES),
    st.sampled_from([math.inf, 0.0, 0.01]),
    st.sampled_from([0.0, 7.0, 45.0]),
)


def _fit(made: list[Made], given_rules: DecisionRules) -> list[Made]:
    """Let each lie where its tier is placed."""
    places = {tier: number for number, place in enumerate(given_rules.places) for tier in place.tiers}
    return [replace(each, place=places[each.tier]) for each in made]


def _apply(contents: Contents, decided: Decided, now: int) -> Contents:
    return replace(
        contents,
        tiers=decided.tiers,
        places=np.where(decided.copies, decided.wished, contents.places).astype(np.int8),
        tier_since=np.where(decided.tiers != contents.tiers, now, contents.tier_since),
        placed_since=np.where(decided.copies, now, contents.placed_since),
    )


@given(st.lists(made_contents, max_size=8), some_rules, st.integers(50, 500))
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_holds_of_every_decision(made: list[Made], given_rules: DecisionRules, day: int) -> None:
    _check_decision(made, given_rules, day)


@pytest.fixture(scope="module")
def by_a_model() -> DecisionRules:
    names = ("s3.standard", "s3.standard_ia", "s3.glacier_ir")
    classes = chosen(shipped(), names)
    past = Workload(cooling, objects=300, days=200).history(1)
    policy = by_model(train(past, classes), classes)
    return replace(rules(*names), policy=lambda _: policy)


@given(made=st.lists(made_contents, max_size=8), stay=st.sampled_from([0.0, 7.0]), day=st.integers(50, 500))
@settings(max_examples=EXAMPLES, deadline=None)
def test_it_holds_of_decisions_by_a_model(by_a_model: DecisionRules, made: list[Made], stay: float, day: int) -> None:
    _check_decision(made, replace(by_a_model, minimum_stay_days=stay), day)


def test_a_model_moves_what_pays(by_a_model: DecisionRules) -> None:
    contents = catalog([Made(reads=[0, 1]), Made(reads=list(range(150)))], 150)
    decided = decide(contents, by_a_model, at(150))
    assert decided.copies.tolist() == [True, False]
    assert decided.reasons[0] == Reason.FEW_READS_EXPECTED


def _check_decision(made: list[Made], given_rules: DecisionRules, day: int) -> None:
    contents, now = catalog(_fit(made, given_rules), day), at(day)
    decided = decide(contents, given_rules, now)
    changed = decided.tiers != contents.tiers
    assert not (changed & (contents.held | contents.pinned)).any()
    assert not (decided.copies & ~changed).any()
    assert (decided.payment.net[decided.copies] > 0).all()
    assert (decided.payment.cost >= 0).all()
    stayed = (now - contents.tier_since) / DAY_MICROS
    prices = np.array([place.prices.value("storage") if place.prices else 0 for place in given_rules.places])
    goes_up = prices[decided.wished] > prices[contents.places]
    assert (stayed[decided.copies & ~goes_up] >= given_rules.minimum_stay_days).all()
    # A tier is one of those of the place.
    for number, place in enumerate(given_rules.places):
        coming = decided.copies & (decided.wished == number)
        staying = changed & ~decided.copies & (contents.places == number)
        assert np.isin(decided.tiers[coming | staying], place.tiers).all()
        if number not in given_rules.open_places:
            assert not coming.any()
            assert not (decided.copies & (contents.places == number)).any()
    again = decide(contents, given_rules, now)
    assert (again.tiers == decided.tiers).all()
    assert (again.refusals == decided.refusals).all()
    # Once made, nothing is left to do: a second pass at the same moment moves nothing.
    after = decide(_apply(contents, decided, now), given_rules, now)
    assert not after.copies.any()
    assert (after.tiers == decided.tiers).all()


class Whims(Policy):
    """Wants something else each day."""

    def __init__(self, classes: int, seed: int) -> None:
        self._draws, self._classes = np.random.default_rng(seed), classes

    def decide(self, day: int, columns: Columns) -> Decisions:  # noqa: ARG002 - it looks at nothing
        places = self._draws.integers(0, self._classes, len(columns.sizes)).astype(np.int8)
        return Decisions(places, np.full(len(places), Reason.SILENT, np.int8))


@given(
    st.lists(st.builds(replace, made_contents, reads=bursts), min_size=1, max_size=6),
    some_rules,
    st.integers(0, 2**32),
)
@settings(max_examples=EXAMPLES // 5, deadline=None)
def test_whatever_a_policy_wants_nothing_goes_back_and_forth(
    made: list[Made], given_rules: DecisionRules, seed: int
) -> None:
    """Day by day over bursts of reads, copies made at once: what decision 35 says of going down and coming back."""
    whims = Whims(len(given_rules.open_places), seed)
    _live(_fit(made, given_rules), replace(given_rules, policy=lambda _: whims), range(51, 151))


def _live(made: list[Made], given_rules: DecisionRules, days: range) -> list[list[tuple[int, bool]]]:
    """Let the days pass; return the copies of each content: when, and whether it went up."""
    copies: list[list[tuple[int, bool]]] = [[] for _ in made]
    for day in days:
        contents, now = catalog(made, day), at(day)
        decided = decide(contents, given_rules, now)
        for row in np.flatnonzero(decided.tiers != contents.tiers):
            one = made[row]
            if decided.copies[row]:
                source, target = (given_rules.places[place[row]].prices for place in (contents.places, decided.wished))
                assert source is not None
                assert target is not None
                goes_up = target.value("storage") > source.value("storage")
                stayed = day - max(one.since, one.written)
                if goes_up:
                    # Reading it and what is left of the stay are paid, and the move pays all the same.
                    left = max(source.minimum_days - stayed, 0) * source.value("storage") / DAYS_PER_MONTH
                    assert decided.payment.cost[row] >= one.size / GB * (left + source.value("retrieval")) * (1 - 1e-9)
                    assert decided.payment.net[row] > 0
                    downs = [when for when, went_up in copies[row] if not went_up]
                    assert not downs or any(downs[-1] <= read <= day for read in one.reads), "silence brings nothing up"
                else:
                    assert stayed >= max(source.minimum_days, given_rules.minimum_stay_days)
                copies[row].append((day, bool(goes_up)))
            made[row] = replace(
                one,
                tier=int(decided.tiers[row]),
                place=int(decided.wished[row] if decided.copies[row] else contents.places[row]),
                since=day,
            )
    return copies


def test_what_comes_back_within_its_stay_pays_and_then_stays() -> None:
    """The shortest there and back that the reads allow: Glacier IR wants 90 days, and a read costs as much as 55."""
    given_rules = rules("s3.standard", "s3.glacier_ir", tiers=[(HOT, WARM), (COLD, ARCHIVE)])
    made = [Made(tier=WARM, reads=list(range(first, 70))) for first in (62, 64, 66)]
    copies = _live(made, given_rules, range(55, 130))
    assert [went_up for _, went_up in copies[0]] == [False, True, False]
    for down, up, again in (each for each in copies if len(each) > 1):
        assert up[0] - down[0] < 90
        assert again[0] - up[0] >= 50, "as silent as anything else before it goes down"


@given(st.lists(made_contents, min_size=1, max_size=8), some_rules, st.integers(60, 300), st.integers(1, 200))
@settings(max_examples=EXAMPLES, deadline=None)
def test_longer_silence_never_moves_to_dearer_storage(
    made: list[Made], given_rules: DecisionRules, day: int, longer: int
) -> None:
    """The same content after more silence: if it was to go down, it still is, at least as far."""
    made = [replace(each, expires=None) for each in _fit(made, given_rules)]
    contents = catalog(made, day)
    silent = contents.after_silence(np.full(len(contents), float(longer)))
    prices = np.array([place.prices.value("storage") if place.prices else 0 for place in given_rules.places])
    first, second = (decide(each, given_rules, at(day)) for each in (contents, silent))
    goes_down = first.copies & (prices[first.wished] < prices[contents.places])
    assert (prices[second.wished[goes_down]] <= prices[first.wished[goes_down]] + 1e-12).all()
    comes_up = second.copies & (prices[second.wished] > prices[contents.places])
    assert not (comes_up & ~first.copies & (second.reasons == Reason.SILENT)).any()


@given(st.lists(made_contents, min_size=1, max_size=8), st.integers(60, 300), st.floats(1.0, 5.0))
@settings(max_examples=EXAMPLES, deadline=None)
def test_dearer_storage_never_keeps_what_cheaper_storage_let_go(made: list[Made], day: int, dearer: float) -> None:
    made = [replace(each, expires=None) for each in _fit(made, rules())]
    contents = catalog(made, day)
    first, second = (decide(contents, rules(dearer=factor), at(day)) for factor in (1.0, dearer))
    leaves = first.copies & (contents.places == 0)
    assert (second.copies[leaves] & (second.wished[leaves] == first.wished[leaves])).all()


@given(st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=20, unique=True), min_size=1, max_size=6), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_policies_see_what_a_replay_shows(reads: list[list[int]], data: st.DataObject) -> None:
    """The catalog's columns, as a policy sees them in the morning, are those of the replay of the same reads."""
    days = [sorted(each) for each in reads]
    history = history_of(
        [float(day * 86_400) for each in days for day in each],
        [number for number, each in enumerate(days) for _ in each],
        [GB for each in days for _ in each],
    )
    start = data.draw(st.integers(0, history.days - 1))
    replayed = Watcher(history, start).columns
    morning = start + history.origin
    known = np.flatnonzero(replayed.first_day < start)
    made = [
        Made(reads=[day for day in days[number] if day < morning], created=days[number][0], written=days[number][0])
        for number in known
    ]
    if not made:
        return
    contents = catalog(made, morning)
    # Reads are weighed at the start of their day, here and there.
    seen = contents.as_policies_see(at(morning), contents.places)
    for name in ("read_days", "recent_days", "reads"):
        assert (getattr(seen, name) == getattr(replayed, name)[known]).all(), name
    assert (seen.idle(day_number(at(morning))) == replayed.idle(start)[known]).all()
    np.testing.assert_allclose(seen.rates, replayed.rates[:, known])
    gaps = replayed.last_read[known] - replayed.previous_read[known]
    near = gaps < 62
    assert ((seen.last_read - seen.previous_read)[near] == gaps[near]).all()


def _one(made: Made, day: float, given_rules: DecisionRules) -> tuple[int, int, Refusal, bool]:
    decided = decide(catalog([made], day), given_rules, at(day))
    return int(decided.tiers[0]), int(decided.wished[0]), Refusal(int(decided.refusals[0])), bool(decided.copies[0])


def test_two_billion_small_objects_stay() -> None:
    small = Made(size=20_000, tier=WARM)
    for names in CLASSES[:3]:
        for policy in ("age", "velocity"):
            assert _one(small, 500, rules(*names, policy=policy))[2:] == (Refusal.TOO_SMALL, False), (names, policy)
    assert _one(small, 500, rules())[2:] == (Refusal.TOO_SMALL, False)


@pytest.mark.parametrize(
    ("made", "day", "expected"),
    [
        (Made(tier=WARM), 100, (COLD, 1, Refusal.NONE, True)),
        (Made(tier=WARM), 20, (WARM, 0, Refusal.NONE, False)),
        (Made(tier=WARM, held=True), 100, (WARM, 1, Refusal.HELD, False)),
        (Made(tier=WARM, pinned=True), 100, (WARM, 1, Refusal.PINNED, False)),
        (Made(tier=WARM, since=95), 100, (WARM, 1, Refusal.MINIMUM_STAY, False)),
        (Made(tier=WARM, expires=101), 100, (WARM, 1, Refusal.EXPIRES_SOON, False)),
        (Made(tier=WARM, size=1000), 100, (WARM, 0, Refusal.TOO_SMALL, False)),
        (Made(tier=COLD, place=1, reads=list(range(60, 100))), 100, (WARM, 0, Refusal.NONE, True)),
        (Made(tier=COLD, place=1, reads=list(range(60, 100)), times=2), 100, (HOT, 0, Refusal.NONE, True)),
        (Made(tier=COLD, place=1, reads=[97, 99]), 100, (COLD, 0, Refusal.DOES_NOT_PAY, False)),
        (Made(tier=COLD, place=1, since=90, reads=list(range(60, 100))), 100, (WARM, 0, Refusal.NONE, True)),
    ],
)
def test_what_becomes_of_it(made: Made, day: float, expected: tuple[int, int, Refusal, bool]) -> None:
    assert _one(made, day, rules()) == expected


def test_an_overwrite_begins_the_minimum_stay_anew() -> None:
    read_daily = Made(tier=COLD, place=1, reads=list(range(60, 100)))
    made = [read_daily, replace(read_daily, since=90), replace(read_daily, written=90)]
    decided = decide(catalog(made, 100), rules(), at(100))
    stayed, moved, overwritten = decided.payment.cost.tolist()
    assert decided.copies.all()
    assert stayed < moved == overwritten


def test_a_rule_that_ignores_reads_is_held_to_what_they_cost() -> None:
    often_read = Made(tier=WARM, reads=list(range(400)))
    assert _one(often_read, 400, rules(policy="age"))[2:] == (Refusal.DOES_NOT_PAY, False)


def test_what_waits_is_only_for_those_who_price_waiting() -> None:
    names = ("s3.standard", "s3.standard_ia", "s3.deep_archive")
    silent = Made(tier=WARM)
    assert _one(silent, 800, rules(*names, policy="age"))[1] == 1
    assert _one(silent, 800, rules(*names, policy="age", delayed_read=0.0))[:2] == (ARCHIVE, 2)
    archived = Made(tier=ARCHIVE, place=2, reads=list(range(700, 800)))
    assert _one(archived, 800, rules(*names)) == (ARCHIVE, 2, Refusal.NONE, False)


def test_without_prices_nothing_is_copied() -> None:
    known = rules()
    unpriced = replace(known, places=(known.places[0], Place("folder", None, (COLD, ARCHIVE))))
    assert _one(Made(tier=WARM), 500, unpriced)[3] is False
    assert _one(Made(tier=COLD, place=1), 500, unpriced)[2:] == (Refusal.NO_PRICES, False)


@pytest.mark.parametrize(
    ("made", "day", "tier"),
    [
        (Made(tier=HOT), 5, HOT),
        (Made(tier=HOT), 8, WARM),
        (Made(tier=WARM, reads=list(range(20)), times=2), 20, HOT),
        (Made(tier=HOT, reads=list(range(20))), 30, WARM),
        (Made(tier=WARM), 300, WARM),
        (Made(tier=COLD), 30, COLD),
        (Made(tier=WARM), 400, ARCHIVE),
        (Made(tier=WARM, reads=[300]), 400, COLD),
        (Made(tier=COLD, reads=[396, 397, 398, 399]), 400, WARM),
        (Made(tier=ARCHIVE, reads=[380]), 400, COLD),
    ],
)
def test_tiers_of_one_place_follow_all_reads(made: Made, day: float, tier: int) -> None:
    one_place = replace(rules(), places=(Place("standard", rules().places[0].prices, (HOT, WARM, COLD, ARCHIVE)),))
    assert _one(made, day, one_place) == (tier, 0, Refusal.NONE, False)


def test_a_rate_near_the_limit_does_not_go_back_and_forth() -> None:
    """Twice a day for ten days, then ten days of silence: about one a day, which it may come in at, and stays."""
    reads = [day for day in range(200) if day % 20 < 10]
    one_place = replace(rules(), places=(Place("standard", rules().places[0].prices, (HOT, WARM, COLD, ARCHIVE)),))
    made, changes = Made(tier=WARM, reads=reads, times=2), 0
    for day in range(1, 200):
        decided = decide(catalog([made], day), one_place, at(day))
        changes += int(decided.tiers[0]) != made.tier
        made = replace(made, tier=int(decided.tiers[0]))
    assert changes <= 1
