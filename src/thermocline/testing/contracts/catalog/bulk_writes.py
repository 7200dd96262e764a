"""Laws of `BulkWrites`: what single writes do, for many in one transaction."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import replace

import pytest

from thermocline.domain.content import Changes, Condition, Record, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError, IntentLostError, PreconditionFailedError, StorageError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed, Write
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

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE


class BulkWritesContract(CatalogContract):
    """Laws of `BulkWrites`."""

    async def test_declared_intents_are_as_single_ones(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            keys = [new_key(some_id()) for _ in range(3)]
            await steps.catalog.bulk.declare(keys, PLACEMENT, lease=LEASE)
            await steps.catalog.bulk.declare([], PLACEMENT, lease=LEASE)
            assert sorted(await steps.catalog.intents.renew([*keys, "unknown"], lease=LEASE)) == sorted(keys)
            steps.clock.advance(LEASE - 0.000001)
            assert await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10) == []
            steps.clock.advance(0.000001)
            condemned = await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)
            assert {intent.object_key for intent in condemned} == set(keys)
            assert {(intent.placement, intent.deleted_once) for intent in condemned} == {(PLACEMENT, False)}

    async def test_intents_are_declared_all_or_none(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            taken, free = new_key(some_id()), new_key(some_id())
            await steps.declare(taken)
            with pytest.raises(StorageError):
                await steps.catalog.bulk.declare([free, taken], PLACEMENT, lease=LEASE)
            assert await steps.catalog.intents.renew([free, taken], lease=LEASE) == [taken]

    async def test_many_writes_do_what_single_ones_do(self, open_catalog: OpenCatalog) -> None:
        """Each state that a write can meet, once written alone and once with all others."""
        async with one_process(open_catalog) as steps:
            alone = [await _prepared(steps, state) for state in _STATES]
            together = [await _prepared(steps, state) for state in _STATES]
            await _cleared(steps)
            position = await steps.catalog.changes.position()
            single = [await steps.commit(write) for write in alone]
            told_alone = await _told(steps, position, alone)
            position = await steps.catalog.changes.position()
            many = await _commit(steps, together)
            told_together = await _told(steps, position, together)
            assert told_together == told_alone
            for one, other, write in zip(single, many, together, strict=True):
                assert isinstance(other, Committed)
                assert other.created == one.created
                assert await steps.existing(write.content_id) == other.record
                assert _likeness(other.record) == _likeness(one.record)
                assert not await steps.is_named_by_intent(write.object_key)

    async def test_a_refused_write_changes_nothing_and_the_others_are_made(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            held, conditional, undeclared, condemned = (some_id() for _ in range(4))
            for content_id in (held, conditional, undeclared, condemned):
                await steps.put(content_id)
            await steps.change(held, Changes(held=True))
            before = [await steps.existing(each) for each in (held, conditional, undeclared, condemned)]
            writes = [
                steps.write_of(held),
                steps.write_of(some_id("good")),
                steps.write_of(conditional, condition=Condition(if_absent=True)),
                steps.write_of(undeclared),
                steps.write_of(condemned),
                steps.write_of(some_id("good")),
            ]
            await _declare(steps, [write for write in writes if write.content_id != undeclared])
            await steps.catalog.intents.withdraw(writes[4].object_key, lease=LEASE)
            await _cleared(steps)
            answers = await _commit(steps, writes)
            assert [type(answer) for answer in answers] == [
                ContentHeldError, Committed, PreconditionFailedError, IntentLostError, IntentLostError, Committed,
            ]  # fmt: skip
            assert [await steps.existing(each) for each in (held, conditional, undeclared, condemned)] == before
            assert await steps.take_all(DELETE) == []
            assert await steps.take_all(INVALIDATE) == []
            # Those that were refused still have their intents: somebody has to clean up.
            assert await steps.is_named_by_intent(writes[0].object_key)
            assert await steps.is_named_by_intent(writes[2].object_key)
            assert not await steps.is_named_by_intent(writes[1].object_key)
            assert await _commit(steps, []) == []
            assert [type(answer) for answer in await _commit(steps, [writes[0]])] == [ContentHeldError]

    async def test_no_two_writes_are_of_one_content(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            writes = [steps.write_of(content_id), steps.write_of(content_id)]
            await _declare(steps, writes)
            with pytest.raises(ValueError, match="one content"):
                await _commit(steps, writes)
            assert await steps.find(content_id) is None
            assert len(await steps.catalog.intents.renew([write.object_key for write in writes], lease=LEASE)) == 2

    async def test_revisions_and_versions_grow_whatever_the_clock_does(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            ids = [some_id(), some_id()]
            last = [(0, 0), (0, 0)]
            for _ in range(5):
                writes = [steps.write_of(content_id) for content_id in ids]
                await _declare(steps, writes)
                answers = [answer for answer in await _commit(steps, writes) if isinstance(answer, Committed)]
                now = [(answer.record.revision, answer.record.version) for answer in answers]
                assert all(new[0] > old[0] and new[1] > old[1] for new, old in zip(now, last, strict=True))
                last = now
                steps.clock.jump(-10.0)
                await steps.delete(ids[0])

    async def test_a_forgotten_tombstone_still_counts(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            deleted = await steps.put(content_id)
            for _ in range(3):
                await steps.delete(content_id)
                await steps.put(content_id)
            steps.clock.jump(-1000.0)
            gone = await steps.delete(content_id)
            assert gone is not None
            await steps.catalog.records.forget_tombstones(deleted_before=Timestamp(2**60), limit=10)
            write = steps.write_of(content_id)
            await _declare(steps, [write])
            (answer,) = await _commit(steps, [write])
            assert isinstance(answer, Committed)
            assert answer.record.revision > deleted.record.revision
            assert answer.record.version > gone.record.version

    async def test_writes_that_race_single_ones_lose_no_object(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            ids = [some_id() for _ in range(4)]
            singles = [other.write_of(content_id) for content_id in ids]
            rounds = [[one.write_of(content_id) for content_id in ids] for _ in range(3)]
            await _declare(one, [*singles, *(write for writes in rounds for write in writes)])
            await asyncio.gather(
                *(_commit(one, writes) for writes in rounds), *(other.commit(write) for write in singles)
            )
            live = {(await one.existing(content_id)).object_key for content_id in ids}
            queued = {row.subject for row in await one.take(DELETE)}
            written = {write.object_key for write in [*singles, *(each for writes in rounds for each in writes)]}
            assert live | queued == written
            assert not live & queued


async def _absent(_steps: Steps, _write: Write) -> None:
    """Prepare nothing."""


async def _existing(steps: Steps, write: Write) -> None:
    await steps.put(write.content_id, tier=StorageTier.COLD)


async def _public(steps: Steps, write: Write) -> None:
    await steps.put(write.content_id, visibility=Visibility.PUBLIC)


async def _expired(steps: Steps, write: Write) -> None:
    await steps.put(write.content_id, expires_at=Timestamp(steps.clock.now() + 1))
    steps.clock.advance(1.0)


async def _deleted(steps: Steps, write: Write) -> None:
    await steps.put(write.content_id)
    await steps.delete(write.content_id)


async def _planned(steps: Steps, write: Write) -> None:
    await steps.put(write.content_id)
    assert await steps.plan(write.content_id)


_STATES = (_absent, _existing, _public, _expired, _deleted, _planned)


async def _prepared(steps: Steps, state: object) -> Write:
    """Bring a new content into the state, and return a write of it whose intent is declared."""
    assert callable(state)
    write = steps.write_of(some_id(), metadata={"a": 1}, visibility=Visibility.PRIVATE)
    await state(steps, write)
    await _declare(steps, [write])
    return write


async def _declare(steps: Steps, writes: list[Write]) -> None:
    await steps.catalog.bulk.declare([write.object_key for write in writes], PLACEMENT, lease=Seconds(3600.0))


async def _commit(steps: Steps, writes: list[Write]) -> list[Committed | StorageError]:
    now = steps.clock.now()
    delete_at, evict_at = Timestamp(now + 10), Timestamp(now + 5)
    return list(await steps.catalog.bulk.commit(writes, now=now, delete_at=delete_at, evict_at=evict_at))


async def _cleared(steps: Steps) -> None:
    for kind in (DELETE, INVALIDATE):
        await steps.take_all(kind)


async def _told(steps: Steps, position: int, writes: list[Write]) -> list[tuple[object, ...]]:
    """Return what was queued and announced for each write, without what differs between two contents."""
    deletions = len(await steps.take_all(DELETE))
    invalidations = {row.subject: row.hard for row in await steps.take_all(INVALIDATE)}
    page = await steps.catalog.changes.since(position, limit=100)
    announced = [change.content_id for change in page.changes]
    claims = {claim.plan.content_id for claim in await steps.claim_moves()}
    return [
        (deletions, invalidations.get(write.content_id), announced.count(write.content_id), write.content_id in claims)
        for write in writes
    ]


def _likeness(record: Record) -> Record:
    """Return the record without what differs between two contents written one after the other."""
    nothing, never = ContentId(""), Timestamp(0)
    return replace(
        record,
        content_id=nothing,
        object_key="",
        revision=0,
        version=0,
        created_at=never,
        tier_since=never,
        modified_at=never,
    )
