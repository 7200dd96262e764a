"""A plan in parts is the plan of all; its bill and bounds are what the costing rules say, object by object."""

from dataclasses import replace

import numpy as np
import pytest

from tests.counts import SOAK
from tests.economics.naive import MONTH, Rules, bill_object, storage_a_day
from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Usd
from thermocline.economics import guesses as guessing
from thermocline.economics import plans, present_bills
from thermocline.economics.comparisons import Question
from thermocline.economics.guesses import AGES, PAYING_DAYS, guesses
from thermocline.economics.plans import Holdings, Reads, plan_steps, replay_plan
from thermocline.economics.present_bills import present_bill
from thermocline.economics.price_books import chosen, default_classes, shipped

ORIGIN, DAYS = 20_000, 60
CLASSES = chosen(shipped(), default_classes("s3"))
NAMES = ("s3.standard_ia", "SNOW", "s3.standard", "s3.intelligent", "s3.glacier_ir", "s3.glacier")


def _holdings(draws: np.random.Generator, count: int) -> Holdings:
    return Holdings(
        NAMES,
        np.exp(draws.normal(15, 3, count)).astype(np.int64),
        (ORIGIN + draws.integers(-400, DAYS + 5, count)).astype(np.int32),
        draws.integers(0, len(NAMES), count).astype(np.int16),
    )


def _reads(draws: np.random.Generator, holdings: Holdings) -> Reads:
    """Of about half of the objects, some before the moment at which they were written (for the last time)."""
    rows = [
        (number, day, int(draws.integers(1, 5)))
        for number in range(len(holdings.sizes))
        if draws.random() < 0.5
        for day in range(DAYS)
        if draws.random() < 0.05
    ]
    table = np.array(rows or np.zeros((0, 3)), np.int64)
    return Reads(ORIGIN, DAYS, table[:, 0], table[:, 1].astype(np.int32), table[:, 2])


def _question(split: float = 0.5, policies: tuple[str, ...] = ("stay", "idle", "age")) -> Question:
    return Question(CLASSES, policies, shipped(), split=split, delayed_read=Usd(0.0), periods=4)


