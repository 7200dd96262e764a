"""Bills worked out by hand from the vendors' published rules: the arithmetic stands in each test."""

from collections.abc import Sequence

import numpy as np
import pytest

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Usd
from thermocline.economics.bills import Bill, Moves, bill
from thermocline.economics.histories import History
from thermocline.economics.price_books import at_speed, chosen, shipped
from thermocline.economics.sheets import cost_sheet

GB = 1_000_000_000
MONTH = 30.4375


def _bill(
    names: Sequence[str],
    size: int,
    *,
    days: int,
    reads: Sequence[int] = (),
    moves: Sequence[tuple[int, int]] = (),
    delayed_read: float = 0.0,
    speed: str = "standard",
) -> Bill:
    """One object, seen before the history, read on these days, moved on these days to these classes."""
    history = History(
        20_000,
        days,
        np.array([size], np.int64),
        np.array([-1], np.int32),
        np.zeros(len(reads), np.int32),
        np.array(reads, np.int32),
        np.ones(len(reads), np.int64),
    )
    classes = tuple(at_speed(prices, speed) for prices in chosen(shipped(), names))
    sheet = cost_sheet(classes, history.sizes, delayed_read=Usd(delayed_read))
    made = Moves(
        np.zeros(len(moves), np.int32),
        np.array([day for day, _ in moves], np.int32),
        np.array([place for _, place in moves], np.int8),
    )
    return bill(history, made, sheet, 0)


def test_a_gigabyte_in_standard_for_a_month_of_thirty_days() -> None:
    # 1 GB x $0.023 x 30 / 30.4375; two days with reads, each one GET: 2 x $0.0004 / 1000
    paid = _bill(["s3.standard"], GB, days=30, reads=[3, 17])
    assert paid.storage == pytest.approx(0.023 * 30 / MONTH)
    assert paid.requests == pytest.approx(2 * 0.0004 / 1000)
    assert paid.total == pytest.approx(paid.storage + paid.requests)


def test_a_small_object_is_billed_as_128_kb_in_infrequent_access() -> None:
    # 20 KB are billed as 131072 bytes: 0.000131072 GB x $0.0125 a month; in Standard 0.00002 GB x $0.023.
    small = _bill(["s3.standard_ia"], 20_000, days=30).storage
    assert small == pytest.approx(131_072 / GB * 0.0125 * 30 / MONTH)
    assert small / _bill(["s3.standard"], 20_000, days=30).storage == pytest.approx(3.5617, abs=1e-3)


def test_leaving_glacier_instant_retrieval_after_thirty_of_ninety_days() -> None:
    # Down on day 0: $0.02 / 1000. Up on day 30: a PUT of Standard, $0.005 / 1000, and reading it, $0.01 / 1000 + 1 GB x
    # $0.03. The other 60 days are paid all the same: 60 / 30.4375 x $0.004.
    paid = _bill(["s3.standard", "s3.glacier_ir"], GB, days=40, moves=[(0, 1), (30, 0)])
    assert paid.storage == pytest.approx((30 * 0.004 + 10 * 0.023) / MONTH)
    assert paid.moves == pytest.approx(0.02 / 1000 + 0.005 / 1000 + 0.01 / 1000 + 0.03)
    assert paid.early_deletion == pytest.approx(60 * 0.004 / MONTH)


def test_the_bytes_of_yesterdays_read_are_in_hand() -> None:
    # The read on day 29 is paid ($0.01 / 1000 + $0.03); the move on day 30 reads nothing again.
    paid = _bill(["s3.standard", "s3.glacier_ir"], GB, days=40, reads=[29], moves=[(0, 1), (30, 0)])
    assert paid.moves == pytest.approx(0.02 / 1000 + 0.005 / 1000)
    assert paid.retrieval == pytest.approx(0.03)
    # A read on the day of the move comes after it, and is one of Standard.
    paid = _bill(["s3.standard", "s3.glacier_ir"], GB, days=40, reads=[30], moves=[(0, 1), (30, 0)])
    assert paid.moves == pytest.approx(0.02 / 1000 + 0.005 / 1000 + 0.01 / 1000 + 0.03)
    assert paid.retrieval == pytest.approx(0)
    assert paid.requests == pytest.approx(0.0004 / 1000)


def test_what_is_still_in_its_class_at_the_end_owes_nothing_more() -> None:
    assert not _bill(["s3.standard", "s3.deep_archive"], GB, days=40, moves=[(0, 1)]).early_deletion


def test_glacier_adds_an_index_of_40_kb() -> None:
    # 1 GB + 32 KB at $0.0036, and 8 KB at Standard's $0.023
    paid = _bill(["s3.glacier"], GB, days=30)
    assert paid.storage == pytest.approx(((GB + 32_768) / GB * 0.0036 + 8_192 / GB * 0.023) * 30 / MONTH)


@pytest.mark.parametrize(
    ("speed", "per_gb", "per_thousand"), [("bulk", 0.0, 0.0), ("standard", 0.01, 0.05), ("expedited", 0.03, 10.0)]
)
def test_reading_from_glacier(speed: str, per_gb: float, per_thousand: float) -> None:
    # 5 GB, one restore and one GET; it waits, at $0.50 a wait
    paid = _bill(["s3.glacier"], 5 * GB, days=2, reads=[1], delayed_read=0.5, speed=speed)
    assert paid.retrieval == pytest.approx(5 * per_gb)
    assert paid.requests == pytest.approx((per_thousand + 0.0004) / 1000)
    assert paid.latency == 0.5


