"""Laws of `Records.commit_erase`: nothing of the content stays, and nothing of any other goes."""
# ruff: noqa: D102 - the name of a test states its law

from collections.abc import Sequence

import pytest

from thermocline.domain.content import Changes
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import ContentHeldError
from thermocline.domain.heat import AccessCount, AccessDay, day_of
from thermocline.domain.moves import TierChange
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import ErasedObject
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.restores import wanted
from thermocline.testing.contracts.catalog.steps import (
    EVICT_DELAY,
    GRACE,
    LEASE,
    OTHER_PLACEMENT,
    PLACEMENT,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
)

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE
HOT, WARM, COLD, ARCHIVE = StorageTier


class ErasingContract(CatalogContract):
    """Laws of `Records.commit_erase`."""

    async def test_everything_of_the_content_goes_at_once(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            keys = await _lived(steps, content_id)
            live = await steps.existing(content_id)
            now = steps.clock.now()
            erased = await steps.erase(content_id)
            assert erased.committed is not None
            assert erased.committed.record.version > live.version
            assert erased.objects == tuple(sorted(erased.objects, key=lambda found: found.placement != PLACEMENT))
            assert {(found.object_key, found.placement) for found in erased.objects} == keys
            assert len(erased.objects) == len(keys)
            counts = (erased.moves, erased.restores, erased.access_days, erased.ledger_entries, erased.found_objects)
            assert counts == (1, 1, 2, 3, 0)
            assert await steps.find(content_id) is None
            assert await steps.catalog.restores.find(live.object_key, now=now) is None
            assert not await _recent_days(steps, content_id)
            assert (await steps.catalog.moves.state()).waiting == 0
            assert await steps.ledger(content_id) == []
            assert [entry.content_id for entry in await steps.ledger()] == [""] * 3
            (row,) = [row for row in await steps.take(INVALIDATE, now=later(now, EVICT_DELAY)) if row.hard]
            assert (row.subject, row.version) == (content_id, erased.committed.record.version)
            # Its queued objects are due now, the quarantined one too.
            due = {(row.subject, row.placement) for row in await steps.take(DELETE, now=now)}
            due |= {(found.object_key, found.placement) for found in await steps.catalog.sweeps.due(now=now, limit=10)}
            assert due == keys

    async def test_neighbours_keep_everything(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id("a")
            parent = ContentId(content_id.removesuffix("/a"))
            # One whose key has the erased one's prefix and, but for a slash, its length.
            odd = ContentId(f"{content_id}/{'0' * 25}")
            neighbours = [
                ContentId(f"{content_id}/b"), ContentId(f"{parent}/A"), ContentId(f"{content_id}b"), parent, odd
            ]  # fmt: skip
            kept = set()
            for each in neighbours:
                kept |= await _lived(steps, each)
            await steps.put(content_id)
            descriptions = [await steps.catalog.records.describe(each, now=steps.clock.now()) for each in neighbours]
            ledger = await steps.ledger()
            now = steps.clock.now()
            erased = await steps.erase(content_id)
            assert len(erased.objects) == 1
            assert (erased.moves, erased.restores, erased.access_days, erased.ledger_entries) == (0, 0, 0, 0)
            assert [
                await steps.catalog.records.describe(each, now=steps.clock.now()) for each in neighbours
            ] == descriptions
            assert await steps.ledger() == ledger
            for each in neighbours:
                assert len(await _recent_days(steps, each)) == 2
            assert {row.subject for row in await steps.take(DELETE, now=now)} == {erased.objects[0].object_key}
            assert await steps.catalog.sweeps.due(now=now, limit=10) == []

    async def test_held_content_is_not_erased(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await _lived(steps, content_id)
            await steps.change(content_id, Changes(held=True))
            now = steps.clock.now()
            before = await steps.catalog.records.describe(content_id, now=now)
            ledger, position = await steps.ledger(content_id), await steps.catalog.changes.position()
            with pytest.raises(ContentHeldError):
                await steps.erase(content_id)
            assert await steps.catalog.records.describe(content_id, now=now) == before
            assert await steps.ledger(content_id) == ledger
            assert await steps.catalog.changes.position() == position
            assert await steps.take(DELETE, now=now) == []

    async def test_erasing_again_finds_what_is_left_of_the_work(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            nothing = await steps.erase(content_id)
            assert (nothing.committed, nothing.objects) == (None, ())
            keys = await _lived(steps, content_id)
            first = await steps.erase(content_id)
            again = await steps.erase(content_id)
            assert again.committed is None
            assert again.objects == first.objects
            assert (again.moves, again.restores, again.access_days, again.ledger_entries) == (0, 0, 0, 0)
            assert len(await steps.take_all(DELETE)) == len(keys) - 1
            await steps.catalog.sweeps.release([found.object_key for found in first.objects])
            assert (await steps.erase(content_id)).objects == ()

    async def test_a_deleted_content_can_be_erased(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            keys = await _lived(steps, content_id)
            await steps.delete(content_id)
            erased = await steps.erase(content_id)
            assert erased.committed is None
            assert {(found.object_key, found.placement) for found in erased.objects} == keys
            # The deletion itself has dropped the plan.
            assert (erased.moves, erased.restores, erased.access_days, erased.ledger_entries) == (0, 1, 2, 3)

    async def test_expired_content_can_be_erased(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, expires_at=later(steps.clock.now(), Seconds(1)))
            steps.clock.advance(1)
            assert (await steps.erase(content_id)).committed is not None
            assert await steps.find(content_id) is None

    async def test_a_dead_letter_is_tried_again(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            record = (await steps.put(content_id)).record
            await steps.delete(content_id)
            (row,) = await steps.take(DELETE)
            await steps.catalog.outbox.fail([row], reason="the store is gone", due_at=None)
            erased = await steps.erase(content_id)
            assert erased.objects == (ErasedObject(record.object_key, PLACEMENT),)
            (again,) = await steps.take(DELETE, now=steps.clock.now())
            assert (again.subject, again.attempts) == (record.object_key, 1)

    async def test_revisions_grow_on_after_an_erasure(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            first = (await steps.put(content_id)).record
            steps.clock.jump(-3600)
            erased = await steps.erase(content_id)
            assert erased.committed is not None
            second = await steps.put(content_id)
            assert second.created
            assert second.record.revision > first.revision
            assert second.record.version > erased.committed.record.version > first.version

    async def test_only_the_placements_that_were_named_are_looked_at(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, tier=WARM)
            assert await steps.commit_move(await steps.begin_move(content_id)) is not None
            erased = await steps.erase(content_id, OTHER_PLACEMENT)
            assert [found.placement for found in erased.objects] == [OTHER_PLACEMENT]
            assert len((await steps.erase(content_id)).objects) == 2


async def _lived(steps: Steps, content_id: ContentId) -> set[tuple[str, str]]:
    """Give a content a long life; return its objects and where they lie."""
    now = steps.clock.now()
    replaced = (await steps.put(content_id, tier=WARM)).record
    moved = (await steps.put(content_id, tier=WARM)).record
    assert await steps.commit_move(await steps.begin_move(content_id, COLD)) is not None
    for tier in (HOT, WARM):
        record = await steps.existing(content_id)
        change = TierChange(content_id, record.revision, record.placement, record.tier, tier)
        assert len(await steps.set_tiers([change])) == 1
    record = await steps.existing(content_id)
    assert await steps.plan(content_id, ARCHIVE)
    await steps.catalog.restores.request(wanted(record), now=now, lease=LEASE, daily_budget=None)
    for when in (now, later(now, Seconds(86400.0))):
        await steps.catalog.accesses.add([AccessCount(content_id, cache=1, storage=1)], now=when)
    orphan = new_key(content_id, placement=OTHER_PLACEMENT)
    delete_at = later(now, GRACE)
    assert await steps.catalog.sweeps.quarantine_unnamed([orphan], placement=OTHER_PLACEMENT, delete_at=delete_at) == 1
    await steps.take_all(INVALIDATE)
    return {
        (replaced.object_key, PLACEMENT),
        (moved.object_key, PLACEMENT),
        (record.object_key, OTHER_PLACEMENT),
        (orphan, OTHER_PLACEMENT),
    }


async def _recent_days(steps: Steps, content_id: ContentId) -> Sequence[AccessDay]:
    today = day_of(steps.clock.now())
    return await steps.catalog.accesses.days(content_id, first=today - 30, last=today + 30)
