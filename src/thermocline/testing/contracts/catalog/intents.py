"""Laws of `Intents`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio

from thermocline.domain.units import Seconds
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    LEASE,
    PLACEMENT,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
    two_processes,
)


class IntentsContract(CatalogContract):
    """Laws of `Intents`."""

    async def test_a_live_intent_can_be_renewed_for_ever(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            key, silent = await _declared(steps), await _declared(steps)
            for _ in range(5):
                steps.clock.advance(LEASE * 0.9)
                assert await steps.catalog.intents.renew([key, "unknown"], lease=LEASE) == [key]
            condemned = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
            assert [intent.object_key for intent in condemned] == [silent]
            assert await steps.catalog.intents.renew([key, silent], lease=LEASE) == [key]
            assert await steps.catalog.intents.renew([], lease=LEASE) == []

    async def test_only_expired_intents_are_condemned(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            key = await _declared(steps)
            steps.clock.advance(LEASE - 0.000001)
            assert await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10) == []
            steps.clock.advance(0.000001)
            (intent,) = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
            assert (intent.object_key, intent.placement, intent.deleted_once) == (key, PLACEMENT, False)

    async def test_a_condemned_intent_is_claimed_again_when_its_claim_runs_out(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _declared(steps)
            await steps.expire_claims()
            (first,) = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
            assert await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10) == []
            await steps.expire_claims()
            (second,) = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
            assert first.object_key == second.object_key
            assert first.lease_token != second.lease_token
            # The first claim is lost: it can settle nothing any more.
            await steps.catalog.intents.settle([first], again_in=None)
            await steps.catalog.intents.settle([first], again_in=Seconds(0), deleted_once=True)
            assert await steps.catalog.intents.count() == 1
            assert await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10) == []
            await steps.catalog.intents.settle([second], again_in=None)
            assert await steps.catalog.intents.count() == 0

    async def test_settling_remembers_that_the_object_was_deleted_once(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            intents = steps.catalog.intents
            await _declared(steps)
            await steps.expire_claims()
            claimed = await intents.condemn_expired(lease=LEASE, limit=10)
            await intents.settle(claimed, again_in=Seconds(10), deleted_once=True)
            steps.clock.advance(9)
            assert await intents.condemn_expired(lease=LEASE, limit=10) == []
            steps.clock.advance(1)
            (again,) = await intents.condemn_expired(lease=LEASE, limit=10)
            assert again.deleted_once
            await intents.settle([again], again_in=Seconds(0))
            (third,) = await intents.condemn_expired(lease=LEASE, limit=10)
            assert third.deleted_once

    async def test_withdrawing_condemns_and_claims(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            intents = steps.catalog.intents
            key = await _declared(steps)
            withdrawn = await intents.withdraw(key, lease=LEASE)
            assert withdrawn is not None
            assert (withdrawn.object_key, withdrawn.placement, withdrawn.deleted_once) == (key, PLACEMENT, False)
            assert await intents.withdraw(key, lease=LEASE) is None
            assert await intents.withdraw("unknown", lease=LEASE) is None
            assert await intents.renew([key], lease=LEASE) == []
            assert await intents.condemn_expired(lease=LEASE, limit=10) == []
            await intents.settle([withdrawn], again_in=None)
            assert await intents.count() == 0

    async def test_no_two_workers_claim_the_same_intent(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            keys = [await _declared(one) for _ in range(40)]
            await one.expire_claims()
            claims = await asyncio.gather(
                *(
                    steps.catalog.intents.condemn_expired(lease=LEASE, limit=7)
                    for steps in (one, other)
                    for _ in range(4)
                )
            )
            claimed = [intent.object_key for claim in claims for intent in claim]
            assert sorted(claimed) == sorted(keys)
            assert all(len(claim) <= 7 for claim in claims)

    async def test_intents_are_counted(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await steps.catalog.intents.count() == 0
            await _declared(steps)
            key = await _declared(steps)
            await steps.catalog.intents.withdraw(key, lease=LEASE)
            assert await steps.catalog.intents.count() == 2


async def _declared(steps: Steps) -> str:
    key = new_key(some_id())
    await steps.declare(key)
    return key
