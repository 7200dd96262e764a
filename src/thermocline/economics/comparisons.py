"""Policies side by side on one history: what each would have cost, against the optimum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from thermocline.domain.errors import InvalidInputError
from thermocline.domain.units import Usd
from thermocline.economics.bills import Bill, Moves, bill
from thermocline.economics.courses import course, points_of
from thermocline.economics.figures import ClassPrices
from thermocline.economics.histories import History
from thermocline.economics.optimum import Optimum, optimum
from thermocline.economics.policies.policy import Policy, Setting
from thermocline.economics.price_books import UnverifiedPrice, unverified
from thermocline.economics.replays import Replay, replay
from thermocline.economics.rules import RULES
from thermocline.economics.shadows import LEARNED
from thermocline.economics.sheets import cost_sheet
from thermocline.economics.side_by_side import Tell, side_by_side
from thermocline.economics.starts import Starts

WATCHED = "s3.intelligent"
"""The class that the policy `intelligent` uses where the first class is the same vendor's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy would have done."""

    bill: Bill
    ratio: float
    """Its cost to the optimum's; 1 where both are nothing."""
    moves: Moves
    reasons: Mapping[str, int]
    """Moves by their reason."""
    course: Sequence[float]
    """USD of each period, if asked for."""
    notes: Sequence[str]
    """What the policy says of how it came to be."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All policies, and the least that there is to pay."""

    classes: tuple[ClassPrices, ...]
    """Those that moves name by their places."""
    first_day: int
    """The first day that counts, from that of the history on."""
    optimum: Usd
    optimum_bill: Bill | None
    """What it is made of, if periods were asked for."""
    optimum_course: Sequence[float]
    """USD of each period, if asked for."""
    outcomes: Mapping[str, Outcome]
    unverified: Sequence[UnverifiedPrice]
    """Prices that this rests on and that nobody read in the vendor's page."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared."""

    classes: tuple[ClassPrices, ...]
    """Those that policies and the optimum may use; everything begins in the first."""
    policies: tuple[str, ...]
    prices: Mapping[str, ClassPrices]
    """All that there are, for the policy that brings its own class."""
    split: float = 0.0
    delayed_read: Usd = Usd(0.0)
    periods: int = 0
    """In how many parts the time is told one by one."""


def policy_names(text: str) -> tuple[str, ...]:
    """Return the policies that `all` or `idle,age` names. Raises `InvalidInputError`."""
    if text == "all":
        return tuple(RULES)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise InvalidInputError(f"there is no policy {unknown[0]!r}; there are all, {', '.join(RULES)}")
    return names


def steps_of(question: Question, history: History) -> int:
    """Return how many steps `compare` tells its progress: each day of each policy, and each object of the optimum."""
    return len(question.policies) * (history.days - history.split_day(question.split)) + history.object_count


def compare(
    history: History,
    question: Question,
    starts: Starts | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Replay the history under each policy, from the split on, and solve it for the optimum.

    Objects begin where `starts` says, without it in the first class. Policies that learn are given what lies before
    the split, and nothing else. Raises `InvalidInputError`.
    """
    start = history.split_day(question.split)
    own = cost_sheet(question.classes, history.sizes, delayed_read=question.delayed_read)
    wide_classes = _with_watched(question)
    wide = own
    if wide_classes != question.classes:
        wide = cost_sheet(wide_classes, history.sizes, delayed_read=question.delayed_read)
    points = points_of(start, history.days, question.periods)

    past = history.before(start)

    def solve(tell: Tell) -> tuple[Optimum, Bill | None, Sequence[float]]:
        least = optimum(history, own, start, starts, with_moves=bool(points), progress=tell)
        if least.moves is None:
            return least, None, []
        paid = bill(history, least.moves, own, start, starts)
        return least, paid, course(history, least.moves, own, start, points, starts)

    def play(name: str, tell: Tell) -> tuple[Policy, Replay, Bill, Sequence[float]]:
        policy = RULES[name](Setting(question.classes, wide, past, start))
        replayed = replay(history, policy, start, starts, progress=tell)
        paid = bill(history, replayed.moves, wide, start, starts)
        return policy, replayed, paid, course(history, replayed.moves, wide, start, points, starts)

    # What learns takes longest, and tells nothing while it does: it comes first, in the thread that can be interrupted.
    longest_first = sorted(question.policies, key=lambda name: name != LEARNED)
    played, (least, least_bill, least_course) = side_by_side(
        [partial(play, name) for name in longest_first], solve, progress
    )
    by_name = dict(zip(longest_first, played, strict=True))
    outcomes = {}
    for name in question.policies:
        policy, replayed, paid, periods = by_name[name]
        ratio = paid.total / least.total if least.total else 1.0
        outcomes[name] = Outcome(paid, ratio, replayed.moves, replayed.reasons, periods, policy.notes)
    return Comparison(
        wide_classes, start, Usd(least.total), least_bill, least_course, outcomes, unverified(wide_classes)
    )


def _with_watched(question: Question) -> tuple[ClassPrices, ...]:
    names = [prices.name for prices in question.classes]
    watched = question.prices[WATCHED]
    if "intelligent" not in question.policies or WATCHED in names or question.classes[0].vendor != watched.vendor:
        return question.classes
    return (*question.classes, watched)
