"""What reads wait for and what moves were worth, against the same said by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.economics.catalogs import COLD, GB, HOT, WARM, Made, at, catalog, rules
from thermocline.domain.errors import InvalidInputError
from thermocline.economics.contents import Contents
from thermocline.economics.deciding import Refusal, decide
from thermocline.economics.figures import DAYS_PER_MONTH
from thermocline.economics.latency import CACHE_READ_MS, STORAGE_READ_MS, read_latencies
from thermocline.economics.paying import expected_rates, payment
from thermocline.economics.price_books import BOOKS, chosen, shipped, with_own_classes
from thermocline.economics.realised import realised_savings
from thermocline.economics.sheets import cost_sheet

STANDARD, INFREQUENT = chosen(shipped(), ("s3.standard", "s3.standard_ia"))
WATCHED = shipped()["s3.intelligent"]
CACHED = [True, True, False, False]
HERE = np.array([True, False])
"""In the first class caches keep content, in the second they do not."""


def _read(times: int, storage: int, days: int) -> Contents:
    made = catalog([Made(reads=list(range(days)))], 100)
    return replace(made, reads=np.array([times]), storage_reads=np.array([storage]))


@pytest.mark.parametrize(
    ("contents", "source", "target", "expected"),
    [
        # Nine of ten from a cache: in COLD all of them come from storage.
        (_read(100, 10, 10), HOT, COLD, STORAGE_READ_MS),
        (_read(100, 10, 10), HOT, WARM, 0.9 * CACHE_READ_MS + 0.1 * STORAGE_READ_MS),
        # Read a hundred times on ten days: a cache would have answered nine of ten.
        (_read(100, 100, 10), COLD, WARM, 0.9 * CACHE_READ_MS + 0.1 * STORAGE_READ_MS),
        (_read(0, 0, 0), COLD, WARM, STORAGE_READ_MS),
    ],
)
def test_how_long_a_read_waits(contents: Contents, source: int, target: int, expected: float) -> None:
    there = replace(contents, tiers=np.array([source], np.int8))
    waits = read_latencies(there, np.array([target], np.int8), np.zeros(1), is_cached=CACHED)
    assert waits[0] == pytest.approx(expected)
    slower = read_latencies(there, np.array([target], np.int8), np.array([7000.0]), is_cached=CACHED)
    assert slower[0] >= waits[0]


def _saved(target: str, days: float, reads: int) -> float:
    return float(realised_savings(STANDARD, shipped()[target], np.array([GB]), np.array([days]), np.array([reads]))[0])


def test_what_a_move_was_worth() -> None:
    month = DAYS_PER_MONTH
    assert _saved("s3.standard_ia", month, 0) == pytest.approx(0.0105)
    assert _saved("s3.standard_ia", month, 3) == pytest.approx(0.0105 - 3 * (0.01 + 0.0006 / 1000))
    # Intelligent-Tiering: 30 days as Standard, then cheaper; a read in the middle begins anew.
    watching = 0.0025 / 1000 * 60 / month
    assert _saved("s3.intelligent", 60, 0) == pytest.approx(30 * 0.0105 / month - watching)
    assert _saved("s3.intelligent", 60, 1) == pytest.approx(-watching)


@given(st.floats(0, 1000), st.integers(0, 50), st.integers(1, 50))
def test_reads_never_make_a_cheaper_class_worth_more(days: float, reads: int, more: int) -> None:
    for name in ("s3.standard_ia", "s3.glacier_ir", "r2.infrequent"):
        assert _saved(name, days, reads + more) <= _saved(name, days, reads)


def test_a_payment_by_hand() -> None:
    """1 GB, silent for 60 days after a read on the first day, from Standard to Infrequent Access and back."""
    contents = catalog([Made(tier=WARM, reads=[0])], 60)
    sheet = cost_sheet([STANDARD, INFREQUENT], contents.sizes)
    rate = max(float(each[0]) for each in expected_rates(contents, np.array([True]), at(60)))
    assert rate <= 1 / 60
    down = payment(contents, sheet, np.array([1], np.int8), cached=HERE, now=at(60), horizon_days=90)
    assert down.cost[0] == pytest.approx(0.01 / 1000 + 0.0004 / 1000)
    assert down.saving_per_day_unread[0] == pytest.approx(0.0105 / DAYS_PER_MONTH)
    assert down.saving_per_day[0] == pytest.approx(0.0105 / DAYS_PER_MONTH - rate * (0.01 + 0.0006 / 1000))
    moved = replace(
        contents, places=np.array([1], np.int8), tier_since=np.array([at(50)]), placed_since=np.array([at(50)])
    )
    up = payment(moved, sheet, np.array([0], np.int8), cached=HERE, now=at(60), horizon_days=90)
    rest = 20 * 0.0125 / DAYS_PER_MONTH
    assert up.cost[0] == pytest.approx(0.005 / 1000 + 0.01 + 0.001 / 1000 + rest)
    assert up.saving_per_day[0] < 0
    stays = payment(contents, sheet, np.array([0], np.int8), cached=HERE, now=at(60), horizon_days=90)
    assert (stays.cost[0], stays.saving_per_day[0], stays.net[0]) == (0, 0, 0)


def test_what_only_caches_serve_is_paid_for_where_they_do_not() -> None:
    """Never read from storage since it was written, and a hundred times a day from caches: in COLD each is paid for."""
    quiet = catalog([Made(tier=WARM)], 100)
    busy = replace(quiet, rates=np.full((4, 1), 100.0), reads=np.array([10_000]), last_read_at=np.array([at(100)]))
    for contents, copies, refusal in ((quiet, True, Refusal.NONE), (busy, False, Refusal.DOES_NOT_PAY)):
        decided = decide(contents, rules(), at(100))
        assert (bool(decided.copies[0]), Refusal(int(decided.refusals[0]))) == (copies, refusal)
    everywhere = replace(rules(), is_cached=(True, True, True, True))
    assert decide(busy, everywhere, at(100)).copies[0]


def test_what_ends_soon_counts_only_until_then() -> None:
    contents = catalog([Made(tier=WARM, expires=70)], 60)
    sheet = cost_sheet([STANDARD, INFREQUENT], contents.sizes)
    paid = payment(contents, sheet, np.array([1], np.int8), cached=HERE, now=at(60), horizon_days=90)
    assert paid.days[0] == pytest.approx(10)
    # 30 days are paid, whatever becomes of it.
    assert paid.cost[0] == pytest.approx(0.0104 / 1000 + 20 * 0.0125 / DAYS_PER_MONTH)


def test_own_prices_and_own_classes() -> None:
    known = with_own_classes({"s3.standard": {"storage": 0.5}, "ceph.cold": {"storage": 0.1, "minimum_days": 3}})
    assert known["s3.standard"].value("storage") == 0.5
    assert known["s3.standard"].value("get") == shipped()["s3.standard"].value("get")
    assert (known["ceph.cold"].value("storage"), known["ceph.cold"].vendor) == (0.1, "ceph")
    assert known["ceph.cold"].figures["storage"].verified
    assert set(known) - set(shipped()) == {"ceph.cold"}
    for wrong in (*(f"{book}.nonsense" for book in BOOKS), "ceph", ".x", "x."):
        with pytest.raises(InvalidInputError):
            with_own_classes({wrong: {"storage": 0.1}})
    for figures in ({"storge": 0.1}, {"storage": -1.0}, {"minimum_days": 1.5}):
        with pytest.raises(InvalidInputError):
            with_own_classes({"ceph.cold": figures})


def test_rules_name_no_place_twice() -> None:
    assert [place.tiers for place in rules("s3.standard", "s3.standard_ia", "s3.glacier_ir").places] == [
        (0, 1),
        (2,),
        (3,),
    ]