def test_intelligent_tiering_gets_cheaper_while_nobody_reads() -> None:
    # 120 days unread: 30 at $0.023, 60 at $0.0125, 30 at $0.004, and watching: $0.0025 / 1000 a month
    silent = _bill(["s3.intelligent"], GB, days=120, reads=[0])
    assert silent.storage == pytest.approx((30 * 0.023 + 60 * 0.0125 + 30 * 0.004) / MONTH)
    assert silent.monitoring == pytest.approx(0.0025 / 1000 * 120 / MONTH)
    # A read on day 100 brings it back: 30, 60, 10, then 20 days at $0.023 again; no retrieval fee
    read = _bill(["s3.intelligent"], GB, days=120, reads=[0, 100])
    assert read.storage == pytest.approx((30 * 0.023 + 60 * 0.0125 + 10 * 0.004 + 20 * 0.023) / MONTH)
    assert not read.retrieval


def test_intelligent_tiering_does_not_watch_what_is_smaller_than_128_kb() -> None:
    paid = _bill(["s3.intelligent"], 131_071, days=120)
    assert paid.storage == pytest.approx(131_071 / GB * 0.023 * 120 / MONTH)
    assert not paid.monitoring


def test_silence_counts_from_the_move_into_it() -> None:
    # In on day 50 of a silence: frequent until day 80, infrequent until the end
    paid = _bill(["s3.standard", "s3.intelligent"], GB, days=100, moves=[(50, 1)])
    assert paid.storage == pytest.approx((50 * 0.023 + 30 * 0.023 + 20 * 0.0125) / MONTH)
    assert paid.moves == pytest.approx(0.01 / 1000)


def test_r2_infrequent_access() -> None:
    # 10 GB down on day 0 (class A: $0.009 / 1000), read on day 5 (class B: $0.0009 / 1000 + $0.01 / GB), back on 10:
    # a copy (class A: $0.0045 / 1000) that reads it, and 20 of the 30 days are still to pay
    paid = _bill(["r2.standard", "r2.infrequent"], 10 * GB, days=31, reads=[5], moves=[(0, 1), (10, 0)])
    assert paid.storage == pytest.approx((10 * 0.10 + 21 * 0.15) / MONTH)
    assert paid.requests == pytest.approx(0.0009 / 1000)
    assert paid.retrieval == pytest.approx(0.10)
    assert paid.moves == pytest.approx(0.009 / 1000 + 0.0045 / 1000 + 0.0009 / 1000 + 0.10)
    assert paid.early_deletion == pytest.approx(20 * 0.10 / MONTH)
    assert not paid.egress


def test_an_archive_at_another_vendor_is_dominated_by_its_egress() -> None:
    # 100 GB from R2 to Deep Archive: R2 lets it out for nothing, but it is read ($0.00036 / 1000) and written ($0.05
    # / 1000). Back after 200 days: $0.02 / GB + ($0.10 + $0.0004) / 1000, a PUT, and $0.09 / GB on the way out.
    paid = _bill(["r2.standard", "s3.deep_archive"], 100 * GB, days=210, moves=[(0, 1), (200, 0)])
    assert paid.egress == pytest.approx(9.0)
    assert paid.moves == pytest.approx((0.00036 + 0.05) / 1000 + 2.0 + (0.10 + 0.0004) / 1000 + 0.0045 / 1000)
    # A read from there leaves the vendor too.
    assert _bill(
        ["r2.standard", "s3.deep_archive"], 100 * GB, days=10, reads=[5], moves=[(0, 1)]
    ).egress == pytest.approx(9.0)


def test_the_field_warning_two_billion_small_objects() -> None:
    # 2.2 billion x 20 KB into Glacier Instant Retrieval: $0.02 / 1000 each is $44,000 at once (the team was told
    # $43,000), and each is then billed as 128 KB: $1,153 a month instead of $1,012.
    count = 2.2e9
    paid = _bill(["s3.standard", "s3.glacier_ir"], 20_000, days=30, moves=[(0, 1)])
    assert paid.moves * count == pytest.approx(44_000)
    assert paid.storage * count * MONTH / 30 == pytest.approx(1153.4, abs=0.1)
    assert _bill(["s3.standard"], 20_000, days=30).storage * count * MONTH / 30 == pytest.approx(1012.0, abs=0.1)


def test_reads_that_may_not_wait_rule_archives_out() -> None:
    sizes = np.array([GB], np.int64)
    slow = chosen(shipped(), ("s3.standard", "s3.glacier"))
    with pytest.raises(InvalidInputError, match=r"s3\.glacier does not"):
        cost_sheet(slow, sizes, delayed_read=Usd(float("inf")))
    cost_sheet(chosen(shipped(), ("s3.standard", "s3.glacier_ir")), sizes, delayed_read=Usd(float("inf")))
    for wrong in (-1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="not negative"):
            cost_sheet(slow, sizes, delayed_read=Usd(wrong))
    with pytest.raises(InvalidInputError, match="not negative"):
        cost_sheet(slow, -sizes)


@pytest.mark.parametrize(
    ("moves", "told"),
    [
        ([(3, 1), (3, 0)], "at most one a day"),
        ([(5, 1), (3, 0)], "sorted"),
        ([(3, 2)], "a class that is not"),
        ([(10, 1)], "beyond the end"),
        ([(-1, 1)], "before its object"),
    ],
)
def test_moves_that_are_none_are_refused(moves: list[tuple[int, int]], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        _bill(["s3.standard", "s3.glacier_ir"], GB, days=10, moves=moves)
