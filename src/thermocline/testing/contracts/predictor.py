"""Laws of `Predictor`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from thermocline.domain.units import MICROS_PER_SECOND, Seconds, Timestamp, later
from thermocline.ports.predictor import Predictor
from thermocline.testing.clock import START

MOST = 1000
SECRET_NAME = "session-of-a-person"  # noqa: S105 - a name to look for


@dataclass
class PredictorHarness:
    """Fresh predictors, and after how long a session has ended."""

    make: Callable[[], Predictor]
    session_idle: Seconds
    half_life: Seconds


class PredictorContract:
    """Laws of `Predictor`. Subclasses provide `harness`."""

    def test_nothing_is_known_of_what_was_never_read(self, harness: PredictorHarness) -> None:
        """What is unknown predicts nothing; so does what was read alone."""
        predictor = harness.make()
        assert predictor.predict("a", limit=5) == []
        read(predictor, ["a"], "s")
        assert predictor.predict("a", limit=5) == []

    def test_what_is_read_together_is_predicted_the_most_often_first(self, harness: PredictorHarness) -> None:
        """Probabilities are in [0, 1], descending; nothing predicts itself, and no more than `limit` come."""
        predictor = harness.make()
        for number in range(30):
            read(predictor, ["a", "b", *(["c"] if number % 3 == 0 else []), f"once/{number}"], f"s{number}")
        found = predictor.predict("a", limit=2)
        assert [prediction.content_id for prediction in found] == ["b", "c"]
        chances = [prediction.access_probability for prediction in predictor.predict("a", limit=20)]
        assert chances == sorted(chances, reverse=True)
        assert all(0 <= chance <= 1 for chance in chances)
        assert "a" not in names(predictor, "a")

    def test_few_observations_prove_little(self, harness: PredictorHarness) -> None:
        """One session never makes a prediction certain; many do so the more."""
        predictor = harness.make()
        read(predictor, ["a", "b"], "s")
        once = predictor.predict("a", limit=1)[0].access_probability
        for number in range(100):
            read(predictor, ["a", "b"], f"t{number}")
        assert once < 0.5 < predictor.predict("a", limit=1)[0].access_probability

    def test_sessions_do_not_mix(self, harness: PredictorHarness) -> None:
        """Reads of two sessions at the same time were not read together."""
        predictor = harness.make()
        for content_id, session in (("a", "s"), ("x", "t"), ("b", "s"), ("y", "t")):
            predictor.note(content_id, session, START)
        learn_all(predictor)
        assert (names(predictor, "a"), names(predictor, "x")) == (["b"], ["y"])

    def test_a_session_ends_by_silence(self, harness: PredictorHarness) -> None:
        """What is read after a long silence belongs to a new session, and only what has ended is learned."""
        predictor = harness.make()
        predictor.note("a", "s", START)
        predictor.note("b", "s", START)
        assert predictor.learn(START, most=MOST) == 0
        after = later(START, Seconds(harness.session_idle + 1))
        predictor.note("z", "s", after)
        assert predictor.learn(after, most=MOST) == 1
        assert names(predictor, "a") == ["b"]
        learn_all(predictor)
        assert names(predictor, "z") == []

    def test_times_may_step_back(self, harness: PredictorHarness) -> None:
        """A clock that was set back breaks nothing."""
        predictor = harness.make()
        predictor.note("a", "s", START)
        predictor.note("b", "s", Timestamp(START - 3600 * MICROS_PER_SECOND))
        learn_all(predictor)
        assert names(predictor, "a") == ["b"]

    def test_old_observations_fade(self, harness: PredictorHarness) -> None:
        """What was read together lately counts more than what was so long ago."""
        predictor = harness.make()
        for number in range(20):
            read(predictor, ["a", "old"], f"s{number}")
        for number in range(8):
            read(predictor, ["a", "new"], f"t{number}", at=later(START, Seconds(4 * harness.half_life)))
        assert names(predictor, "a") == ["new", "old"]

    def test_what_is_forgotten_is_nowhere(self, harness: PredictorHarness) -> None:
        """Neither predicted, nor a neighbour, nor in what is saved, nor learned from sessions that go on."""
        predictor = harness.make()
        for number in range(10):
            read(predictor, ["a", "b", "gone"], f"s{number}")
        predictor.note("a", "open", START)
        predictor.note("gone", "open", START)
        assert predictor.forget("gone") > 0
        assert predictor.forget("gone") == 0
        learn_all(predictor)
        other = harness.make()
        assert other.load(predictor.save())
        for known in (predictor, other):
            assert (names(known, "gone"), names(known, "a"), names(known, "b")) == ([], ["b"], ["a"])

    def test_what_is_saved_can_be_loaded(self, harness: PredictorHarness) -> None:
        """The same is predicted after a restart, and nobody's session is named."""
        predictor, other = harness.make(), harness.make()
        for number in range(12):
            read(predictor, ["a", "b", f"c{number % 2}"], SECRET_NAME + str(number))
        state = predictor.save()
        assert SECRET_NAME.encode() not in state
        assert other.load(state)
        assert names(other, "a") == names(predictor, "a")
        first = [predicted[0].access_probability for predicted in (p.predict("a", limit=1) for p in (predictor, other))]
        assert first[1] == pytest.approx(first[0], rel=0.01)

    def test_an_empty_state_is_a_state(self, harness: PredictorHarness) -> None:
        """A predictor that learned nothing can be saved and loaded."""
        assert harness.make().load(harness.make().save())

    def test_a_damaged_or_foreign_state_is_refused(self, harness: PredictorHarness) -> None:
        """Whatever byte is wrong or missing: nothing raises, and what was known stays."""
        predictor = harness.make()
        for number in range(5):
            read(predictor, ["a", "b"], f"s{number}")
        state = predictor.save()
        wrong = [b"", b"foreign", state + b"x", *(state[:end] for end in range(0, len(state), 7))]
        for place in range(len(state)):
            flipped = bytearray(state)
            flipped[place] ^= 0x10
            wrong.append(bytes(flipped))
        for other in wrong:
            assert not predictor.load(other)
        assert names(predictor, "a") == ["b"]

    def test_what_several_learned_adds_up(self, harness: PredictorHarness) -> None:
        """Whoever loads another's state keeps its own part on top of it; what was confirmed is not added twice."""
        one, two = harness.make(), harness.make()
        for number in range(10):
            read(one, ["a", "b"], f"s{number}")
            read(two, ["a", "c"], f"t{number}")
        state = one.save()
        one.confirm()
        assert two.load(state)
        assert sorted(names(two, "a")) == ["b", "c"]
        state = two.save()
        two.confirm()
        chance = two.predict("a", limit=1)[0].access_probability
        for _ in range(3):
            assert one.load(state)
            assert two.load(state)
        assert sorted(names(one, "a")) == ["b", "c"]
        assert two.predict("a", limit=1)[0].access_probability == pytest.approx(chance, rel=0.01)

    def test_loading_afresh_drops_all_else(self, harness: PredictorHarness) -> None:
        """Nothing of what was known here is left, open sessions included."""
        predictor = harness.make()
        empty = harness.make().save()
        read(predictor, ["a", "b"], "s")
        predictor.note("a", "open", START)
        predictor.note("c", "open", START)
        assert predictor.load(empty, afresh=True)
        learn_all(predictor)
        assert names(predictor, "a") == []
        read(predictor, ["a", "b"], "s")
        assert not predictor.load(b"", afresh=True)
        assert names(predictor, "a") == []


def read(predictor: Predictor, content_ids: Sequence[str], session: str, *, at: Timestamp = START) -> None:
    """Let one session read these, and learn from it."""
    for content_id in content_ids:
        predictor.note(content_id, session, at)
    learn_all(predictor, at)


def learn_all(predictor: Predictor, at: Timestamp = START) -> None:
    """Learn from all sessions, also from those that go on."""
    while predictor.learn(at, most=MOST, everything=True):
        pass


def names(predictor: Predictor, content_id: str) -> list[str]:
    """Return the predicted ids."""
    return [prediction.content_id for prediction in predictor.predict(content_id, limit=20)]
