"""Laws of `Outbox`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio

from thermocline.domain.units import Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    FAR_FUTURE,
    LEASE,
    PLACEMENT,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
    two_processes,
)

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE


class OutboxContract(CatalogContract):
    """Laws of `Outbox`."""

    async def test_rows_are_claimed_oldest_first_and_by_kind(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            keys = []
            for _ in range(5):
                keys += await _deletions(steps, 1)
                steps.clock.advance(1)
            claim = steps.catalog.outbox.claim
            first = await claim(DELETE, now=FAR_FUTURE, lease=LEASE, limit=2)
            rest = await claim(DELETE, now=FAR_FUTURE, lease=LEASE, limit=10)
            assert [row.subject for row in (*first, *rest)] == keys
            assert {row.kind for row in (*first, *rest)} == {DELETE}
            assert {row.kind for row in await steps.take(INVALIDATE)} == {INVALIDATE}

    async def test_no_two_workers_claim_the_same_row(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            keys = await _deletions(one, 30)
            claims = await asyncio.gather(
                *(
                    steps.catalog.outbox.claim(DELETE, now=FAR_FUTURE, lease=LEASE, limit=6)
                    for steps in (one, other)
                    for _ in range(4)
                )
            )
            assert sorted(row.subject for claim in claims for row in claim) == sorted(keys)

    async def test_a_claim_counts_as_an_attempt_and_runs_out(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _deletions(steps, 1)
            tokens = set()
            for attempt in range(1, 4):
                (row,) = await steps.take(DELETE)
                assert row.attempts == attempt
                tokens.add(row.lease_token)
                steps.clock.advance(LEASE - 0.000001)
                assert await steps.take(DELETE) == []
                steps.clock.advance(0.000001)
            assert len(tokens) == 3

    async def test_completing_needs_the_lease(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _deletions(steps, 3)
            outbox = steps.catalog.outbox
            lost = await steps.take(DELETE)
            await steps.expire_claims()
            held = await steps.take(DELETE)
            await outbox.complete(lost)
            await outbox.repeat(lost, due_at=Timestamp(0))
            await outbox.fail(lost, reason="late", due_at=None)
            assert (await _state(steps, DELETE)) == (3, 0)
            await outbox.complete(held[:2])
            await outbox.complete([])
            assert (await _state(steps, DELETE)) == (1, 0)

    async def test_completing_late_is_allowed_while_nobody_else_claimed(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _deletions(steps, 1)
            rows = await steps.take(DELETE)
            await steps.expire_claims()
            await steps.catalog.outbox.complete(rows)
            assert (await _state(steps, DELETE)) == (0, 0)

    async def test_a_repeated_row_comes_again_as_its_second_pass(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _deletions(steps, 1)
            (row,) = await steps.take(INVALIDATE)
            assert not row.second_pass
            await steps.catalog.outbox.repeat([row], due_at=Timestamp(1000))
            assert await steps.take(INVALIDATE, now=Timestamp(999)) == []
            (again,) = await steps.take(INVALIDATE, now=Timestamp(1000))
            assert (again.second_pass, again.attempts, again.subject) == (True, 1, row.subject)
            assert (again.version, again.hard) == (row.version, row.hard)

    async def test_a_failed_row_waits_or_is_kept_as_a_dead_letter(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            outbox = steps.catalog.outbox
            await _deletions(steps, 1)
            (row,) = await steps.take(DELETE)
            await outbox.fail([row], reason="store is down", due_at=Timestamp(1000))
            assert await steps.take(DELETE, now=Timestamp(999)) == []
            (again,) = await steps.take(DELETE, now=Timestamp(1000))
            assert again.attempts == 2
            await outbox.fail([again], reason="store is gone \0 \ud800", due_at=None)
            await steps.expire_claims()
            assert await steps.take(DELETE) == []
            assert (await _state(steps, DELETE)) == (0, 1)

    async def test_many_fail_at_once_and_each_needs_its_lease(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            outbox = steps.catalog.outbox
            await _deletions(steps, 5)
            lost = (await steps.take(DELETE))[:2]
            await steps.expire_claims()
            held = await steps.take(DELETE)
            own = [row for row in held if row.row_id != lost[0].row_id]
            await outbox.fail([lost[0], *own[:3]], reason="down", due_at=Timestamp(1000))
            await outbox.fail([lost[1], own[3]], reason="gone", due_at=None)
            await outbox.fail([], reason="none", due_at=None)
            assert (await _state(steps, DELETE)) == (4, 1)
            again = await steps.take(DELETE, now=Timestamp(1000))
            assert {row.row_id for row in again} == {row.row_id for row in own[:3]}
            await steps.expire_claims()
            assert len(await steps.take(DELETE)) == 4

    async def test_dead_letters_are_revived_and_nothing_else(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await _deletions(steps, 3)
            outbox, now = steps.catalog.outbox, steps.clock.now()
            dead, claimed, waiting = await steps.take(DELETE)
            await outbox.fail([dead], reason="why", due_at=None)
            await outbox.fail([waiting], reason="why", due_at=Timestamp(FAR_FUTURE - 1))
            assert await outbox.revive(now=now) == 1
            assert await outbox.revive(now=now) == 0
            (row,) = await steps.take(DELETE, now=now)
            assert (row.row_id, row.attempts) == (dead.row_id, 1)
            await outbox.complete([row, claimed])  # both leases hold
            assert await _state(steps, DELETE) == (1, 0)

    async def test_the_state_tells_how_much_waits_and_since_when(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            states = await steps.catalog.outbox.state()
            assert {state.kind for state in states} == set(OutboxKind)
            assert {(state.waiting, state.dead, state.oldest_at) for state in states} == {(0, 0, None)}
            await _deletions(steps, 2)
            (row, _) = await steps.take(INVALIDATE)
            await steps.catalog.outbox.repeat([row], due_at=Timestamp(1000))
            by_kind = {state.kind: state for state in await steps.catalog.outbox.state()}
            assert (by_kind[INVALIDATE].waiting, by_kind[INVALIDATE].oldest_at) == (2, 1000)

    async def test_a_key_is_named_by_its_record_and_by_its_intent(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            old = (await steps.put(content_id)).record.object_key
            live = (await steps.put(content_id)).record.object_key
            intent, withdrawn, never = (new_key(content_id) for _ in range(3))
            await steps.declare(intent)
            await steps.declare(withdrawn)
            await steps.catalog.intents.withdraw(withdrawn, lease=LEASE)
            # What is not a key of ours is never offered for deletion.
            foreign = ("", "foreign", f"/{PLACEMENT}/x", "a/b/c/d")
            asked = [old, live, intent, withdrawn, never, never, *foreign]
            assert sorted(await steps.catalog.outbox.unnamed(asked)) == sorted([old, never])
            assert await steps.catalog.outbox.unnamed([]) == []
            await steps.delete(content_id)
            assert await steps.catalog.outbox.unnamed([live]) == [live]

    async def test_thousands_of_rows_are_handled_in_one_go(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            keys = [new_key(content_id) for _ in range(40_000)]
            assert len(await steps.catalog.outbox.unnamed(keys)) == len(keys)
            assert await steps.catalog.intents.renew(keys, lease=LEASE) == []


async def _deletions(steps: Steps, count: int) -> list[str]:
    """Queue deletions (and invalidations) by overwriting; return the keys."""
    keys = []
    for _ in range(count):
        content_id = some_id()
        keys.append((await steps.put(content_id)).record.object_key)
        await steps.put(content_id)
    return keys


async def _state(steps: Steps, kind: OutboxKind) -> tuple[int, int]:
    (state,) = (state for state in await steps.catalog.outbox.state() if state.kind is kind)
    return state.waiting, state.dead
