"""`learned` learns from the past alone, decides by look-up, and steps back where the past does not bear it out."""

from dataclasses import replace

import numpy as np
import pytest

from tests.counts import SOAK
from tests.economics.workloads import Workload, constant, never_again, on_off
from thermocline.domain.errors import InvalidInputError
from thermocline.economics.bills import bill, no_moves
from thermocline.economics.columns import Watcher
from thermocline.economics.histories import History
from thermocline.economics.learning.chains import HORIZON_DAYS, Chain, solve
from thermocline.economics.learning.models import LARGEST_BYTES, Model
from thermocline.economics.learning.observed import observed
from thermocline.economics.learning.terms import STEP_DAYS, Terms
from thermocline.economics.learning.training import train
from thermocline.economics.learning.trees import Sample, Tree, grow
from thermocline.economics.policies.policy import Reason, Setting
from thermocline.economics.price_books import chosen, default_classes, shipped, with_overrides
from thermocline.economics.replays import replay
from thermocline.economics.rules import RULES
from thermocline.economics.shadows import by_model
from thermocline.economics.sheets import cost_sheet

S3 = default_classes("s3")
WIDE = (*S3, "s3.intelligent")


@pytest.fixture(scope="module")
def history() -> History:
    """Objects that are in use for some days, and then not for long: there is something to learn."""
    return Workload(on_off, objects=400 if SOAK else 150, days=360).history(3)


@pytest.fixture(scope="module")
def model(history: History) -> Model:
    return train(history.before(180), chosen(shipped(), S3))


def _setting(history: History, names: tuple[str, ...], start: int) -> Setting:
    classes = chosen(shipped(), names)
    return Setting(classes, cost_sheet(classes, history.sizes), history.before(start), start)


def _usd(history: History, name: str, names: tuple[str, ...], start: int) -> float:
    setting = _setting(history, names, start)
    return bill(history, replay(history, RULES[name](setting), start).moves, setting.sheet, start).total


def _steady(objects: int, days: int, reads: np.ndarray) -> History:
    """Objects of 100 MB that are all seen on day 0 and read where `reads` says."""
    reads = reads.copy()
    reads[:, 0] = True
    number, day = np.nonzero(reads)
    return History(
        19_000, days, np.full(objects, 10**8, np.int64), np.zeros(objects, np.int32),
        number.astype(np.int32), day.astype(np.int32), np.ones(len(number), np.int64),
    )  # fmt: skip


# --- what it is made of ---


def _walked(tree: Tree, row: np.ndarray, silence: int) -> int:
    node = silence
    while tree.features[node] >= 0:
        right = int(tree.rights[node])
        node = right if row[tree.features[node]] > tree.thresholds[node] else right - 1
    return int(tree.states[node])


def test_a_tree_tells_apart_what_differs() -> None:
    rng = np.random.default_rng(1)
    features = rng.random((3, 4000)).astype(np.float32)
    silences = rng.integers(0, 2, 4000)
    truth = (features[1] > 0.5) * 1.0 + (features[2] > 0.25) * 2.0 * silences
    tree = grow(Sample(features, silences, truth[None], np.ones(4000)), np.full(2, 40.0), least_gain=1e-3)
    states = tree.reach(features, silences)
    assert states.tolist() == [_walked(tree, features[:, row], int(silences[row])) for row in range(4000)]
    assert np.bincount(states, minlength=tree.count).min() >= 40
    spread = sum(truth[states == state].var() * (states == state).sum() for state in range(tree.count))
    assert spread < 0.05 * truth.var() * 4000
    assert (tree.silences[states] == silences).all()


