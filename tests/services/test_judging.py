"""What was fetched ahead is judged by reads that were counted anyway; what loses switches itself off."""

import pytest
import structlog

from thermocline.domain.units import Seconds
from thermocline.services.judging import (
    FEWEST_TO_STOP,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_OUTSTANDING,
    SAMPLE,
    Judge,
    Mode,
)
from thermocline.services.tracking import AccessTracker, ReadKind
from thermocline.testing.clock import ManualClock

WINDOW = Seconds(600.0)
COST = Seconds(0.05)


class Bench:
    """A judge over a tracker, as the flush connects them."""

    def __init__(self, wait_weight: float = 5.0) -> None:
        self.clock = ManualClock()
        self.tracker = AccessTracker(10**6)
        self.judge = Judge(self.clock, window=WINDOW, wait_weight=wait_weight, counted=self.tracker.counted)

    @property
    def mode(self) -> Mode:
        return self.judge.mode

    def flush(self) -> None:
        self.judge.look_through(self.tracker.drain())

    def fetch(self, name: str, *, read: ReadKind | None = None) -> None:
        self.judge.note_fetched(name, 10, COST)
        if read is not None:
            self.tracker.note(name, read)

    def lose(self, count: int, label: str) -> None:
        for number in range(count):
            self.fetch(f"{label}/{number}")
        self.clock.advance(WINDOW)
        self.flush()

    def win(self, count: int, label: str) -> None:
        for number in range(count):
            self.fetch(f"{label}/{number}", read=ReadKind.MEMORY)
        self.flush()


@pytest.mark.parametrize(
    ("read", "used"), [(ReadKind.MEMORY, True), (ReadKind.REDIS, True), (ReadKind.STORAGE, False), (None, False)]
)
def test_read_in_time_from_a_cache_is_used_all_else_is_wasted(read: ReadKind | None, *, used: bool) -> None:
    bench = Bench()
    bench.fetch("a", read=read)
    bench.flush()
    assert bench.judge.outstanding == (read is None)
    bench.clock.advance(WINDOW)
    bench.flush()
    judge = bench.judge
    assert (judge.fetched, judge.used, judge.wasted) == (1, int(used), int(not used))
    assert (judge.fetched_bytes, judge.used_bytes, judge.wasted_bytes) == (10, 10 * used, 10 * (not used))
    assert judge.precision == float(used)
    assert judge.outstanding == 0


def test_reads_from_before_count_neither_way() -> None:
    bench = Bench()
    bench.tracker.note("a", ReadKind.MEMORY)
    bench.tracker.note("a", ReadKind.STORAGE)
    bench.fetch("a")
    bench.flush()
    assert bench.judge.outstanding == 1
    bench.tracker.note("a", ReadKind.MEMORY)
    bench.flush()
    assert bench.judge.used == 1


def test_counts_that_come_again_are_not_counted_twice() -> None:
    bench = Bench()
    bench.tracker.note("a", ReadKind.MEMORY)
    bench.fetch("a")
    counts = bench.tracker.drain()
    bench.judge.look_through(counts)
    bench.tracker.put_back(counts)
    bench.judge.take_back(counts)
    bench.flush()
    assert (bench.judge.used, bench.judge.outstanding) == (0, 1)


def test_too_late_is_wasted() -> None:
    bench = Bench()
    bench.fetch("a")
    bench.clock.advance(WINDOW)
    bench.flush()
    bench.tracker.note("a", ReadKind.MEMORY)
    bench.flush()
    assert (bench.judge.used, bench.judge.wasted) == (0, 1)


def test_what_loses_switches_itself_off_and_says_so() -> None:
    bench = Bench()
    with structlog.testing.capture_logs() as logs:
        bench.lose(FEWEST_TO_STOP - 1, "a")
        assert bench.mode.value == "on", "few prove nothing"
        bench.lose(1, "b")
    assert bench.mode is Mode.OFF
    assert not bench.judge.may_prefetch()
    (told,) = logs
    assert told["event"] == "prefetching_switched_off"
    assert (told["precision"], told["wasted_bytes"]) == (0.0, 10 * FEWEST_TO_STOP)
    assert told["tries_again_in_seconds"] == FIRST_PAUSE


@pytest.mark.parametrize(("wait_weight", "mode"), [(5.0, Mode.ON), (3.0, Mode.OFF)])
def test_what_a_hit_is_worth_decides(wait_weight: float, mode: Mode) -> None:
    """One in four is used: that pays if a spared wait is worth five fetches, not if it is worth three."""
    bench = Bench(wait_weight)
    for turn in range(40):
        bench.win(1, f"w{turn}")
        bench.lose(3, f"l{turn}")
        if bench.mode is Mode.OFF:
            break
    assert bench.mode is mode


def test_near_the_border_nothing_changes() -> None:
    """A fifth is used, and a hit is worth five: neither on nor off by chance."""
    bench = Bench(5.0)
    for turn in range(200):
        bench.win(1, f"w{turn}")
        bench.lose(4, f"l{turn}")
    assert bench.judge.switched_off == 0


def test_it_tries_again_on_a_small_sample_and_resumes_if_that_wins() -> None:
    bench = Bench()
    bench.lose(FEWEST_TO_STOP, "a")
    bench.clock.advance(FIRST_PAUSE - 1)
    assert not bench.judge.may_prefetch()
    bench.clock.advance(1)
    assert bench.judge.may_prefetch()
    assert bench.mode.value == "trying"
    for number in range(SAMPLE):
        assert bench.judge.may_prefetch()
        bench.fetch(f"s/{number}", read=ReadKind.MEMORY)
    assert not bench.judge.may_prefetch(), "the sample is small"
    bench.flush()
    assert bench.mode is Mode.ON
    assert bench.judge.may_prefetch()


def test_the_pause_doubles_as_long_as_it_loses() -> None:
    bench = Bench()
    bench.lose(FEWEST_TO_STOP, "a")
    pause = FIRST_PAUSE
    for turn in range(12):
        bench.clock.advance(pause - 1)
        assert not bench.judge.may_prefetch()
        bench.clock.advance(1)
        assert bench.judge.may_prefetch()
        bench.lose(SAMPLE, f"t{turn}")
        assert bench.mode is Mode.OFF
        pause = Seconds(min(pause * 2, LONGEST_PAUSE))
    assert pause == LONGEST_PAUSE
    assert bench.judge.switched_off == 13


def test_a_sample_of_which_some_was_erased_is_filled_up() -> None:
    bench = Bench()
    bench.lose(FEWEST_TO_STOP, "a")
    bench.clock.advance(FIRST_PAUSE)
    assert bench.judge.may_prefetch()
    for number in range(SAMPLE):
        bench.fetch(f"s/{number}")
    bench.judge.forget("s/0")
    bench.judge.forget("never")
    assert bench.judge.may_prefetch()


def test_what_waits_for_its_judgement_is_bounded() -> None:
    bench = Bench()
    for number in range(MOST_OUTSTANDING):
        assert bench.judge.may_prefetch()
        bench.fetch(f"{number}")
    assert not bench.judge.may_prefetch()