@pytest.mark.parametrize("seed", range(40 if SOAK else 4))
def test_parts_do_not_show(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(seed)
    holdings = _holdings(draws, 120)
    reads = _reads(draws, holdings)
    question = _question(split=float(draws.choice([0.0, 0.5, 0.9])))
    whole = replay_plan(holdings, reads, question)
    monkeypatch.setattr(plans, "PART_OBJECTS", 7)
    steps: list[int] = []
    parts = replay_plan(holdings, reads, question, progress=steps.append)
    assert sum(steps) == plan_steps(holdings, reads, question)
    assert (parts.first_day, parts.days, parts.too_young, parts.elsewhere) == (
        whole.first_day, whole.days, whole.too_young, whole.elsewhere,
    )  # fmt: skip
    assert (parts.tally.objects, parts.tally.bytes) == (whole.tally.objects, whole.tally.bytes)
    for name in (*question.policies, ""):
        mine, all_ = (each.policies[name] if name else each.optimum for each in (parts.tally, whole.tally))
        assert dict(mine.parts) == pytest.approx(dict(all_.parts))
        assert list(mine.course) == pytest.approx(list(all_.course))
        assert (mine.moves, dict(mine.reasons)) == (all_.moves, dict(all_.reasons))
        assert sum(mine.course) == pytest.approx(mine.total)
    losses = parts.tally.losses
    np.testing.assert_array_equal(losses.objects, whole.tally.losses.objects)
    assert losses.objects.sum() == parts.tally.objects
    assert losses.sizes.sum() == parts.tally.bytes
    assert losses.optimum.sum() == pytest.approx(parts.tally.optimum.total)
    for name, beyond in losses.beyond.items():
        assert beyond.sum() == pytest.approx(parts.tally.policies[name].total - parts.tally.optimum.total)
        assert beyond.min() >= -1e-12
    # Every object is in exactly one of three heaps.
    assert parts.tally.objects + parts.too_young + parts.elsewhere == len(holdings.sizes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("split", [0.0, 0.5])
def test_staying_is_billed_where_each_object_lies(seed: int, split: float) -> None:
    draws = np.random.default_rng([seed, 1])
    holdings = _holdings(draws, 50)
    reads = _reads(draws, holdings)
    replayed = replay_plan(holdings, reads, _question(split, ("stay",)))
    start, prices, usd, counted = int(DAYS * split), shipped(), 0.0, 0
    for number in range(50):
        days = {int(day) for day in reads.read_days[reads.objects == number]}
        written = int(holdings.modified[number]) - ORIGIN
        first = min([written, *days])
        name = NAMES[holdings.classes[number]]
        if name not in default_classes("s3") or first >= DAYS:
            continue
        counted += 1
        usd += bill_object(
            Rules([prices[name]]), int(holdings.sizes[number]), days, {}, max(first, start), DAYS,
            last_read=max((day for day in days if day < start), default=first),
        )  # fmt: skip
    assert replayed.tally.policies["stay"].total == pytest.approx(usd)
    assert replayed.tally.objects == counted
    assert replayed.saving("stay", "stay").net == 0


def test_what_is_saved_is_the_difference_with_the_moves_apart() -> None:
    draws = np.random.default_rng(5)
    holdings = _holdings(draws, 200)
    replayed = replay_plan(holdings, _reads(draws, holdings), _question())
    for name, policy in replayed.tally.policies.items():
        saving = replayed.saving(name, "stay")
        still = replayed.tally.policies["stay"].total
        assert saving.net == pytest.approx(still - policy.total)
        assert saving.monthly * replayed.months - saving.once == pytest.approx(saving.net)
        assert saving.once >= 0
        if saving.net > 0:
            assert saving.payback_months <= replayed.months


def test_a_minimum_stay_counts_from_when_the_object_was_written() -> None:
    """One day in Glacier Instant Retrieval, or three hundred: leaving it costs 89 days more, or nothing."""
    reads = Reads(ORIGIN, DAYS, np.array([0, 0, 1, 1]), np.array([28, 29, 28, 29], np.int32), np.ones(4, np.int64))
    holdings = Holdings(
        ("s3.glacier_ir",), np.full(2, 10**9), np.array([ORIGIN + 29, ORIGIN - 300], np.int32), np.zeros(2, np.int16)
    )
    paid = [
        replay_plan(
            replace(
                holdings, sizes=holdings.sizes[[each, each]], modified=holdings.modified[[each, each]],
            ), reads, _question(policies=("intelligent", "stay")),
        ).tally.policies["intelligent"].parts["early_deletion"]
        for each in (0, 1)
    ]  # fmt: skip
    day = storage_a_day(shipped()["s3.glacier_ir"], 10**9)
    assert paid == [pytest.approx(2 * 89 * day), 0.0]


def test_nothing_to_move_is_told() -> None:
    holdings = Holdings(("SNOW",), np.ones(3, np.int64), np.full(3, ORIGIN, np.int32), np.zeros(3, np.int16))
    reads = Reads(ORIGIN, DAYS, np.array([0]), np.array([1], np.int32), np.array([1]))
    with pytest.raises(InvalidInputError, match="3 lie in other classes than those to choose from"):
        replay_plan(holdings, reads, _question())
    late = replace(holdings, class_names=("s3.standard",), modified=np.full(3, ORIGIN + DAYS, np.int32))
    with pytest.raises(InvalidInputError, match="2 were written after the last read"):
        replay_plan(
            Holdings(("s3.standard",), late.sizes[1:], late.modified[1:], late.classes[1:]),
            replace(
                reads, objects=np.zeros(0, np.int64), read_days=np.zeros(0, np.int32), counts=np.zeros(0, np.int64)
            ),
            _question(),
        )


@pytest.mark.parametrize("logged", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_bill_of_a_month_is_that_of_each_object(seed: int, logged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present_bills, "AT_ONCE", 9)
    draws = np.random.default_rng([seed, 2])
    holdings = _holdings(draws, 80)
    reads = _reads(draws, holdings) if logged else None
    day, prices = ORIGIN + DAYS + 1, shipped()
    found = {each.class_name: each for each in present_bill(holdings, prices, reads, day)}
    assert sum(each.objects for each in found.values()) == 80
    assert sum(each.bytes for each in found.values()) == holdings.sizes.sum()
    for place, name in enumerate(NAMES):
        mine = np.flatnonzero(holdings.classes == place)
        if name not in prices:
            assert (found[name].parts, found[name].total, found[name].objects) == (None, 0.0, len(mine))
            continue
        expected = dict.fromkeys(("storage", "monitoring", "requests", "retrieval"), 0.0)
        for number in mine:
            size, each = int(holdings.sizes[number]), prices[name]
            rows: list[int] = [] if reads is None else np.flatnonzero(reads.objects == number).tolist()
            seen = [] if reads is None else [ORIGIN + int(reads.read_days[row]) for row in rows]
            silent = day - max([int(holdings.modified[number]), *seen])
            expected["storage"] += storage_a_day(each, size, (silent >= 30) + (silent >= 90)) * MONTH
            watched = each.is_watching and size >= each.value("monitored_bytes")
            expected["monitoring"] += each.value("monitoring") / 1000 if watched else 0.0
            times = sum(int(reads.counts[row]) for row in rows) / (DAYS / MONTH) if reads is not None else 0.0
            expected["requests"] += times * (each.value("get") + each.value("retrieval_request")) / 1000
            expected["retrieval"] += times * each.value("retrieval") * size / 1e9
        assert found[name].parts == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_guess_is_an_upper_bound_without_reads_and_nothing_at_its_break_even(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No move saves more in a year without a read; reads at the rate that it says leave nothing of it."""
    monkeypatch.setattr(guessing, "AT_ONCE", 11)
    draws = np.random.default_rng([seed, 3])
    holdings = _holdings(draws, 60)
    day = ORIGIN + DAYS + 10
    told = guesses(holdings, CLASSES, day)
    assert [each.age for each in told] == list(AGES)
    assert [each.objects for each in told] == sorted((each.objects for each in told), reverse=True)
    best = 0.0
    for number in range(60):
        name, size = NAMES[holdings.classes[number]], int(holdings.sizes[number])
        if name not in default_classes("s3"):
            continue
        place = default_classes("s3").index(name)
        age = day - int(holdings.modified[number])
        costs = [
            bill_object(
                Rules([*CLASSES]), size, set(), {} if target == place else {1: target}, 0, 1 + PAYING_DAYS, 0,
                place, age,
            )
            for target in range(len(CLASSES))
        ]  # fmt: skip
        best += costs[place] - min(costs)
    year = told[0].monthly / MONTH * PAYING_DAYS - told[0].once
    # The day before the move makes the minimum stay one day shorter; and nothing is read in hand.
    assert year == pytest.approx(best, rel=0.01)
    for each in told:
        if each.break_even_days:
            reads_a_month = MONTH / each.break_even_days
            assert each.monthly - reads_a_month * each.dearer_read == pytest.approx(0.0, abs=1e-9)