def test_values_are_those_of_one_state_at_a_time() -> None:
    chain = Chain(np.array([[0.3, 0.7, 0.0], [0.1, 0.5, 0.4], [0.02, 0.0, 0.98]]), np.array([0, 1, 4], np.int8))
    sheet = cost_sheet(chosen(shipped(), ("s3.standard", "s3.standard_ia", "s3.intelligent")), np.array([10**7]))
    values = solve(chain, Terms.of(sheet, chain.silences))
    worth: dict[tuple[int, int, int], float] = {}
    steps = (1, 30 // STEP_DAYS + 1, 90 // STEP_DAYS + 1)
    staying, going = {}, {}
    for _ in range(HORIZON_DAYS):
        for state in range(3):
            for place in range(3):
                for step in range(steps[place]):
                    staying[state, place, step] = 0.0
                    for after in range(3):
                        chance = chain.transitions[state, after]
                        stage = 0
                        if place == 2 and after != 0 and state == 2:  # silent for 30 days, or for as long in class
                            stage = int(step * STEP_DAYS >= 30)
                        day = sheet.daily(place)[stage, 0] + (sheet.read[place][0] if after == 0 else 0.0)
                        onward = min(step + 1, steps[place] - 1)
                        later = worth.get((after, place, step), 0.0) * (1 - 1 / STEP_DAYS)
                        later += worth.get((after, place, onward), 0.0) / STEP_DAYS
                        staying[state, place, step] += chance * (day + later)
        now = {}
        for (state, place, step), stays in staying.items():
            for target in range(3):
                dearer = sheet.classes[target].value("storage") > sheet.classes[place].value("storage")
                price = sheet.entering[target][0] + staying[state, target, 0]
                if sheet.is_up[place, target] and state > 0:
                    price += sheet.leaving[place][0]
                going[place, target, state] = np.inf if target == place or (dearer and state > 0) else price
            rest = max(sheet.minimum_days[place] - STEP_DAYS * step, 0) * sheet.daily(place)[0, 0]
            now[state, place, step] = min(stays, rest + min(going[place, target, state] for target in range(3)))
        worth = now
    for (state, place, step), usd in staying.items():
        assert values.staying[place][state, step, 0] == pytest.approx(usd)
    for (place, target, state), usd in going.items():
        assert values.going[place, target, state, 0] == pytest.approx(usd)


# --- a model ---


def test_a_model_can_be_kept(model: Model, history: History) -> None:
    data = model.to_bytes()
    assert len(data) < LARGEST_BYTES
    again = Model.from_bytes(data)
    watcher = Watcher(history, 250)
    for mine, kept in zip(_told(model, watcher), _told(again, watcher), strict=True):
        np.testing.assert_array_equal(mine, kept)


def _told(model: Model, watcher: Watcher) -> tuple[np.ndarray, np.ndarray]:
    advice = model.advise(observed(watcher.day, watcher.columns))
    return advice.places, advice.saving


def test_a_day_or_two_do_not_tell_what_follows_on_a_silence_as_long_as_the_past() -> None:
    reads = np.zeros((900, 91), bool)
    reads[:300] = np.random.default_rng(5).random((300, 91)) < 0.1
    reads[300:330, 90] = True  # of 600 that nobody read for 90 days
    history = _steady(900, 91, reads)
    advice = train(history, chosen(shipped(), S3)).advise(observed(91, Watcher(history, 91).columns))
    assert (advice.places[330:] == S3.index("s3.glacier_ir")).all()


@pytest.mark.thorough
def test_the_same_past_the_same_model(history: History) -> None:
    classes = chosen(shipped(), S3)
    assert train(history.before(90), classes).to_bytes() == train(history.before(90), classes).to_bytes()


def test_what_is_no_model_is_refused(model: Model) -> None:
    with pytest.raises(InvalidInputError, match="train it again"):
        Model.from_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(InvalidInputError, match="train it again"):
        Model.from_bytes(model.to_bytes()[:-40])
    with pytest.raises(InvalidInputError, match="fit together"):
        Model.from_bytes(replace(model, steps=model.steps + 1).to_bytes())
    with pytest.raises(InvalidInputError, match="fit together"):
        Model.from_bytes(replace(model, targets=model.targets + np.int8(9)).to_bytes())


# --- decisions ---


@pytest.mark.thorough
def test_what_was_silent_never_goes_to_dearer_storage(history: History) -> None:
    setting = _setting(history, WIDE, 180)
    # Without the shadow, which may trust another policy.
    policy = by_model(train(setting.past, setting.classes), setting.classes)
    watcher = Watcher(history, 180)
    prices = np.array([each.value("storage") for each in setting.classes])
    went_up = went_down = 0
    for day in range(180, history.days):
        columns = watcher.columns
        decided = policy.decide(day, columns)
        there = columns.first_day < day
        up = there & (prices[decided.places] > prices[columns.places])
        assert (columns.idle(day)[up] == 1).all()
        assert (decided.expected_saving[decided.places != columns.places] > 0).all()
        assert (decided.expected_saving[decided.places == columns.places] == 0).all()
        went_up += int(up.sum())
        went_down += int((there & (decided.places != columns.places) & ~up).sum())
        moved = there & (decided.places != columns.places)
        columns.places[moved], columns.since[moved] = decided.places[moved], day
        np.testing.assert_array_equal(policy.decide(day, columns).places[there], columns.places[there])
        watcher.pass_day()
    assert went_down > 100
    assert went_up + went_down > 100


@pytest.mark.thorough
def test_a_class_that_is_dearer_in_everything_is_never_chosen(history: History) -> None:
    prices = with_overrides({"s3.standard_ia": {"storage": 0.0231}})
    classes = chosen(prices, S3)
    setting = Setting(classes, cost_sheet(classes, history.sizes), history.before(180), 180)
    moves = replay(history, RULES["learned"](setting), 180).moves
    assert len(moves)
    assert not (moves.classes == 1).any()


def test_storage_that_costs_nothing_elsewhere_takes_all_and_dear_moves_take_none(history: History) -> None:
    for figures, share in (({"storage": 0.0, "retrieval": 0.0}, 0.9), ({"transition": 1e5}, 0.0)):
        classes = chosen(with_overrides({"s3.glacier_ir": figures}), ("s3.standard", "s3.glacier_ir"))
        trained = train(history.before(180), classes)
        watcher = Watcher(history, 180)
        seen = watcher.columns.first_day < 180
        places = trained.advise(observed(180, watcher.columns)).places[seen & (history.sizes > 10**6)]
        assert share <= (places == 1).mean() <= share + 0.1


# --- what it is worth, and when it steps back ---


@pytest.mark.thorough
def test_it_beats_the_rules_on_what_is_never_read_again() -> None:
    history = Workload(never_again, objects=500 if SOAK else 300, days=240).history(5)
    costs = {name: _usd(history, name, S3, 120) for name in ("learned", "idle", "stay", "velocity", "age")}
    assert costs["learned"] == min(costs.values())


@pytest.mark.thorough
def test_where_the_vendor_watches_it_is_no_dearer_than_its_class() -> None:
    history = Workload(constant, objects=500 if SOAK else 300, days=240).history(6)
    best = min(_usd(history, name, WIDE, 120) for name in ("intelligent", "idle"))
    assert _usd(history, "learned", WIDE, 120) <= 1.02 * best


def test_a_past_that_contradicts_itself_is_not_believed() -> None:
    rng = np.random.default_rng(8)
    reads = np.zeros((200, 400), bool)
    reads[:, 120:] = rng.random((200, 280)) < 0.5  # all quiet, and then all hot
    history = _steady(200, 400, reads)
    policy = RULES["learned"](_setting(history, S3, 240))
    (note,) = policy.notes
    assert note.startswith("falls back on `")
    assert "more" in note
    watcher = Watcher(history, 240)
    decided = policy.decide(240, watcher.columns)
    assert set(decided.reasons.tolist()) == {Reason.FALLBACK}
    assert np.isnan(decided.expected_saving).all()


@pytest.mark.parametrize(
    ("objects", "days", "share", "told"),
    [(300, 4, 0.5, "2 days"), (10, 300, 0.5, "10 objects"), (1, 300, 0.5, "1 objects"), (100, 300, 0.0, "100 days")],
)
def test_thin_evidence_is_no_evidence(objects: int, days: int, share: float, told: str) -> None:
    reads = np.random.default_rng(9).random((objects, days)) < share
    history = _steady(objects, days, reads)
    policy = RULES["learned"](_setting(history, S3, days // 2))
    (note,) = policy.notes
    assert note.startswith(f"falls back on `idle`: the past has only {told}")
    idle = _usd(history, "idle", S3, days // 2)
    assert _usd(history, "learned", S3, days // 2) == idle


@pytest.mark.parametrize(
    "names",
    [
        ("s3.standard",),
        ("s3.standard", "s3.glacier", "b2", "gcs.nearline"),
        pytest.param(("s3.standard", "s3.glacier", "s3.deep_archive"), marks=pytest.mark.thorough),
        pytest.param(("azure.hot", "azure.cool", "azure.cold", "azure.archive"), marks=pytest.mark.thorough),
        pytest.param(WIDE, marks=pytest.mark.thorough),
    ],
)
def test_it_decides_among_any_classes(history: History, names: tuple[str, ...]) -> None:
    sizes = np.where(np.arange(history.object_count) % 2, 10**11, 0)
    same = history.with_sizes(sizes)
    setting = _setting(same, names, 180)
    moves = replay(same, RULES["learned"](setting), 180).moves
    paid, stays = (bill(same, made, setting.sheet, 180).total for made in (moves, no_moves()))
    assert paid <= stays * 1.05 + 1e-12
    assert (sizes[moves.objects] > 0).all()
    if len(names) == 1:
        assert not len(moves)
