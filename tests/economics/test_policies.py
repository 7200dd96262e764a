"""Each rule says what the design says, knows the past only, and does not go back and forth."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.economics.naive import random_history
from thermocline.domain.errors import InvalidInputError
from thermocline.economics.bills import bill
from thermocline.economics.columns import NEVER, Columns, Watcher
from thermocline.economics.comparisons import Question, compare, policy_names, steps_of
from thermocline.economics.histories import History
from thermocline.economics.policies.idle import break_even_days
from thermocline.economics.policies.policy import Policy, Reason, Setting
from thermocline.economics.price_books import chosen, default_classes, shipped
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.sheets import CostSheet, cost_sheet

BOOKS = ("s3", "r2", "gcs")
GB = 1_000_000_000


def _sheet(book: str, sizes: np.ndarray) -> CostSheet:
    return cost_sheet(chosen(shipped(), default_classes(book)), sizes)


def _made(name: str, history: History, start: int, sheet: CostSheet) -> Policy:
    return RULES[name](Setting(sheet.classes, sheet, history.before(start), start))


def _columns(count: int = 1, **given: int) -> Columns:
    """Objects of 1 GB, first seen on day 0, read once then, in the first class; but for what is given."""
    columns = Columns(
        sizes=np.full(count, GB, np.int64),
        first_day=np.zeros(count, np.int32),
        last_read=np.zeros(count, np.int32),
        previous_read=np.full(count, NEVER, np.int32),
        reads=np.ones(count, np.int64),
        read_days=np.ones(count, np.int32),
        visits=np.ones(count, np.int32),
        recent_days=np.zeros(count, np.int32),
        rates=np.zeros((4, count)),
        places=np.zeros(count, np.int8),
        since=np.zeros(count, np.int32),
    )
    for name, value in given.items():
        getattr(columns, name)[:] = value
    return columns


def _decided(name: str, day: int, columns: Columns, book: str = "s3") -> tuple[str, Reason]:
    sheet = _sheet(book, columns.sizes)
    setting = Setting(sheet.classes, sheet, random_history(np.random.default_rng(0), objects=1, days=2, share=0), 0)
    decisions = RULES[name](setting).decide(day, columns)
    return sheet.classes[int(decisions.places[0])].name, Reason(int(decisions.reasons[0]))


@pytest.mark.parametrize(
    ("day", "recent", "last_read", "expected"),
    [
        (40, 30, 39, ("s3.standard", Reason.READ_DAILY)),
        (40, 29, 39, ("s3.standard_ia", Reason.READ_LATELY)),
        (400, 3, 399, ("s3.standard_ia", Reason.READ_LATELY)),
        (364, 2, 0, ("s3.standard_ia", Reason.YOUNG)),
        (365, 2, 1, ("s3.glacier_ir", Reason.RARELY_READ)),
        (365, 0, 0, ("s3.glacier_ir", Reason.SILENT_YEAR)),
    ],
)
def test_velocity_is_the_seeds_rule(day: int, recent: int, last_read: int, expected: tuple[str, Reason]) -> None:
    assert _decided("velocity", day, _columns(recent_days=recent, last_read=last_read)) == expected


def test_velocity_with_four_classes_and_with_two() -> None:
    silent, rare = _columns(), _columns(last_read=100)
    assert _decided("velocity", 400, silent, "gcs")[0] == "gcs.archive"
    assert _decided("velocity", 400, rare, "gcs")[0] == "gcs.coldline"
    assert _decided("velocity", 400, silent, "r2")[0] == "r2.infrequent"


@pytest.mark.parametrize(
    ("day", "expected"), [(29, "s3.standard"), (30, "s3.standard_ia"), (89, "s3.standard_ia"), (90, "s3.glacier_ir")]
)
def test_age_looks_at_age_alone(day: int, expected: str) -> None:
    assert _decided("age", day, _columns(last_read=day - 1))[0] == expected
    assert _decided("age", day, _columns(places=2))[0] == "s3.glacier_ir", "never up"


def test_a_class_that_the_vendor_watches_is_no_step_down() -> None:
    classes = chosen(shipped(), ("s3.standard", "s3.intelligent", "s3.glacier_ir"))
    columns = _columns()
    sheet = cost_sheet(classes, columns.sizes)
    setting = Setting(classes, sheet, random_history(np.random.default_rng(0), objects=1, days=2, share=0), 0)
    assert RULES["age"](setting).decide(31, columns).places.tolist() == [2]
    assert RULES["velocity"](setting).decide(31, columns).places.tolist() == [2]
    columns.places[:] = 1
    assert RULES["age"](setting).decide(5, columns).places.tolist() == [0]


@pytest.mark.parametrize(
    ("idle", "expected"), [(29, "r2.standard"), (30, "r2.infrequent"), (89, "r2.infrequent"), (1, "r2.standard")]
)
def test_the_rule_of_intelligent_tiering_elsewhere(idle: int, expected: str) -> None:
    assert _decided("intelligent", 300, _columns(last_read=300 - idle, places=1), "r2")[0] == expected
    small = _columns(last_read=300 - idle, sizes=131_071)
    assert _decided("intelligent", 300, small, "r2") == ("r2.standard", Reason.TOO_SMALL)


def test_intelligent_tiering_itself_takes_all_that_is_large_enough() -> None:
    classes = chosen(shipped(), ("s3.standard", "s3.glacier_ir", "s3.intelligent"))
    sheet = cost_sheet(classes, np.array([131_071, 131_072], np.int64))
    setting = Setting(classes[:2], sheet, random_history(np.random.default_rng(0), objects=2, days=2, share=0), 0)
    columns = _columns(2)
    columns.sizes[:] = sheet.sizes
    decided = RULES["intelligent"](setting).decide(5, columns)
    assert decided.places.tolist() == [0, 2]
    assert decided.reasons.tolist() == [Reason.TOO_SMALL, Reason.WATCHED]


@pytest.mark.parametrize(
    ("book", "source", "target", "days"),
    [
        # per GB: retrieval / (difference of storage / 30.4375)
        ("s3", 0, 1, 0.01 * 30.4375 / (0.023 - 0.0125)),  # 29 days
        ("s3", 0, 2, 0.03 * 30.4375 / (0.023 - 0.004)),  # 48 days, and with the fees of a 4 MB object 60
        ("s3", 1, 2, 0.02 * 30.4375 / (0.0125 - 0.004)),  # 72 days
        ("r2", 0, 1, 0.01 * 30.4375 / (0.015 - 0.010)),  # 61 days
    ],
)
def test_break_even_idle_times_come_from_the_prices(book: str, source: int, target: int, days: float) -> None:
    sizes = np.array([10**15, 4_000_000, 20_000], np.int64)
    large, usual, small = break_even_days(_sheet(book, sizes), source, target)
    assert large == pytest.approx(days, rel=1e-4)
    assert small > usual > large
    assert break_even_days(_sheet(book, sizes), target, source).tolist() == [np.inf] * 3 or book == "s3"


def test_idle_waits_goes_down_and_is_sticky() -> None:
    sheet = _sheet("s3", np.array([GB], np.int64))
    wait = int(np.ceil(break_even_days(sheet, 0, 2)[0]))
    assert wait == 49
    assert _decided("idle", 300, _columns(last_read=300 - 28)) == ("s3.standard", Reason.STAYS)
    assert _decided("idle", 300, _columns(last_read=300 - 30)) == ("s3.standard_ia", Reason.SILENT)
    assert _decided("idle", 300, _columns(last_read=300 - wait)) == ("s3.glacier_ir", Reason.SILENT)
    one_read = _columns(last_read=299, previous_read=100, places=2)
    assert _decided("idle", 300, one_read) == ("s3.glacier_ir", Reason.STAYS)
    two_reads = _columns(last_read=299, previous_read=280, places=2)
    assert _decided("idle", 300, two_reads) == ("s3.standard", Reason.READ_AGAIN)
    assert _decided("idle", 301, two_reads) == ("s3.glacier_ir", Reason.STAYS), "its bytes are no more in hand"


def test_two_billion_small_objects_stay() -> None:
    assert _decided("idle", 3000, _columns(sizes=20_000)) == ("s3.standard", Reason.TOO_SMALL)


def _histories() -> Iterator[History]:
    for seed, share in enumerate((0.005, 0.03, 0.3)):
        yield random_history(np.random.default_rng(seed), objects=80, days=500, share=share)


@pytest.mark.thorough
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("book", BOOKS)
def test_a_decision_does_not_depend_on_what_comes(name: str, book: str) -> None:
    for history in _histories():
        sheet = _sheet(book, history.sizes * 100)
        whole = replay(history, _made(name, history, 100, sheet), 100).moves
        cut = 350
        rows = history.read_days < cut
        known = History(
            history.origin, cut, history.sizes, np.minimum(history.first_day, cut - 1).astype(np.int32),
            history.objects[rows], history.read_days[rows], history.counts[rows],
        )  # fmt: skip
        part = replay(known, _made(name, known, 100, sheet), 100).moves
        before = whole.days < cut
        np.testing.assert_array_equal(part.objects, whole.objects[before])
        np.testing.assert_array_equal(part.days, whole.days[before])
        np.testing.assert_array_equal(part.classes, whole.classes[before])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("book", BOOKS)
def test_asked_again_it_says_the_same_and_what_it_did_it_does_not_undo(name: str, book: str) -> None:
    history = next(_histories())
    sheet = _sheet(book, history.sizes * 100)
    policy = _made(name, history, 100, sheet)
    watcher = Watcher(history, 100)
    for day in range(100, history.days):
        columns = watcher.columns
        first, second = policy.decide(day, columns), policy.decide(day, columns)
        np.testing.assert_array_equal(first.places, second.places)
        columns.places[:] = first.places
        np.testing.assert_array_equal(policy.decide(day, columns).places, first.places)
        watcher.pass_day()


@pytest.mark.parametrize("book", BOOKS)
def test_idle_is_monotone_in_idle_time(book: str) -> None:
    count = 600
    columns = _columns(count, sizes=5_000_000, previous_read=int(NEVER))
    columns.last_read[:] = 700 - np.arange(1, count + 1)
    sheet = _sheet(book, columns.sizes)
    setting = Setting(sheet.classes, sheet, random_history(np.random.default_rng(0), objects=1, days=2, share=0), 0)
    places = RULES["idle"](setting).decide(700, columns).places
    assert (np.diff(places) >= 0).all()
    assert places[-1] > 0


def test_columns_are_what_one_object_at_a_time_would_remember() -> None:
    history = random_history(np.random.default_rng(9), objects=30, days=160, share=0.2)
    watcher = Watcher(history, 60)
    for day in range(60, history.days):
        columns = watcher.columns
        for number in range(history.object_count):
            mine = (history.objects == number) & (history.read_days < day)
            days, counts = history.read_days[mine], history.counts[mine]
            assert columns.reads[number] == counts.sum()
            assert columns.read_days[number] == len(days)
            assert columns.recent_days[number] == (days >= day - 30).sum()
            for row, horizon in enumerate((5, 20, 80, 320)):
                expected = (np.exp((days - day) / horizon) / horizon).sum()
                assert columns.rates[row, number] == pytest.approx(expected, abs=1e-12)
            if len(days):
                assert columns.last_read[number] == days[-1]
            assert columns.previous_read[number] == (days[-2] if len(days) > 1 else NEVER)
        watcher.pass_day()


@pytest.mark.parametrize("book", BOOKS)
def test_no_policy_is_cheaper_than_the_optimum(book: str) -> None:
    for history in _histories():
        large = history.with_sizes(history.sizes * 100)
        names = tuple(name for name in RULES if book != "s3" or name != "intelligent")
        question = Question(chosen(shipped(), default_classes(book)), names, shipped(), split=0.4, periods=7)
        steps: list[int] = []
        found = compare(large, question, progress=steps.append)
        assert sum(steps) == steps_of(question, large)
        assert set(found.outcomes) == set(names)
        assert sum(found.optimum_course) == pytest.approx(found.optimum)
        for outcome in found.outcomes.values():
            assert outcome.ratio >= 1 - 1e-12
            assert sum(outcome.reasons.values()) == len(outcome.moves)
            assert len(outcome.course) == 7
            assert sum(outcome.course) == pytest.approx(outcome.bill.total)
            sheet = cost_sheet(found.classes, large.sizes)
            assert outcome.bill.total == bill(large, outcome.moves, sheet, found.first_day).total
        assert found.outcomes["stay"].bill.total == found.outcomes["stay"].bill.storage + (
            found.outcomes["stay"].bill.requests
        )


def test_intelligent_brings_its_class_on_aws_only() -> None:
    history = next(_histories())
    for book, brings in (("s3", True), ("r2", False)):
        question = Question(chosen(shipped(), default_classes(book)), ("intelligent",), shipped())
        assert (compare(history, question).classes[-1].name == "s3.intelligent") is brings


def test_policies_by_name() -> None:
    assert policy_names("all") == tuple(RULES)
    assert policy_names("idle, age,idle") == ("idle", "age")
    for wrong in ("", "lru", "all,idle"):
        with pytest.raises(InvalidInputError, match="there is no policy"):
            policy_names(wrong)
