"""Laws of `PolicyBudget`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.units import Bytes, Usd
from thermocline.ports.policy_budget import DayLimits, DaySpent, PolicyBudget
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, two_processes
from thermocline.testing.contracts.running import in_event_loop

_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
_days = itertools.count(20_000)
_amounts = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
_limits = st.one_of(st.none(), st.integers(0, 9))
_Amounts = tuple[int, int, int]


class PolicyBudgetContract(CatalogContract):
    """Laws of `PolicyBudget`."""

    def test_a_day_gives_what_is_within_all_limits_and_nothing_else(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(takes=st.lists(_amounts, max_size=8), limits=st.tuples(_limits, _limits, _limits))
        @in_event_loop
        async def check(takes: list[_Amounts], limits: tuple[int | None, int | None, int | None]) -> None:
            async with one_process(open_catalog) as steps:
                budget, day = steps.catalog.policy_budget, next(_days)
                spent = (0, 0, 0)
                for amounts in takes:
                    after = tuple(map(sum, zip(spent, amounts, strict=True)))
                    fits = all(most is None or each <= most for each, most in zip(after, limits, strict=True))
                    assert await _take(budget, day, limits, amounts) is fits
                    spent = after if fits else spent  # type: ignore[assignment]  # as many as there were
                    assert await budget.spent(day) == DaySpent(spent[0], Bytes(spent[1]), Usd(spent[2]))

        check()

    async def test_each_day_has_its_own(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            budget, first = steps.catalog.policy_budget, next(_days)
            for day in (first, next(_days)):
                assert await budget.spent(day) == DaySpent()
                assert await _take(budget, day, (1, None, None), (1, 5, 5))
                assert not await _take(budget, day, (1, None, None), (1, 5, 5))
            assert await budget.spent(first) == DaySpent(1, Bytes(5), Usd(5.0))

    async def test_limits_are_those_of_who_asks_now(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            budget, day = steps.catalog.policy_budget, next(_days)
            assert await _take(budget, day, (None, None, None), (5, 5, 5))
            assert not await _take(budget, day, (4, None, None), (0, 0, 0))
            assert await _take(budget, day, (6, None, None), (1, 0, 0))

    async def test_small_amounts_add_up_to_the_limit(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            budget, day = steps.catalog.policy_budget, next(_days)
            limits = DayLimits(usd=Usd(0.3))
            taken = [await budget.take(day, limits, moves=1, size=Bytes(2**50), usd=Usd(0.1)) for _ in range(4)]
            assert taken == [True, True, True, False]
            spent = await budget.spent(day)
            assert (spent.moves, spent.size) == (3, 3 * 2**50)
            assert spent.usd == pytest.approx(0.3)

    async def test_processes_together_never_exceed_a_limit(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            day = next(_days)
            budgets = [steps.catalog.policy_budget for steps in (one, other)] * 10
            taken = await asyncio.gather(*(_take(each, day, (7, None, None), (2, 1, 1)) for each in budgets))
            assert sum(taken) == 3
            assert await budgets[0].spent(day) == DaySpent(6, Bytes(3), Usd(3.0))


async def _take(
    budget: PolicyBudget, day: int, limits: tuple[int | None, int | None, int | None], amounts: _Amounts
) -> bool:
    moves, size, usd = limits
    most = DayLimits(moves, None if size is None else Bytes(size), None if usd is None else Usd(usd))
    return await budget.take(day, most, moves=amounts[0], size=Bytes(amounts[1]), usd=Usd(amounts[2]))
