"""Laws of `Recovery`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import replace

import pytest

from thermocline.domain.content import Changes, Record, StoredHeaders, Visibility
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.keys import token_time
from thermocline.domain.recovery import Candidate, FoundObject
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp, later
from thermocline.domain.work import OutboxKind
from thermocline.ports.records import Committed
from thermocline.ports.recovery import Adoption, Replacement
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVICT_DELAY,
    PLACEMENT,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
)

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE
DIGEST = b"d" * 32


def _found(content_id: ContentId, *, rank: int = 1, finished_at: int = 1, key: str | None = None) -> FoundObject:
    key = key or new_key(content_id)
    token = key.rpartition("/")[2]
    assert token_time(token) == 0
    attributes = {"content-id": str(content_id), "type": "text/plain"}
    return FoundObject(content_id, key, PLACEMENT, token, rank, Bytes(3), Timestamp(finished_at), attributes)


def _record(found: FoundObject, *, revision: int = 0) -> Record:
    return Record(
        content_id=found.content_id,
        revision=revision,
        version=0,
        placement=found.placement,
        object_key=found.object_key,
        digest=DIGEST,
        chunk_digests=b"c" * 16,
        size=found.size,
        headers=StoredHeaders("text/plain"),
        metadata={},
        tier=StorageTier.COLD,
        tier_since=Timestamp(5),
        visibility=Visibility.PRIVATE,
        created_at=Timestamp(5),
        modified_at=Timestamp(6),
        expires_at=None,
        held=False,
        unproven=True,
    )


async def _candidate(steps: Steps, content_id: ContentId) -> Candidate:
    (candidate,) = await steps.catalog.recovery.candidates(start=content_id, limit=1)
    assert candidate.found.content_id == content_id
    return candidate


async def _adopt(steps: Steps, adoption: Adoption) -> Committed | None:
    now = steps.clock.now()
    return await steps.catalog.recovery.commit_adoption(adoption, now=now, evict_at=later(now, EVICT_DELAY))


class RecoveryContract(CatalogContract):
    """Laws of `Recovery`. Subclasses provide `restored_catalog` too: it opens one that has just been restored."""

    @pytest.fixture
    def restored_catalog(self) -> OpenCatalog:
        """What opens a recovering catalog."""
        raise NotImplementedError

    async def test_a_catalog_in_use_does_not_recover_and_notes_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            recovery = steps.catalog.recovery
            assert not await recovery.is_recovering()
            assert not await recovery.confirm()
            with pytest.raises(StorageError, match="confirmed"):
                await recovery.note_found([_found(some_id())])
            assert await recovery.candidates(start="", limit=10) == []

    async def test_a_recovery_ends_once_for_everybody(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            recovery = steps.catalog.recovery
            assert await recovery.is_recovering()
            assert sorted(await asyncio.gather(recovery.confirm(), recovery.confirm())) == [False, True]
            assert not await recovery.is_recovering()

    async def test_the_newest_object_of_each_content_is_kept(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            recovery, content_id = steps.catalog.recovery, some_id()
            low, high = sorted([new_key(content_id), new_key(content_id)])
            old = _found(content_id, rank=1, finished_at=50)
            new = _found(content_id, rank=2, finished_at=40, key=low)
            tie = _found(content_id, rank=2, finished_at=30, key=high)
            for order in ([old, new, tie], [tie, new, old], [new, tie, old, new]):
                for one in order:
                    await recovery.note_found([one])
                kept = (await _candidate(steps, content_id)).found
                assert kept == replace(tie, rival_at=Timestamp(50)), order
                await recovery.forget_found([kept])
            await recovery.note_found([old, new, tie, old])  # in one call, too
            assert (await _candidate(steps, content_id)).found.object_key == high

    async def test_candidates_come_in_order_beside_what_the_catalog_knows(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            recovery, base = steps.catalog.recovery, some_id("x")
            unknown, live, deleted = (ContentId(f"{base}/{name}") for name in "abc")
            put = await steps.put(live, chunk_digests=b"e" * 16)
            await steps.put(deleted)
            tombstone = await steps.delete(deleted)
            await recovery.note_found([_found(name) for name in (deleted, unknown, live)])
            first, second, third = await recovery.candidates(start=base, limit=10)
            assert [one.found.content_id for one in (first, second, third)] == [unknown, live, deleted]
            assert first.standing is None
            assert second.standing is not None
            assert second.standing.record == put.record
            assert third.standing is not None
            assert third.standing.record is None
            assert tombstone is not None
            assert third.standing.version == tombstone.record.version
            assert third.standing.revision > tombstone.record.revision
            assert [one.found.content_id for one in await recovery.candidates(start=live, limit=1)] == [live]
            assert (await recovery.candidates(start=deleted + "\x01", limit=10)) == []

    async def test_found_objects_are_named_until_they_are_forgotten(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            recovery, sweeps = steps.catalog.recovery, steps.catalog.sweeps
            found, newer = _found(content_id := some_id()), _found(content_id, rank=2)
            await recovery.note_found([found])
            assert await sweeps.unnamed([found.object_key, newer.object_key]) == [newer.object_key]
            await recovery.note_found([newer])
            await recovery.forget_found([found])  # not the one that is kept: without effect
            assert await sweeps.unnamed([found.object_key, newer.object_key]) == [found.object_key]
            await recovery.forget_found([newer])
            assert len(await sweeps.unnamed([found.object_key, newer.object_key])) == 2

    async def test_an_unknown_content_is_adopted(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            found = _found(content_id := some_id())
            await steps.catalog.recovery.note_found([found])
            candidate = await _candidate(steps, content_id)
            position = await steps.catalog.changes.position()
            committed = await _adopt(steps, Adoption(candidate, _record(found, revision=found.rank + 1)))
            assert committed is not None
            assert committed.created
            record = await steps.existing(content_id)
            assert record == committed.record
            assert record == replace(
                _record(found), revision=record.revision, version=record.version, chunk_digests=b"c" * 16
            )
            assert record.revision >= steps.clock.now()
            assert await steps.catalog.recovery.candidates(start=content_id, limit=1) == []
            changes = await steps.catalog.changes.since(position, limit=10)
            assert [(one.content_id, one.version) for one in changes.changes] == [(content_id, record.version)]
            assert list(await steps.take(INVALIDATE)) == []  # there was nothing older anywhere
            # Adopting twice: the second has nothing to adopt.
            assert await _adopt(steps, Adoption(candidate, _record(found))) is None

    async def test_an_adoption_over_a_record_deletes_nothing(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            old = (await steps.put(content_id := some_id())).record
            found = _found(content_id, rank=old.revision + 10)
            await steps.catalog.recovery.note_found([found])
            committed = await _adopt(
                steps, Adoption(await _candidate(steps, content_id), _record(found, revision=old.revision + 11))
            )
            assert committed is not None
            assert not committed.created
            assert committed.record.revision >= old.revision + 11
            assert committed.record.version > old.version
            assert list(await steps.take(DELETE)) == []
            (row,) = await steps.take(INVALIDATE)
            assert (row.subject, row.version, row.hard) == (content_id, committed.record.version, True)
            # The old object is nobody's now: the sweep's to find.
            assert await steps.catalog.sweeps.unnamed([old.object_key]) == [old.object_key]

    async def test_a_relocated_record_keeps_its_revision(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            old = (await steps.put(content_id := some_id(), visibility=Visibility.PRIVATE)).record
            found = _found(content_id, rank=old.revision)
            await steps.catalog.recovery.note_found([found])
            wanted = replace(old, object_key=found.object_key)
            committed = await _adopt(steps, Adoption(await _candidate(steps, content_id), wanted))
            assert committed is not None
            assert committed.record == replace(wanted, version=committed.record.version)
            assert committed.record.version > old.version

    async def test_nothing_is_adopted_once_the_content_has_changed(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            written, changed, deleted, created = (some_id() for _ in range(4))
            for content_id in (written, changed, deleted):
                await steps.put(content_id)
            await steps.catalog.recovery.note_found([_found(one) for one in (written, changed, deleted, created)])
            candidates = {one: await _candidate(steps, one) for one in (written, changed, deleted, created)}
            await steps.put(written)
            await steps.change(changed, Changes(held=True))
            await steps.delete(deleted)
            await steps.put(created)
            before = [await steps.find(one) for one in candidates]
            for candidate in candidates.values():
                assert await _adopt(steps, Adoption(candidate, _record(candidate.found))) is None
            assert [await steps.find(one) for one in candidates] == before

    async def test_nothing_is_adopted_that_is_not_noted_any_more(self, restored_catalog: OpenCatalog) -> None:
        async with one_process(restored_catalog) as steps:
            found = _found(content_id := some_id())
            await steps.catalog.recovery.note_found([found])
            candidate = await _candidate(steps, content_id)
            await steps.catalog.recovery.note_found([_found(content_id, rank=2)])
            assert await _adopt(steps, Adoption(candidate, _record(found))) is None
            assert await steps.find(content_id) is None

    async def test_a_replacement_changes_the_object_only(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            put = await steps.put(content_id := some_id(), metadata={"k": "v"}, tier=StorageTier.COLD)
            await steps.declare(key := new_key(content_id))
            now = steps.clock.now()
            recovery = steps.catalog.recovery
            committed = await recovery.commit_replacement(Replacement(put.record, key, b"f" * 16), now=now)
            assert committed is not None
            record = await steps.existing(content_id)
            assert record == committed.record
            assert record == replace(
                put.record, object_key=key, chunk_digests=b"f" * 16, version=put.record.version + 1
            )
            assert await steps.catalog.intents.count() == 0
            assert list(await steps.take(DELETE)) == []
            # The record is another by now: the second copy is garbage, and its intent stays for the cleaner.
            await steps.declare(other := new_key(content_id))
            assert await recovery.commit_replacement(Replacement(put.record, other, b""), now=now) is None
            assert await steps.catalog.intents.count() == 1

    async def test_a_replacement_needs_its_own_live_intent(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            put = await steps.put(content_id := some_id())
            await steps.declare(key := new_key(content_id), lease=Seconds(1.0))
            steps.clock.advance(Seconds(2.0))
            await steps.catalog.intents.condemn_expired(lease=Seconds(60.0), limit=10)
            replacement = Replacement(put.record, key, b"")
            assert await steps.catalog.recovery.commit_replacement(replacement, now=steps.clock.now()) is None
            unknown = Replacement(put.record, new_key(content_id), b"")
            assert await steps.catalog.recovery.commit_replacement(unknown, now=steps.clock.now()) is None
            assert (await steps.existing(content_id)) == put.record
