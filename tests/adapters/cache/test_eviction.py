"""What a full cache gives up: at least as good a choice as libcachesim's S3-FIFO, in constant time."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.cache.replays import SHAPES, TRACES, footprint, make_reads, oracle, ours, read_trace
from tests.counts import SOAK
from thermocline.adapters.cache.eviction import HITS_TO_STAY, LONGEST_TRIAL, SHORTEST_TRIAL, Evictable, TrialAndMain

MARGIN = 0.02
"""Of the issue. Measured over 5 seeds and 60,000 reads: never below by more than 0.003 by count, 0.010 by bytes."""
READS = 60_000 if SOAK else 20_000
SEEDS = range(1, 6) if SOAK else (1,)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sized", [False, True], ids=["counted", "sized"])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_many_hits_as_s3_fifo(shape: str, sized: bool, seed: int) -> None:
    reads = make_reads(shape, seed, READS, sized=sized)
    for share in (0.01, 0.1):
        capacity = round(footprint(reads) * share)
        found, expected = ours(reads, capacity), oracle(reads, capacity)
        assert found[0] >= expected[0] - MARGIN, f"by object, at {share:.0%}: {found} of {expected}"
        assert found[1] >= expected[1] - MARGIN, f"by byte, at {share:.0%}: {found} of {expected}"


@pytest.mark.thorough
@pytest.mark.parametrize("sized", [False, True], ids=["counted", "sized"])
@pytest.mark.parametrize("trace", TRACES)
def test_as_many_hits_as_s3_fifo_on_what_was_really_read(trace: str, sized: bool) -> None:
    """At 1% and 10% of the objects; by bytes too where the trace has sizes."""
    reads = read_trace(trace, sized=sized)
    if not SOAK:
        reads = reads[:100_000]
    for share in (0.01, 0.1):
        capacity = round(footprint(reads) * share)
        found, expected = ours(reads, capacity), oracle(reads, capacity)
        assert found[0] >= expected[0] - MARGIN, f"by object, at {share:.0%}: {found} of {expected}"
        assert found[1] >= expected[1] - MARGIN, f"by byte, at {share:.0%}: {found} of {expected}"


def values(count: int, cost: int = 1, start: int = 0) -> list[Evictable]:
    return [Evictable(number, cost) for number in range(start, start + count)]


def fill(eviction: TrialAndMain, capacity: int, new: Iterable[Evictable], held: set[Evictable]) -> None:
    for value in new:
        eviction.add(value)
        held.add(value)
        while sum(each.cost for each in held) > capacity:
            held.remove(eviction.give_up())


def test_a_scan_pushes_out_nothing_that_is_read_often() -> None:
    eviction, held = TrialAndMain(100), set[Evictable]()
    often = values(50)
    fill(eviction, 100, often, held)
    for _ in range(20):
        for value in often:
            value.hits += HITS_TO_STAY
        fill(eviction, 100, values(1000, start=1000), held)
    assert held >= set(often)


def test_what_comes_back_soon_comes_to_stay() -> None:
    eviction, held = TrialAndMain(100), set[Evictable]()
    fill(eviction, 100, values(100), held)
    victim = eviction.give_up()
    held.remove(victim)
    again = Evictable(victim.key_hash, 1)
    fill(eviction, 100, [again], held)
    # No hit has it had yet, and outlives what goes through the trial.
    fill(eviction, 100, values(60, start=1000), held)
    assert again in held


def test_what_was_liked_and_removed_comes_back_as_liked() -> None:
    for hits, stays in ((0, False), (HITS_TO_STAY, True)):
        eviction, held = TrialAndMain(100), set[Evictable]()
        fill(eviction, 100, values(200, start=1000), held)
        value = Evictable(7, 1)
        fill(eviction, 100, [value], held)
        value.hits += hits
        held.remove(value)
        eviction.remove(value)
        again = Evictable(7, 1)
        fill(eviction, 100, [again, *values(60, start=2000)], held)
        assert (again in held) == stays


def test_a_replaced_value_stands_where_the_old_one_stood() -> None:
    eviction, held = TrialAndMain(100), set[Evictable]()
    old = Evictable(7, 1)
    fill(eviction, 100, [*values(200, start=1000), old], held)
    old.hits += HITS_TO_STAY
    new = Evictable(7, 5)
    held.remove(old)
    held.add(new)
    eviction.replace(old, new)
    assert new.hits == 0
    fill(eviction, 100, values(80, start=2000), held)
    assert new in held, "the hits of the old one count"


def test_giving_up_takes_constant_time() -> None:
    eviction = TrialAndMain(1000)
    takes = 0
    for queue in (eviction._trial, eviction._main):
        take = queue.take

        def counting(value: Evictable, take: object = take) -> None:
            nonlocal takes
            takes += 1
            take(value)  # type: ignore[operator]

        queue.take = counting  # type: ignore[method-assign]
    held, used, added = dict[int, Evictable](), 0, 0
    for number, size in make_reads("zipf 0.8", 1, 20_000, sized=False):
        if number in held:
            held[number].hits += 1
            continue
        held[number] = Evictable(number, size)
        eviction.add(held[number])
        added += 1
        used += size
        while used > 1000:
            victim = eviction.give_up()
            del held[victim.key_hash]
            used -= victim.cost
    # Each add pays for a turn on trial and three in the main queue at most, each hit for one turn.
    assert takes <= 4 * added


@given(st.data())
def test_every_value_is_given_up_once_and_the_trial_keeps_its_bounds(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(1, 50))
    eviction = TrialAndMain(capacity)
    held: dict[int, Evictable] = {}
    for step in data.draw(
        st.lists(st.sampled_from(("add", "hit", "remove", "replace", "give up", "clear")), max_size=80)
    ):
        key = data.draw(st.integers(0, 30))
        value = held.get(key)
        if step == "add" and value is None:
            held[key] = Evictable(key, data.draw(st.integers(1, capacity)))
            eviction.add(held[key])
        elif step == "hit" and value is not None:
            value.hits += data.draw(st.integers(1, 5))
        elif step == "remove" and value is not None:
            eviction.remove(held.pop(key))
        elif step == "replace" and value is not None:
            held[key] = Evictable(key, data.draw(st.integers(1, capacity)))
            eviction.replace(value, held[key])
        elif step == "give up" and held:
            victim = eviction.give_up()
            assert held.pop(victim.key_hash) is victim
        elif step == "clear":
            eviction.clear()
            held.clear()
        assert eviction._trial.cost + eviction._main.cost == sum(each.cost for each in held.values())
        assert capacity * SHORTEST_TRIAL <= eviction._trial_share <= capacity * LONGEST_TRIAL
    while held:
        del held[eviction.give_up().key_hash]
    assert not eviction._trial
    assert not eviction._main


def test_what_is_remembered_is_bounded() -> None:
    eviction, held = TrialAndMain(100), set[Evictable]()
    fill(eviction, 100, values(10_000), held)
    for value in values(10_000, start=50_000):
        eviction.add(value)
        value.hits += 5
        eviction.remove(value)
    assert len(eviction._left_trial._when) <= 250
    assert len(eviction._left_main._when) <= 100
