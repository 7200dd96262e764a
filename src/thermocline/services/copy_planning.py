"""Planning a policy's copies within what a UTC day may spend on them, over all processes.

1. What is planned already is left out. 2. As many of the wishes as still fit are taken from the day's budget: one
guarded statement, its own commit. 3. They are planned: one transaction, the commit point of each batch. A crash
between 2 and 3, and a content that changed meanwhile, leave a part of the day's budget unspent; none is ever exceeded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from thermocline.domain.heat import day_of
from thermocline.domain.moves import PlannedMove
from thermocline.domain.units import Bytes, Usd
from thermocline.ports.clock import Clock
from thermocline.ports.moves import Moves
from thermocline.ports.planned_moves import PlannedMoves
from thermocline.ports.policy_budget import DayLimits, DaySpent, PolicyBudget

PLAN_BATCH: Final = 1000
"""Plans of one transaction."""
TRIES: Final = 5
"""How often the budget is looked at again when another process took of it meanwhile; then it is said to be spent."""


@dataclass(frozen=True, slots=True)
class CopyWish:
    """A copy that a policy wants, and that pays for itself."""

    move: PlannedMove
    size: Bytes
    cost: Usd


@dataclass(frozen=True, slots=True)
class CopyAnswer:
    """What became of a wish."""

    planned: bool
    refusal: str = ""
    """Why not, otherwise."""


ALREADY_PLANNED, CHANGED = "already_planned", "changed"
LIMIT_MOVES, LIMIT_BYTES, LIMIT_USD = "limit_moves", "limit_bytes", "limit_usd"


class CopyPlanner:
    """Plans copies for a policy."""

    def __init__(
        self, moves: Moves, planned: PlannedMoves, budget: PolicyBudget, clock: Clock, limits: DayLimits
    ) -> None:
        self._moves = moves
        self._planned = planned
        self._budget = budget
        self._clock = clock
        self._limits = limits

    async def plan(
        self, wishes: Sequence[CopyWish], *, on_batch: Callable[[], None] = lambda: None
    ) -> list[CopyAnswer]:
        """Plan what the day allows, the first wishes first; return what became of each, in their order.

        `on_batch` is called after each batch that was planned.
        """
        answers: list[CopyAnswer] = []
        for start in range(0, len(wishes), PLAN_BATCH):
            answers += await self._plan(wishes[start : start + PLAN_BATCH])
            on_batch()
        return answers

    async def _plan(self, wishes: Sequence[CopyWish]) -> list[CopyAnswer]:
        standing = await self._planned.among([wish.move.content_id for wish in wishes])
        answers: dict[int, CopyAnswer] = {}
        asked: list[int] = []
        for number, wish in enumerate(wishes):
            plan = standing.get(wish.move.content_id)
            if plan is not None and (not plan.by_policy or plan.tier is wish.move.tier):
                answers[number] = CopyAnswer(planned=False, refusal=ALREADY_PLANNED)
            else:
                asked.append(number)
        taken = await self._take(wishes, asked, answers)
        planned = set(
            await self._moves.plan([wishes[number].move for number in taken], now=self._clock.now()) if taken else ()
        )
        for number in taken:
            is_planned = wishes[number].move.content_id in planned
            answers[number] = CopyAnswer(is_planned, "" if is_planned else CHANGED)
        return [answers[number] for number in range(len(wishes))]

    async def _take(
        self, wishes: Sequence[CopyWish], asked: Sequence[int], answers: dict[int, CopyAnswer]
    ) -> list[int]:
        """Take as many as fit from the budget; return which, and note why the others do not."""
        day = day_of(self._clock.now())
        refusals: dict[int, str] = {}
        for _ in range(TRIES):
            fitting, refusals, spent = _fitting(wishes, asked, self._limits, await self._budget.spent(day))
            if not fitting or await self._budget.take(
                day, self._limits, moves=spent.moves, size=spent.size, usd=spent.usd
            ):
                break
        else:
            fitting, refusals = [], dict.fromkeys(asked, LIMIT_MOVES)
        answers |= {number: CopyAnswer(planned=False, refusal=why) for number, why in refusals.items()}
        return fitting


def _fitting(
    wishes: Sequence[CopyWish], asked: Sequence[int], limits: DayLimits, spent: DaySpent
) -> tuple[list[int], dict[int, str], DaySpent]:
    """Return which wishes still fit into the day, why the others do not, and what those that fit take."""
    moves, size, usd = 0, 0, 0.0
    fitting: list[int] = []
    refusals: dict[int, str] = {}
    for number in asked:
        wish = wishes[number]
        if limits.moves is not None and spent.moves + moves + 1 > limits.moves:
            refusals[number] = LIMIT_MOVES
        elif limits.size is not None and spent.size + size + wish.size > limits.size:
            refusals[number] = LIMIT_BYTES
        elif limits.usd is not None and spent.usd + usd + wish.cost > limits.usd:
            refusals[number] = LIMIT_USD
        else:
            fitting.append(number)
            moves, size, usd = moves + 1, size + wish.size, usd + wish.cost
    return fitting, refusals, DaySpent(moves, Bytes(size), Usd(usd))
