"""Laws of `Moves`: plans and their claims. `move_commits` and `move_races` have the rest."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from collections.abc import Sequence

import pytest

from thermocline.domain.content import Changes
from thermocline.domain.content_id import ContentId
from thermocline.domain.moves import ClaimedMove, MoveForecast, PlannedMove
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp, Usd, later
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    LEASE,
    OpenCatalog,
    Steps,
    one_process,
    some_id,
    two_processes,
)

HOT, WARM, COLD, ARCHIVE = StorageTier
_FORECAST = MoveForecast(Usd(0.1), Usd(2.5e-7))


class MovesContract(CatalogContract):
    """Laws of `Moves`: plans and claims."""

    async def test_a_plan_is_claimed_as_it_was_made(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            assert await steps.plan(content_id, COLD, reason="cheaper", by_policy=True, forecast=_FORECAST)
            (claim,) = await steps.claim_moves(now=steps.clock.now())
            assert claim.plan == PlannedMove(content_id, COLD, "cheaper", by_policy=True, forecast=_FORECAST)
            assert claim.attempts == 1
            assert claim.lease_token
            assert claim.planned_at == steps.clock.now()

    async def test_only_what_may_move_is_planned(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            good, held, expired, deleted, pinned = (some_id() for _ in range(5))
            for each in (good, held, deleted, pinned):
                await steps.put(each)
            await steps.put(expired, expires_at=later(steps.clock.now(), Seconds(10)))
            # Even if it is planned already.
            assert await steps.plan(held)
            await steps.change(held, Changes(held=True))
            await steps.delete(deleted)
            await steps.change(pinned, Changes(pinned=True))
            steps.clock.advance(10)
            ids = (held, expired, deleted, pinned, some_id(), good)
            wanted = [PlannedMove(each, COLD, by_policy=True) for each in ids]
            moves = steps.catalog.moves
            assert await moves.plan(wanted, now=steps.clock.now()) == [good]
            assert {claim.plan.content_id for claim in await steps.claim_moves()} == {good, held}
            assert not await moves.plan([], now=steps.clock.now())
            # Who asks for it moves pinned content too.
            assert await steps.plan(pinned)
            assert not await steps.plan(held)

    async def test_of_several_plans_of_one_content_the_last_counts(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            plans = [PlannedMove(content_id, tier) for tier in (COLD, WARM, ARCHIVE)]
            assert await steps.catalog.moves.plan(plans, now=steps.clock.now()) == [content_id]
            (claim,) = await steps.claim_moves()
            assert claim.plan.tier is ARCHIVE

    async def test_another_tier_replaces_a_plan_and_ends_its_claim(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            move = await steps.begin_move(content_id, COLD)
            steps.clock.advance(1)
            assert await steps.plan(content_id, ARCHIVE)
            await steps.catalog.moves.postpone(move.claim, due_at=Timestamp(0), reason="too late")
            assert not await steps.catalog.moves.cancel(content_id, lease_token=move.claim.lease_token)
            assert await steps.commit_move(move) is None
            described = await steps.catalog.records.describe(content_id, now=steps.clock.now())
            assert described is not None
            assert described.move is not None
            assert (described.move.tier, described.move.attempts, described.move.last_error) == (ARCHIVE, 0, None)
            assert described.move.planned_at == described.move.due_at == steps.clock.now()
            assert (await steps.claim_move(content_id)).plan.tier is ARCHIVE

    async def test_the_same_wish_again_leaves_a_claim_alone(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            move = await steps.begin_move(content_id, COLD)
            assert await steps.plan(content_id, COLD, reason="again")
            assert await steps.claim_moves() == []
            assert await steps.commit_move(move) is not None

    async def test_reasons_of_any_characters_are_kept_as_far_as_texts_can_be(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            assert await steps.plan(content_id, COLD, reason="NUL \0 and half a pair \ud800")
            claim = await steps.claim_move(content_id)
            await steps.catalog.moves.postpone(claim, due_at=Timestamp(0), reason="failed: \0\udfff é")
            described = await steps.catalog.records.describe(content_id, now=steps.clock.now())
            assert described is not None
            assert described.move is not None
            assert described.move.reason == "NUL \ufffd and half a pair ?"
            assert described.move.last_error == "failed: \ufffd? é"

    async def test_a_policys_plan_never_replaces_what_somebody_asked_for(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            assert await steps.plan(content_id, COLD, by_policy=True)
            assert await steps.plan(content_id, WARM, by_policy=True)
            assert await steps.plan(content_id, ARCHIVE)
            assert not await steps.plan(content_id, COLD, by_policy=True)
            assert await steps.plan(content_id, ARCHIVE, reason="a policy's", by_policy=True)
            (claim,) = await steps.claim_moves()
            assert claim.plan == PlannedMove(content_id, ARCHIVE)

    async def test_asking_for_what_a_policy_plans_makes_it_asked_for(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            move = await steps.begin_move(content_id, COLD, reason="a policy's", by_policy=True, forecast=_FORECAST)
            await steps.change(content_id, Changes(pinned=True))
            assert await steps.commit_move(move) is None
            assert await steps.plan(content_id, COLD, reason="somebody's")
            assert await steps.claim_moves() == []
            # The copy is still good: neither the bytes nor the target have changed.
            assert await steps.commit_move(move) is not None
            (entry,) = await steps.ledger(content_id)
            assert (entry.reason, entry.by_policy, entry.forecast) == ("somebody's", False, None)

    async def test_plans_are_claimed_oldest_first_when_they_are_due(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = [some_id() for _ in range(5)]
            for content_id in ids:
                await steps.put(content_id)
                await steps.plan(content_id)
                steps.clock.advance(1)
            begun = Timestamp(steps.clock.now() - 5_000_000)
            assert await steps.claim_moves(now=Timestamp(begun - 1)) == []
            claims = await steps.claim_moves(now=Timestamp(begun + 2_000_000), limit=2)
            assert [claim.plan.content_id for claim in claims] == ids[:2]
            assert [claim.plan.content_id for claim in await steps.claim_moves()] == ids[2:]

    async def test_a_claim_excludes_others_until_its_lease_ends(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await steps.plan(content_id)
            first = await steps.claim_move(content_id)
            moves = steps.catalog.moves
            steps.clock.advance(LEASE - 0.000001)
            assert await steps.claim_moves() == []
            assert await moves.claim(now=Timestamp(0), lease=LEASE, limit=1, content_id=content_id) == []
            steps.clock.advance(0.000001)
            (second,) = await steps.claim_moves()
            assert (second.plan, second.attempts) == (first.plan, 2)
            assert second.lease_token != first.lease_token
            await moves.postpone(first, due_at=Timestamp(0), reason="lost")
            assert not await moves.cancel(content_id, lease_token=first.lease_token)
            assert (await moves.state()).failing == 0
            assert await steps.claim_moves() == []

    async def test_a_renewed_claim_lasts_longer_a_lost_one_does_not(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await steps.plan(content_id)
            lost = await steps.claim_move(content_id)
            moves = steps.catalog.moves
            for _ in range(3):
                steps.clock.advance(LEASE - 1)
                await moves.renew(lost, lease=LEASE)
            assert await steps.claim_moves() == []
            await steps.expire_claims()
            current = await steps.claim_move(content_id)
            await moves.renew(lost, lease=Seconds(10 * LEASE))
            await steps.expire_claims()
            (taken,) = await steps.claim_moves()
            # A claim that was given back cannot be renewed either.
            await moves.postpone(taken, due_at=Timestamp(0), reason=None)
            for claim in (current, taken):
                await moves.renew(claim, lease=LEASE)
            assert len(await steps.claim_moves()) == 1

    async def test_one_content_is_claimed_due_or_not(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, other = some_id("a"), some_id("b")
            for each in (content_id, other):
                await steps.put(each)
                await steps.plan(each)
            claim = await steps.claim_move(content_id)
            due_at = later(steps.clock.now(), Seconds(3600))
            await steps.catalog.moves.postpone(claim, due_at=due_at, reason=None)
            assert (await steps.claim_move(content_id)).plan.content_id == content_id
            assert [claim.plan.content_id for claim in await steps.claim_moves()] == [other]
            moves = steps.catalog.moves
            assert await moves.claim(now=Timestamp(0), lease=LEASE, limit=1, content_id=some_id()) == []

    async def test_no_two_workers_claim_the_same_plan(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            ids = [some_id() for _ in range(40)]
            for content_id in ids:
                await one.put(content_id)
                await one.plan(content_id)
            claims = await asyncio.gather(
                *(steps.claim_moves(limit=7) for steps in (one, other) for _ in range(4)),
                *(_claims_of(steps, content_id) for steps in (one, other) for content_id in ids[:5]),
            )
            claimed = [claim.plan.content_id for batch in claims for claim in batch]
            assert sorted(claimed) == sorted(ids)
            assert all(len(batch) <= 7 for batch in claims)

    async def test_a_postponed_plan_is_free_and_waits(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await steps.plan(content_id)
            moves = steps.catalog.moves
            due_at = later(steps.clock.now(), Seconds(60))
            for attempts in (1, 2):
                (claim,) = await steps.claim_moves()
                assert claim.attempts == attempts
                await moves.postpone(claim, due_at=due_at, reason="the store is down")
                assert await steps.claim_moves(now=Timestamp(due_at - 1)) == []
                # It can be given back once.
                await moves.postpone(claim, due_at=Timestamp(0), reason="again")
                assert await steps.claim_moves(now=Timestamp(due_at - 1)) == []
            state = await moves.state()
            assert (state.waiting, state.failing) == (1, 1)
            described = await steps.catalog.records.describe(content_id, now=steps.clock.now())
            assert described is not None
            assert described.move is not None
            assert (described.move.due_at, described.move.last_error) == (due_at, "the store is down")
            assert described.move.attempts == 2
            (claim,) = await steps.claim_moves(now=due_at)
            # Waiting is no failure.
            await moves.postpone(claim, due_at=due_at, reason=None)
            assert (await moves.state()).failing == 0
            (claim,) = await steps.claim_moves(now=due_at)
            assert claim.attempts == 1

    async def test_what_was_given_up_waits_until_somebody_asks_again(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            asked, by_policy = some_id(), some_id()
            moves, end = steps.catalog.moves, Timestamp(2**61)
            for content_id in (asked, by_policy):
                await steps.put(content_id)
                await steps.plan(content_id, COLD, by_policy=content_id is by_policy)
            for claim in await steps.claim_moves():
                await moves.postpone(claim, due_at=None, reason="always fails")
            state = await moves.state()
            assert (state.waiting, state.failing, state.given_up, state.oldest_at) == (0, 0, 2, None)
            assert await steps.claim_moves(now=end) == []
            described = await steps.catalog.records.describe(asked, now=steps.clock.now())
            assert described is not None
            assert described.move is not None
            assert described.move.is_given_up
            assert described.move.as_dict()["due_at"] is None
            # A policy does not begin anew, whoever asks does; and so does a wish for another tier.
            for content_id in (asked, by_policy):
                await steps.plan(content_id, COLD, by_policy=True)
            assert await steps.claim_moves(now=end) == []
            await steps.plan(asked, COLD)
            await steps.plan(by_policy, ARCHIVE, by_policy=True)
            claims = await steps.claim_moves(now=end)
            assert [(claim.plan.content_id, claim.attempts) for claim in claims] == sorted([(asked, 1), (by_policy, 1)])
            state = await moves.state()
            assert (state.waiting, state.failing, state.given_up) == (2, 0, 0)

    @pytest.mark.parametrize("claimed", [False, True])
    async def test_a_cancelled_plan_is_gone(self, open_catalog: OpenCatalog, *, claimed: bool) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            move = await steps.begin_move(content_id)
            moves = steps.catalog.moves
            if claimed:
                assert not await moves.cancel(content_id, lease_token="of somebody else")  # noqa: S106 - no secret
                assert await moves.cancel(content_id, lease_token=move.claim.lease_token)
                assert not await moves.cancel(content_id, lease_token=move.claim.lease_token)
            else:
                assert await moves.cancel(content_id)
                assert not await moves.cancel(content_id)
            assert await steps.commit_move(move) is None
            assert (await moves.state()).waiting == 0

    @pytest.mark.parametrize("how", ["deleted", "expired", "overwritten"])
    async def test_a_plan_ends_with_the_bytes_that_it_was_made_for(self, open_catalog: OpenCatalog, how: str) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            expires_at = later(steps.clock.now(), Seconds(10)) if how == "expired" else None
            await steps.put(content_id, expires_at=expires_at)
            await steps.plan(content_id)
            steps.clock.advance(10)
            if how == "deleted":
                await steps.delete(content_id)
            await steps.put(content_id)
            assert await steps.claim_moves() == []

    async def test_the_state_tells_how_much_waits_and_since_when(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            moves = steps.catalog.moves
            state = await moves.state()
            assert (state.waiting, state.failing, state.oldest_at) == (0, 0, None)
            begun = steps.clock.now()
            for _ in range(3):
                content_id = some_id()
                await steps.put(content_id)
                await steps.plan(content_id)
                steps.clock.advance(1)
            state = await moves.state()
            assert (state.waiting, state.failing, state.oldest_at) == (3, 0, begun)


async def _claims_of(steps: Steps, content_id: ContentId) -> Sequence[ClaimedMove]:
    return await steps.catalog.moves.claim(now=Timestamp(0), lease=LEASE, limit=1, content_id=content_id)
