"""`PolicyBudget` in SQL: one guarded upsert for each batch, as money for restores is taken."""

from typing import Any, Final

from sqlalchemy import and_, bindparam, select
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.schema import policy_days
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.units import Bytes, Usd
from thermocline.ports.policy_budget import DayLimits, DaySpent, PolicyBudget

_NO_LIMIT: Final = 2**62
_ROUNDING: Final = 1e-9
"""In US dollars: sums of many small amounts are not exact."""
_taken = postgresql.insert(policy_days).values({name: bindparam(name) for name in ("day", "moves", "bytes", "usd")})
_COUNTED: Final = ("moves", "bytes", "usd")
TAKE = Statement(
    _taken.on_conflict_do_update(
        index_elements=[policy_days.c.day],
        set_={name: policy_days.c[name] + _taken.excluded[name] for name in _COUNTED},
        where=and_(
            *(policy_days.c[name] + _taken.excluded[name] <= bindparam(f"most_{name}") for name in _COUNTED),
        ),
    )
)
SPENT = Statement(
    select(policy_days.c.moves, policy_days.c.bytes, policy_days.c.usd).where(policy_days.c.day == bindparam("day"))
)


class SqlPolicyBudget(PolicyBudget):
    """A row of `policy_days` for each day."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def take(self, day: int, limits: DayLimits, *, moves: int, size: Bytes, usd: Usd) -> bool:
        """Take all three from the day, or nothing: whether it was within all limits."""
        most: dict[str, float] = {
            "moves": _NO_LIMIT if limits.moves is None else limits.moves,
            "bytes": _NO_LIMIT if limits.size is None else limits.size,
            "usd": float(_NO_LIMIT) if limits.usd is None else limits.usd + _ROUNDING,
        }
        wanted: dict[str, float] = {"moves": moves, "bytes": size, "usd": float(usd)}
        # The first to take from a day finds no row to compare with, so that is compared here.
        if any(wanted[name] > most[name] for name in _COUNTED):
            return False
        parameters: dict[str, Any] = {"day": day, **wanted, **{f"most_{name}": most[name] for name in _COUNTED}}
        return await self._runner.write(lambda connection: connection.change(TAKE, parameters)) > 0

    async def spent(self, day: int) -> DaySpent:
        """Return what was taken of the day."""
        row = await self._runner.read(lambda connection: connection.first(SPENT, {"day": day}))
        return DaySpent() if row is None else DaySpent(row[0], Bytes(row[1]), Usd(row[2]))
