"""The co-access predictor keeps the laws of predictors, in the memory that it was given."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import SOAK
from thermocline.adapters.predictors import co_access_state
from thermocline.adapters.predictors.co_access import CoAccessPredictor
from thermocline.adapters.predictors.co_access_state import MOST_STATE_BYTES, decode, encode
from thermocline.adapters.predictors.co_access_table import FEWEST_SLOTS, LONGEST_STRETCH, CoAccessTable
from thermocline.domain.units import Bytes, Seconds, later
from thermocline.testing.clock import START
from thermocline.testing.contracts.predictor import PredictorContract, PredictorHarness, learn_all, names, read

IDLE, HALF_LIFE, MEMORY = Seconds(1800.0), Seconds(86_400.0), Bytes(4 * 2**20)


def predictor(memory: Bytes = MEMORY) -> CoAccessPredictor:
    return CoAccessPredictor(memory=memory, half_life=HALF_LIFE, session_idle=IDLE)


class TestCoAccessPredictor(PredictorContract):
    @pytest.fixture
    def harness(self) -> PredictorHarness:
        return PredictorHarness(predictor, IDLE, HALF_LIFE)


def test_memory_stays_within_its_bound_and_what_is_read_often_stays() -> None:
    memory = Bytes(2**20)
    small = predictor(memory)
    dice = random.Random(1)
    for number in range(20_000 if SOAK else 4000):
        rare = [f"rare/{dice.randrange(10**9)}/{'ü' * 20}" for _ in range(4)]
        for content_id in ["often/a", "often/b", *rare]:
            small.note(content_id, f"s{number}", START)
        if number % 50 == 0:
            learn_all(small)
        assert small.used_bytes <= memory
    learn_all(small)
    assert small._table.given_up > 0
    assert names(small, "often/a")[0] == "often/b"
    assert len(small.save()) <= MOST_STATE_BYTES


def test_rows_are_thinned_out_before_contents_are_given_up() -> None:
    table = CoAccessTable(Bytes(2**20), HALF_LIFE)
    slots = [table.slots]
    for number in range(2000):
        table.learn([f"{number}/{place}" for place in range(4)], START)
        if table.slots != slots[-1]:
            slots.append(table.slots)
            assert table.given_up == 0
        assert table.used_bytes <= table.memory
    assert slots[-1] == FEWEST_SLOTS
    assert table.given_up > 0


def test_a_session_without_an_end_is_learned_in_stretches() -> None:
    endless = predictor()
    for number in range(10_000):
        endless.note(f"{number}", "crawler", START)
    assert endless._session_bytes < 10_000
    assert endless._ended_bytes <= MEMORY // 8
    learn_all(endless)
    assert endless.learned + endless.dropped == 10_000


def test_what_is_not_kept_is_bounded() -> None:
    busy = predictor(Bytes(2**20))
    for number in range(5000):
        read(busy, ["a", "b", "c"], f"s{number}")
        assert busy._unkept_bytes <= 2**20 // 8
    state = busy.save()
    busy.confirm()
    assert busy._unkept_bytes == 0
    assert busy.load(state)


def test_confirming_leaves_what_came_after_the_save() -> None:
    one = predictor()
    read(one, ["a", "b"], "s")
    state = one.save()
    read(one, ["x", "y"], "t")
    one.confirm()
    assert one.load(state)
    assert (names(one, "a"), names(one, "x")) == (["b"], ["y"])


def test_weights_are_scaled_down_in_time() -> None:
    table = CoAccessTable(MEMORY, HALF_LIFE)
    at = START
    for _ in range(100):
        table.learn(["a", "b"], at)
        at = later(at, Seconds(HALF_LIFE * 13))
    assert float(table.weights.max()) < 2.0**60
    assert 0 < table.likely("a", 1)[0][1] <= 1
    table.learn(["a", "b"], later(at, Seconds(HALF_LIFE * 10**6)))
    assert 0 < table.likely("a", 1)[0][1] <= 1


def test_what_does_not_fit_into_a_state_is_what_is_read_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_access_state, "MOST_STATE_BYTES", 20_000)
    table = CoAccessTable(MEMORY, HALF_LIFE)
    for number in range(300):
        table.learn([f"{number}", f"{number}/b"], START)
        table.learn(["a", "b"], START)
    state = encode(table)
    assert len(state) <= 20_000
    loaded = decode(state, MEMORY, HALF_LIFE)
    assert loaded is not None
    assert 50 < len(loaded.rows) < 400
    assert loaded.likely("a", 1)[0][0] == "b"


def test_a_state_larger_than_the_memory_is_loaded_in_part() -> None:
    table = CoAccessTable(MEMORY, HALF_LIFE)
    for number in range(4000):
        table.learn([f"{number}", f"{number}/b"], START)
        table.learn(["a", "b"], START)
    small = decode(encode(table), Bytes(2**20), HALF_LIFE)
    assert small is not None
    assert small.used_bytes <= 2**20
    assert small.likely("a", 1)[0][0] == "b"


@pytest.mark.parametrize("wrong", [["a", "a"], [], [str(number) for number in range(LONGEST_STRETCH + 1)]])
def test_only_stretches_are_learned(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="a stretch has"):
        CoAccessTable(MEMORY, HALF_LIFE).learn(wrong, START)


SESSIONS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True), min_size=1, max_size=30)


@given(sessions=SESSIONS, forgotten=st.sampled_from("abcdefgh"))
def test_pairs_are_weighed_as_by_counting_all_of_them(sessions: list[list[str]], forgotten: str) -> None:
    table = CoAccessTable(MEMORY, HALF_LIFE)
    pairs: dict[tuple[str, str], float] = {}
    sums: dict[str, float] = {}
    stretches = 0.0
    shrinkage = 5 * sum(len(session) ** -0.5 for session in sessions) / len(sessions)
    for session in sessions:
        table.learn(session, START)
        weight = len(session) ** -0.5
        stretches += weight
        for content_id in session:
            sums[content_id] = sums.get(content_id, 0) + weight
            for other in set(session) - {content_id}:
                pairs[content_id, other] = pairs.get((content_id, other), 0) + weight
    for content_id, total in sums.items():
        expected = {
            other: (weight + shrinkage * sums[other] / (stretches + shrinkage)) / (total + shrinkage)
            for (mine, other), weight in pairs.items()
            if mine == content_id
        }
        assert dict(table.likely(content_id, 20)) == pytest.approx(expected, rel=1e-3)
    table.forget(forgotten)
    for content_id in sums:
        assert forgotten not in dict(table.likely(content_id, 20))


@given(junk=st.binary(max_size=300))
def test_junk_is_no_state(junk: bytes) -> None:
    assert decode(junk, MEMORY, HALF_LIFE) is None
    assert decode(co_access_state.MAGIC + junk, MEMORY, HALF_LIFE) is None


@given(
    body=st.binary(max_size=300),
    head=st.sampled_from([b"", b'{"contents":1,"slots":1,"latest":0,"stretches":0,"observed":0}\n']),
)
def test_a_well_framed_state_of_nonsense_is_refused(body: bytes, head: bytes) -> None:
    import xxhash
    import zstandard

    frame = zstandard.ZstdCompressor().compress(head + body)
    state = co_access_state.MAGIC + xxhash.xxh3_64_digest(frame) + frame
    decoded = decode(state, MEMORY, HALF_LIFE)
    assert decoded is None or len(decoded.rows) == 1
