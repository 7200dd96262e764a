"""Laws of `Restores`: one request however many ask, and no cent more than the day allows."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from thermocline.domain.content import Record
from thermocline.domain.errors import RestoreBudgetError
from thermocline.domain.heat import DAY_MICROS, day_of
from thermocline.domain.restores import ARCHIVED, RestoreSpeed, RestoreStage, RestoreStatus
from thermocline.domain.units import Bytes, Seconds, Timestamp, Usd, later
from thermocline.ports.restores import ClaimedRestore, Requested, WantedRestore
from thermocline.testing.clock import START
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVERYTHING,
    FAR_FUTURE,
    LEASE,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)

ETA = Timestamp(START + 12 * 3_600_000_000)
DAYS = 7
COST = Usd(0.25)
_DAY = Seconds(86400.0)


def wanted(record: Record, **fields: Any) -> WantedRestore:
    """Return a wish to read the object of `record`."""
    wish = WantedRestore(
        object_key=record.object_key,
        content_id=record.content_id,
        placement=record.placement,
        speed=RestoreSpeed.BULK,
        days=DAYS,
        size=record.size,
        cost=COST,
        eta=ETA,
    )
    return replace(wish, **fields)


class RestoresContract(CatalogContract):
    """Laws of `Restores`."""

    async def test_the_first_request_is_the_callers_to_send(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            record = (await steps.put(some_id())).record
            requested = await _request(steps, record)
            assert requested is not None
            now = steps.clock.now()
            assert requested.status == RestoreStatus(
                RestoreStage.REQUESTED, speed=RestoreSpeed.BULK, days=DAYS, requested_at=now, eta=ETA
            )
            claim = requested.claim
            assert claim is not None
            assert (claim.object_key, claim.content_id, claim.placement) == (
                record.object_key, record.content_id, record.placement
            )  # fmt: skip
            assert (claim.speed, claim.days, claim.sent, claim.eta) == (RestoreSpeed.BULK, DAYS, False, ETA)
            assert (claim.readable_until, claim.attempts) == (None, 1)
            assert await steps.catalog.restores.find(record.object_key, now=now) == requested.status
            assert await _claim(steps) == []
            # If the caller dies, another sends it.
            await steps.expire_claims()
            (taken,) = await _claim(steps, now=steps.clock.now())
            assert taken == replace(claim, attempts=2, lease_token=taken.lease_token)
            assert taken.lease_token != claim.lease_token

    async def test_of_fifty_at_once_one_sends_and_one_is_charged(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            record = (await one.put(some_id())).record
            results = await asyncio.gather(*(_request(steps, record) for steps in (one, other) for _ in range(25)))
            assert all(result is not None for result in results)
            claims = [result.claim for result in results if result is not None and result.claim is not None]
            assert len(claims) == 1
            assert {result.status for result in results if result is not None} == {results[0].status}  # type: ignore[union-attr]
            assert await _spent(one) == COST
            assert (await one.catalog.restores.state(now=one.clock.now())).requested == 1

    @pytest.mark.parametrize("how", ["overwritten", "deleted", "moved", "expired", "never there"])
    async def test_nothing_is_requested_once_the_record_moved_on(self, open_catalog: OpenCatalog, how: str) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            record = (await steps.put(content_id, expires_at=later(steps.clock.now(), _DAY))).record
            match how:
                case "overwritten":
                    await steps.put(content_id)
                case "deleted":
                    await steps.delete(content_id)
                case "moved":
                    await steps.commit_move(await steps.begin_move(content_id))
                case "expired":
                    steps.clock.advance(_DAY)
                case _:
                    record = replace(record, content_id=some_id())
            assert await _request(steps, record) is None
            assert await _spent(steps) == 0
            assert await steps.catalog.restores.find(record.object_key, now=steps.clock.now()) is None

    async def test_a_restore_goes_through_its_stages(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            restores = steps.catalog.restores
            record = (await steps.put(some_id())).record
            key = record.object_key
            assert await restores.find(key, now=steps.clock.now()) is None
            sent_later = Timestamp(ETA + 5)
            await restores.progress(await _begun(steps, record), eta=sent_later, readable_until=None, check_at=ETA)
            status = await restores.find(key, now=FAR_FUTURE)
            assert status is not None
            assert (status.stage, status.eta, status.readable_until) == (RestoreStage.REQUESTED, sent_later, None)
            assert await _claim(steps, now=Timestamp(ETA - 1)) == []
            (claim,) = await _claim(steps, now=ETA)
            assert (claim.sent, claim.eta, claim.attempts) == (True, sent_later, 1)
            until = later(steps.clock.now(), Seconds(100))
            await restores.progress(claim, eta=ETA, readable_until=until, check_at=until)
            for now, stage in (
                (steps.clock.now(), RestoreStage.READABLE),
                (Timestamp(until - 1), RestoreStage.READABLE),
            ):
                status = await restores.find(key, now=now)
                assert status is not None
                assert (status.stage, status.eta, status.readable_until) == (stage, None, until)
                state = await restores.state(now=now)
                assert (state.requested, state.readable, state.failing) == (0, 1, 0)
            assert await restores.find(key, now=until) == ARCHIVED
            assert (await restores.state(now=until)).readable == 0
            (claim,) = await _claim(steps, now=until)
            assert claim.readable_until == until
            await restores.drop(claim)
            assert await restores.find(key, now=until) is None
            assert await _claim(steps) == []

    async def test_a_failure_is_counted_until_there_is_progress(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            restores = steps.catalog.restores
            record = (await steps.put(some_id())).record
            await restores.postpone(await _begun(steps, record), check_at=Timestamp(1000), reason="the store is down")
            assert (await restores.state(now=steps.clock.now())).failing == 1
            assert await _claim(steps, now=Timestamp(999)) == []
            (claim,) = await _claim(steps, now=Timestamp(1000))
            assert (claim.sent, claim.attempts) == (False, 2)
            await restores.progress(claim, eta=ETA, readable_until=None, check_at=ETA)
            assert (await restores.state(now=steps.clock.now())).failing == 0
            (claim,) = await _claim(steps)
            assert (claim.sent, claim.attempts) == (True, 1)

    async def test_a_lost_claim_changes_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            restores = steps.catalog.restores
            record = (await steps.put(some_id())).record
            lost = await _begun(steps, record)
            await steps.expire_claims()
            (current,) = await _claim(steps)
            before = await restores.find(record.object_key, now=steps.clock.now())
            await restores.progress(lost, eta=Timestamp(1), readable_until=FAR_FUTURE, check_at=Timestamp(1))
            await restores.postpone(lost, check_at=Timestamp(1), reason="late")
            await restores.drop(lost)
            assert await restores.find(record.object_key, now=steps.clock.now()) == before
            assert (await restores.state(now=steps.clock.now())).failing == 0
            assert await _claim(steps) == []
            await restores.drop(current)
            assert await restores.find(record.object_key, now=steps.clock.now()) is None

    async def test_claims_are_exclusive_oldest_first_and_of_one_due_or_not(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            keys = []
            for number in range(30):
                record = (await one.put(some_id())).record
                keys.append(record.object_key)
                check_at = Timestamp(1000 + number)
                claim = await _begun(one, record)
                await one.catalog.restores.progress(claim, eta=ETA, readable_until=None, check_at=check_at)
            assert await _claim(one, now=Timestamp(999)) == []
            assert [claim.object_key for claim in await _claim(one, limit=3)] == keys[:3]
            claim_one = other.catalog.restores.claim
            (last,) = await claim_one(now=Timestamp(0), lease=LEASE, limit=1, object_key=keys[-1])
            assert last.object_key == keys[-1]
            assert await claim_one(now=FAR_FUTURE, lease=LEASE, limit=1, object_key=keys[-1]) == []
            claims = await asyncio.gather(*(_claim(steps, limit=7) for steps in (one, other) for _ in range(4)))
            assert sorted(claim.object_key for batch in claims for claim in batch) == sorted(keys[3:-1])
            assert all(len(batch) <= 7 for batch in claims)

    async def test_a_readable_copy_is_asked_to_stay_longer_once_and_for_nothing(
        self, open_catalog: OpenCatalog
    ) -> None:
        async with two_processes(open_catalog) as (one, other):
            restores = one.catalog.restores
            record = (await one.put(some_id())).record
            until = Timestamp(one.clock.now() + DAYS * DAY_MICROS)
            await restores.progress(await _begun(one, record), eta=ETA, readable_until=until, check_at=until)
            # Long enough already, or as good as: asking once more, a little later, sends nothing.
            for asked_later, days in ((0, 1), (0, DAYS), (3599, DAYS)):
                requested = await _request(one, record, days=days, after=Seconds(asked_later))
                assert requested is not None
                assert (requested.claim, requested.status.readable_until, requested.charged) == (None, until, 0.0)
            results = await asyncio.gather(
                *(_request(steps, record, days=30, daily_budget=COST) for steps in (one, other) for _ in range(10))
            )
            claims = [result.claim for result in results if result is not None and result.claim is not None]
            assert len(claims) == 1
            assert (claims[0].days, claims[0].sent, claims[0].readable_until) == (30, False, until)
            assert {result.charged for result in results if result is not None} == {0.0}
            # Meanwhile it can be read.
            assert {result.status.stage for result in results if result is not None} == {RestoreStage.READABLE}
            assert await _spent(one) == COST
            longer = Timestamp(until + 23 * DAY_MICROS)
            await restores.progress(claims[0], eta=ETA, readable_until=longer, check_at=longer)
            status = await restores.find(record.object_key, now=until)
            assert status is not None
            assert (status.stage, status.readable_until) == (RestoreStage.READABLE, longer)

    async def test_what_is_over_is_charged_and_requested_anew(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            record = (await steps.put(some_id())).record
            until = later(steps.clock.now(), Seconds(10))
            claim = await _begun(steps, record)
            await steps.catalog.restores.progress(claim, eta=ETA, readable_until=until, check_at=until)
            steps.clock.advance(10)
            claim = await _begun(steps, record)
            assert (claim.sent, claim.readable_until, claim.attempts) == (False, None, 1)
            assert await _spent(steps) == 2 * COST
            status = await steps.catalog.restores.find(record.object_key, now=steps.clock.now())
            assert status is not None
            assert (status.stage, status.requested_at) == (RestoreStage.REQUESTED, steps.clock.now())

    async def test_the_budget_is_spent_to_the_last_cent_and_not_beyond(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            records = [(await one.put(some_id())).record for _ in range(40)]
            # In floating point three dimes are more than thirty cents.
            dime, budget = Usd(0.1), Usd(0.3)
            results = await asyncio.gather(
                *(
                    _request((one, other)[number % 2], record, cost=dime, daily_budget=budget)
                    for number, record in enumerate(records)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(result, Requested) for result in results) == 3
            assert sum(isinstance(result, RestoreBudgetError) for result in results) == 37
            assert abs(await _spent(one) - budget) < 1e-9
            state = await one.catalog.restores.state(now=one.clock.now())
            assert state.requested == 3

    async def test_a_refused_charge_changes_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            restores = steps.catalog.restores
            cheap, dear = [(await steps.put(some_id())).record for _ in range(2)]
            # Not even for a day that has no charges yet.
            with pytest.raises(RestoreBudgetError, match="daily_budget") as caught:
                await _request(steps, dear, cost=Usd(5.0), daily_budget=Usd(1.0))
            assert "tomorrow" not in str(caught.value)
            assert await _spent(steps) == 0
            await _begun(steps, cheap)
            steps.clock.advance(3600)
            with pytest.raises(RestoreBudgetError, match="tomorrow") as caught:
                await _request(steps, dear, cost=Usd(0.9), daily_budget=Usd(1.0))
            assert caught.value.retry_after == Seconds(23 * 3600.0)
            assert await _spent(steps) == COST
            assert await restores.find(dear.object_key, now=steps.clock.now()) is None
            # What is under way already, and what costs nothing, needs no budget.
            assert await _request(steps, cheap, daily_budget=Usd(0.0)) is not None
            assert await _request(steps, dear, cost=Usd(0.0), daily_budget=COST) is not None

    async def test_a_day_ends_at_midnight_utc(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            records = [(await steps.put(some_id())).record for _ in range(3)]
            midnight = Timestamp((day_of(steps.clock.now()) + 1) * DAY_MICROS)
            steps.clock.jump((midnight - 1 - steps.clock.now()) / 1_000_000)
            assert await _request(steps, records[0], daily_budget=COST) is not None
            with pytest.raises(RestoreBudgetError):
                await _request(steps, records[1], daily_budget=COST)
            steps.clock.advance(0.000001)
            assert await _spent(steps) == 0
            assert await _request(steps, records[1], daily_budget=COST) is not None
            assert await _spent(steps) == COST
            assert (await steps.catalog.restores.state(now=Timestamp(midnight - 1))).spent_today == COST

    async def test_what_a_large_restore_is_worth_fits(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            record = (await steps.put(some_id())).record
            for _ in range(2):
                requested = await _request(steps, record, size=Bytes(5 * 2**40), cost=Usd(12345.67))
                assert requested is not None
            assert await _spent(steps) == 12345.67


async def _request(
    steps: Steps, record: Record, *, daily_budget: Usd | None = None, after: Seconds = Seconds(0.0), **fields: Any
) -> Requested | None:
    now = later(steps.clock.now(), after)
    return await steps.catalog.restores.request(
        wanted(record, **fields), now=now, lease=LEASE, daily_budget=daily_budget
    )


async def _begun(steps: Steps, record: Record) -> ClaimedRestore:
    requested = await _request(steps, record)
    assert requested is not None
    assert requested.claim is not None
    return requested.claim


async def _claim(steps: Steps, *, now: Timestamp = FAR_FUTURE, limit: int = EVERYTHING) -> list[ClaimedRestore]:
    return list(await steps.catalog.restores.claim(now=now, lease=LEASE, limit=limit))


async def _spent(steps: Steps) -> float:
    return (await steps.catalog.restores.state(now=steps.clock.now())).spent_today
